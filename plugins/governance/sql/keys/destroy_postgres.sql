UPDATE data_keys k SET wrapped = NULL, destroyed_at = v.destroyed_at, destroyed_by = v.destroyed_by
FROM (VALUES %s) AS v (destroyed_at, destroyed_by, id)
WHERE k.id = v.id AND k.wrapped IS NOT NULL
