UPDATE data_keys SET wrapped = NULL, destroyed_at = ?, destroyed_by = ? WHERE id = ? AND wrapped IS NOT NULL
