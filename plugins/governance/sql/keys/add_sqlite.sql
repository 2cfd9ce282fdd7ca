INSERT INTO data_keys (id, kind, scope, created_at, expires_at, version, wrapped, destroyed_at, destroyed_by)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING
