-- What a release has decided, counted: of its own partition's rows and of those that it carried in.
SELECT accepted_partition = release_partition, decision, count(*)
FROM vault.release_ledger
WHERE dataset = %s AND release_partition = %s
GROUP BY 1, 2
