-- What our database holds there beside cards, as the pipelines leave it; ciphertexts are random.
INSERT INTO control.landings (landing_no, landing_id, dataset, partition_key, shards_count, form) OVERRIDING SYSTEM VALUE
SELECT no, 'bench ' || no, CASE WHEN no %% 2 = 0 THEN 'bookings' ELSE 'visits' END, date %(today)s - no / 2, 1, NULL FROM generate_series(0, 1405) no;
INSERT INTO control.batches (dataset, partition_key, state, run_id, pull_attempt, source_counts, landed_counts, landing_no, settled_no, accepted, quarantined)
SELECT dataset, partition_key, 'settled', 'bench', landing_id, '{}', '{}', landing_no, landing_no, 0, 0 FROM control.landings;
INSERT INTO analytics.releases (dataset, partition_key, rows, suppressed, policy_digest)
SELECT dataset, partition_key, 0, 0, '' FROM control.batches;
INSERT INTO records.bookings (partition_key, landing_no, row_key, booking_id, version, client_id, client_token, purpose_code, status, booked_at,
    changed_at, recorded_at, notes_encrypted, client_given_name_encrypted, client_family_name_encrypted, client_email_encrypted, client_phone_encrypted,
    client_birth_date_encrypted, price_amount_minor, currency_code)
SELECT date %(today)s - day, day * 2, n || '/1', n, 1, n, md5(n::text), 'contract', 'booked', at, at, at, value || value, value, value, value, value, value, 123400, 'EUR'
FROM (SELECT n, (1 + n %% 700)::int AS day, timestamptz %(now)s - (1 + n %% 700) * interval '1 day' AS at, sha512(n::text::bytea) AS value
      FROM generate_series(1, %(standing)s) n ORDER BY n %% 700 DESC) made;
INSERT INTO records.booking_travellers (partition_key, landing_no, row_key, root_key, role, given_name_encrypted, family_name_encrypted, birth_date_encrypted)
SELECT partition_key, landing_no, row_key || '/1', row_key, 'patient', client_phone_encrypted, client_phone_encrypted, client_phone_encrypted
FROM records.bookings WHERE booking_id %% %(minors)s <> 0;
INSERT INTO records.booking_services (partition_key, landing_no, row_key, root_key, service_no, kind, provider_id, procedure_code_encrypted)
SELECT partition_key, landing_no, row_key || '/1', row_key, 1, 'health', 1, client_phone_encrypted FROM records.bookings;
INSERT INTO records.page_views (partition_key, landing_no, row_key, viewed_at, recorded_at, ip_encrypted, user_agent_encrypted, browser, operating_system,
    device_class, language, country_code, path_encrypted, page_category, session_token, visitor_token)
SELECT date %(today)s - day, day * 2 + 1, n::text, at, at, value, value || value, 'Firefox', 'Linux', 'desktop', 'sv-SE', 'SE', value, 'clinics', md5(n::text), md5(n::text)
FROM (SELECT n, (1 + n %% 28)::int AS day, timestamptz %(now)s - (1 + n %% 28) * interval '1 day' AS at, sha512(n::text::bytea) AS value
      FROM generate_series(1, %(standing)s) n ORDER BY n %% 28 DESC) made;
INSERT INTO vault.release_ledger (dataset, row_key, accepted_partition, release_partition, decision)
SELECT 'bookings', row_key, partition_key, partition_key, 'published' FROM records.bookings
UNION ALL SELECT 'visits', row_key, partition_key, partition_key, 'published' FROM records.page_views;
INSERT INTO quarantine.findings (dataset, partition_key, table_name, row_id, row_key, root_key, rule, clause, severity)
SELECT 'bookings', partition_key, 'booking_travellers', row_id, row_key || '/1', row_key, 'L1.adult_at_booking', 'L1', 'warning'
FROM records.bookings WHERE booking_id %% %(minors)s = 0 AND partition_key > date %(today)s - 25;
INSERT INTO quarantine.rows (dataset, partition_key, row_id, row_key, rules, clauses, run_id, quarantined_at)
SELECT dataset, partition_key, row_id, root_key, ARRAY[rule], ARRAY[clause], 'bench', partition_key FROM quarantine.findings;
