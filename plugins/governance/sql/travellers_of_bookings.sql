-- Everyone in every version of some bookings: the letters of their names, in either order of these, and the days by which to say who is a minor. Days
-- outside years 1 to 9999 are unknown; a version that was recorded on none, or of which there is no booking, was so today.
SELECT
    t.booking_id, t.version, t.traveller_no,
    least(names.given || names.family, names.family || names.given) AS name,
    CASE WHEN t.birth_date BETWEEN '0001-01-01' AND '9999-12-31' THEN t.birth_date END AS birth_date,
    (b.booked_at AT TIME ZONE current_setting('governance.time_zone'))::date AS booked_date,
    coalesce((b.recorded_at AT TIME ZONE current_setting('governance.time_zone'))::date, current_date) AS recorded_date
FROM wellbe.booking_travellers t
CROSS JOIN LATERAL (
    SELECT
        coalesce(max(letters) FILTER (WHERE whose = 'given'), '') AS given,
        coalesce(max(letters) FILTER (WHERE whose = 'family'), '') AS family
    FROM (
        SELECT n.whose,
\ir letters.sql
        AS letters
        FROM (VALUES ('given', t.given_name), ('family', t.family_name)) n (whose, name)
    ) spelt
) names
CROSS JOIN LATERAL (
    SELECT
        min(v.booked_at) FILTER (WHERE v.booked_at BETWEEN '0001-01-02' AND '9999-12-31') AS booked_at,
        min(v.recorded_at) FILTER (WHERE v.recorded_at BETWEEN '0001-01-02' AND '9999-12-31') AS recorded_at
    FROM wellbe.bookings v
    WHERE v.booking_id = t.booking_id AND v.version = t.version
) b
WHERE t.booking_id = ANY (current_setting('governance.bookings')::bigint[])
ORDER BY 1, 2, 3
