-- When a backup was put back: what was published since the backup was made is not known any more, though somebody may have it.
ALTER TABLE control.in_force ADD COLUMN IF NOT EXISTS restored_at timestamptz;
