-- What has its place waits no more.
DELETE FROM audit.pending p USING unnest(%s::timestamptz[], %s::uuid[]) AS placed (written_at, entry_id)
WHERE p.written_at = placed.written_at AND p.entry_id = placed.entry_id
