-- Run once, by psql, when the data volume is made: what governance.embedded.provision does for the embedded clusters. Nobody logs in as
-- a role that may read landing, vault or quarantine: `pipeline` takes it, and has none of its rights before.
\set airflow `cat /run/secrets/airflow_password`
\set observer `cat /run/secrets/observer_password`
\set migrator `cat /run/secrets/migrator_password`
\set pipeline `cat /run/secrets/pipeline_password`
\set recorder `cat /run/secrets/recorder_password`
\set custodian `cat /run/secrets/custodian_password`
\set sequencer `cat /run/secrets/sequencer_password`
\set coordinator `cat /run/secrets/coordinator_password`
\set analyst `cat /run/secrets/analyst_password`
\set auditor `cat /run/secrets/auditor_password`
SET log_statement = 'none';
CREATE ROLE airflow LOGIN PASSWORD :'airflow';
CREATE ROLE observer LOGIN PASSWORD :'observer';
CREATE ROLE migrator LOGIN PASSWORD :'migrator';
CREATE ROLE pipeline LOGIN PASSWORD :'pipeline';
CREATE ROLE recorder LOGIN PASSWORD :'recorder';
CREATE ROLE custodian LOGIN PASSWORD :'custodian';
CREATE ROLE sequencer LOGIN PASSWORD :'sequencer';
CREATE ROLE coordinator LOGIN PASSWORD :'coordinator';
CREATE ROLE analyst LOGIN PASSWORD :'analyst';
CREATE ROLE auditor LOGIN PASSWORD :'auditor';
CREATE ROLE governance_owner NOLOGIN;
CREATE ROLE loader NOLOGIN;
CREATE ROLE validator NOLOGIN;
CREATE ROLE publisher NOLOGIN;
CREATE ROLE sharer NOLOGIN;
CREATE ROLE forwarder NOLOGIN;
CREATE ROLE profiler NOLOGIN;
CREATE ROLE screener NOLOGIN;
CREATE ROLE retainer NOLOGIN;
CREATE ROLE steward NOLOGIN;
GRANT governance_owner TO migrator WITH INHERIT FALSE, SET TRUE;
GRANT loader, validator, publisher, sharer, forwarder, profiler, screener, retainer, steward TO pipeline WITH INHERIT FALSE, SET TRUE;
CREATE DATABASE airflow OWNER airflow;
CREATE DATABASE governance OWNER governance_owner;
REVOKE ALL ON DATABASE airflow, governance, postgres, template1 FROM PUBLIC;
GRANT CONNECT ON DATABASE airflow TO airflow, observer;
GRANT CONNECT ON DATABASE governance TO migrator, pipeline, recorder, custodian, sequencer, coordinator, analyst, auditor;
\connect airflow
REVOKE ALL ON SCHEMA public FROM PUBLIC;
ALTER SCHEMA public OWNER TO airflow;
REVOKE EXECUTE ON FUNCTION lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea) FROM PUBLIC;
\connect governance
REVOKE ALL ON SCHEMA public FROM PUBLIC;
ALTER SCHEMA public OWNER TO governance_owner;
REVOKE EXECUTE ON FUNCTION lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea) FROM PUBLIC;
-- To everybody who may connect Postgres says, exactly, how many rows a table was given and has: what noise hides.
DO $$ BEGIN
    EXECUTE (
        SELECT format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', string_agg(oid::regprocedure::text, ', '))
        FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ concat(
            '^pg_(stat_get_(db_|xact_)?(tuples|(live|dead)_tuples|(mod|ins)_since|blocks|numscans|temp_bytes)|',
            'stat_get_(backend_)?(io|wal)$|(relation|table|indexes|total_relation|database)_size$|',
            'current_wal|control_checkpoint$)'));
    EXECUTE (
        SELECT format('REVOKE SELECT ON pg_class FROM PUBLIC; GRANT SELECT (tableoid, %s) ON pg_class TO PUBLIC',
                      string_agg(attname, ', '))
        FROM pg_attribute WHERE attrelid = 'pg_class'::regclass AND attnum > 0
            AND attname NOT IN ('reltuples', 'relpages', 'relallvisible', 'relallfrozen'));
END $$;
