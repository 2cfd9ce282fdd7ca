-- Rows that pull dropped because the key of their person is destroyed, per landed table: a term of the equation.
ALTER TABLE control.batches ADD COLUMN dropped jsonb NOT NULL DEFAULT '{}';
