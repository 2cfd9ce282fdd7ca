-- Spend the budget of a table for a period; nothing is written when it was spent before.
INSERT INTO analytics.privacy_budget
    (table_name, recorded_date, protects, epsilon, delta, contributions, per_cell, noise_scale, threshold, policy_digest)
VALUES (%(table_name)s, %(day)s, %(protects)s, %(epsilon)s, %(delta)s, %(contributions)s, %(per_cell)s, %(noise_scale)s, %(threshold)s, %(policy)s)
ON CONFLICT (table_name, recorded_date) DO NOTHING
