-- The guardian consent that speaks best for traveller t of booking version b, as it is known now: one without any flaw before all others, of these
-- the one of the oldest guardian, the earliest first. Whoever is named like the traveller, and not known to be born on another day, is no other person:
-- a parent may have the child's name, and is told by the birth date. Nor is one who is neither parent nor guardian; and who has no name is nobody.
-- A withdrawal counts from when it is recorded, whatever its instant (E12). Days and instants outside years 1 to 9999 are unknown.
LEFT JOIN LATERAL (
    SELECT
        c.consent_id, c.guardian_name, c.guardian_email, c.guardian_phone, c.relation, c.verification_method,
        known.given_at, known.verified_at, known.guardian_birth_date,
        (known.given_at AT TIME ZONE current_setting('governance.time_zone'))::date AS given_date,
        flaws.is_own, flaws.is_nameless, flaws.is_withdrawn
    FROM wellbe.guardian_consents c
    CROSS JOIN LATERAL (
        SELECT
            CASE WHEN c.given_at BETWEEN '0001-01-02' AND '9999-12-31' THEN c.given_at END AS given_at,
            CASE WHEN c.verified_at BETWEEN '0001-01-02' AND '9999-12-31' THEN c.verified_at END AS verified_at,
            CASE WHEN c.guardian_birth_date BETWEEN '0001-01-01' AND '9999-12-31' THEN c.guardian_birth_date END AS guardian_birth_date
    ) known
    CROSS JOIN LATERAL (
        SELECT
            coalesce(max(letters) FILTER (WHERE whose = 'guardian'), '') AS guardian,
            coalesce(max(letters) FILTER (WHERE whose = 'given'), '') AS given,
            coalesce(max(letters) FILTER (WHERE whose = 'family'), '') AS family
        FROM (
            SELECT n.whose,
\ir letters.sql
            AS letters
            FROM (VALUES ('guardian', c.guardian_name), ('given', t.given_name), ('family', t.family_name)) n (whose, name)
        ) spelt
    ) names
    CROSS JOIN LATERAL (
        SELECT
            c.withdrawn_at IS NOT NULL AS is_withdrawn,
            names.guardian = '' AS is_nameless,
            coalesce(lower(btrim(c.relation)) NOT IN ('parent', 'guardian'), true)
                OR (
                    names.guardian <> '' AND names.guardian IN (names.given || names.family, names.family || names.given)
                    AND (known.guardian_birth_date = t.birth_date) IS NOT FALSE
                ) AS is_own
    ) flaws
    WHERE c.booking_id = t.booking_id AND c.traveller_no = t.traveller_no
    ORDER BY
        flaws.is_withdrawn, flaws.is_own, flaws.is_nameless, (known.verified_at IS NULL OR known.given_at IS NULL),
        (greatest(known.given_at, known.verified_at) < b.booked_at) IS NOT TRUE,
        known.guardian_birth_date, greatest(known.given_at, known.verified_at), c.consent_id
    LIMIT 1
) g ON true
