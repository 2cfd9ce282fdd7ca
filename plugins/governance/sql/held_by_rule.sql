-- Rows of a dataset that each rule held back or refused.
SELECT rule, count(*)
FROM (
    SELECT dataset, rule FROM quarantine.findings WHERE dataset = %s
    UNION ALL
    SELECT dataset, rule FROM quarantine.refusals WHERE dataset = %s
) held
GROUP BY rule
ORDER BY rule
