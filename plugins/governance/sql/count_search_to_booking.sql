-- Visitors of partition %(day)s who searched, by what became of it on that day: minutes from the first view of the search to the first view
-- of the booking pages after it. A visitor is in one class. Views link to no booking and no client: nothing tells whose they are.
WITH searched AS (
    SELECT coalesce(visitor_token, '') AS visitor, min(viewed_minute) AS at
    FROM vault.page_views
    WHERE partition_key = %(day)s AND page_category = 'search' AND viewed_minute IS NOT NULL
    GROUP BY 1
), went_on AS (
    SELECT s.visitor, min(v.viewed_minute) - s.at AS minutes
    FROM searched s LEFT JOIN vault.page_views v
        ON v.partition_key = %(day)s AND coalesce(v.visitor_token, '') = s.visitor
       AND v.page_category = 'booking' AND v.viewed_minute >= s.at
    GROUP BY s.visitor, s.at
)
SELECT c.search_to_booking, count(w.visitor) AS exact, count(w.visitor) AS people
FROM (VALUES (1, 'under 5 minutes', 0, 5), (2, '5-29 minutes', 5, 30), (3, '30-119 minutes', 30, 120),
             (4, '2 hours or more', 120, NULL), (5, 'not on that day', NULL, NULL)) c (place, search_to_booking, from_minute, until_minute)
LEFT JOIN went_on w
    ON (c.from_minute IS NULL AND w.minutes IS NULL)
    OR (w.minutes >= c.from_minute AND w.minutes < coalesce(c.until_minute, 2147483647))
GROUP BY c.place, c.search_to_booking
ORDER BY c.place
