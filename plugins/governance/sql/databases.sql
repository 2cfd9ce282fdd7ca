-- Every other database of this cluster, and whether who asks may connect to it; one that is only half dropped is none any more.
SELECT datname, datallowconn AND has_database_privilege(oid, 'CONNECT')
FROM pg_database
WHERE datname <> current_database() AND datconnlimit <> -2
ORDER BY datname
