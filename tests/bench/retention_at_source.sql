-- What the source of tests/bench/retention.py holds.
INSERT INTO wellbe.payment_cards
SELECT n, n, n, '4242424242424242', 'ASA LINDQVIST', '04/29', NULL, captured_at, n %% %(saved)s = 0 AND n %% %(twice)s <> 0, captured_at
FROM (SELECT n, date_trunc('hour', timestamptz %(now)s) - (1 + n %% 238) * interval '1 hour' + (n %% 3600 * 7919 %% 3600) * interval '1 s' AS captured_at
      FROM generate_series(0, %(cards)s - 1) n) cards;
INSERT INTO wellbe.consent_events
SELECT n, n, 'profile_card', 'web', 'given', at, at, 'profile', 1, at
FROM generate_series(0, %(cards)s - 1, %(twice)s) n, (SELECT timestamptz %(now)s - interval '300 h' AS at) made;
INSERT INTO wellbe.bookings
SELECT n, n, 1, n, NULL, 'contract', 'booked', at, at, at, at::date + 40, 3, 123400, 'EUR', 'sv-SE', 'Window seat, please.'
FROM (SELECT n, timestamptz %(now)s - (n %% 700) * interval '1 day' AS at FROM generate_series(1, %(standing)s) n) made;
INSERT INTO wellbe.booking_travellers
SELECT booking_id, 1, 1, 'patient', 'Lisa', 'Ek', CASE WHEN booking_id %% %(minors)s = 0 THEN date '2012-02-03' ELSE date '1980-05-17' END, recorded_at
FROM wellbe.bookings;
