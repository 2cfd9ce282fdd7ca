"""The embedded site of a checkout: two Postgres clusters and Airflow, all of it under `.data/`, all on 127.0.0.1.

`site` knows where things are and the secrets; `processes` finds, starts and stops; `postgres` runs clusters,
`provision` fills them with databases and roles; `airflow_config` and `airflow` run Airflow; `control` puts it together;
`cli` adds the commands.
"""
