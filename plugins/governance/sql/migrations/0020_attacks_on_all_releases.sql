-- What the weekly attack on everything that was released has found (E1). While the newest is over a limit of policy, nothing more is released.
CREATE TABLE audit.release_attacks (
    attack_no     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset       text NOT NULL,
    attacked_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    releases      integer NOT NULL,
    people        integer NOT NULL,
    figures       jsonb NOT NULL,
    is_over       boolean NOT NULL,
    policy_digest text NOT NULL
);
COMMENT ON TABLE audit.release_attacks IS 'Attacks on all releases of a dataset together: how many releases and people, every figure, and whether one was over a limit of the policy then in force.';
CREATE TRIGGER release_attacks_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.release_attacks
    FOR EACH STATEMENT EXECUTE FUNCTION analytics.refuse_change();
