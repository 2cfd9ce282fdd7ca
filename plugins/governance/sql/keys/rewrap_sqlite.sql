UPDATE data_keys SET version = ?, wrapped = ? WHERE id = ? AND version = ? AND wrapped IS NOT NULL
