UPDATE data_keys k SET version = v.version, wrapped = v.wrapped
FROM (VALUES %s) AS v (version, wrapped, id, earlier)
WHERE k.id = v.id AND k.version = v.earlier AND k.wrapped IS NOT NULL
