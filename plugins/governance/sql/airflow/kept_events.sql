-- What Airflow still has of its event log.
SELECT min(id), max(id) FROM log
