-- Phone numbers that more than one client has. For the demo alone.
SELECT phone FROM wellbe.clients WHERE phone IS NOT NULL GROUP BY phone HAVING count(DISTINCT client_id) > 1
