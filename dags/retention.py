"""
### Retention: the end of data, every hour

Executes every rule of `policies/retention.yaml` against the real now: cards ten days after their capture, less a margin
(here and at the source), views after a month, quarantine after its review, bookings after two years. Each rule is a try
of its own and has its own entry in the run log: how many rows were due, ended, on hold on which ground, the oldest that
is left, and that nothing due is left. Beside it, partitions whose guardians have consented late, or no longer consent,
are pulled and validated again (`consents`); then, however that ended, minors whose review is over are erased
(`erase_minors`), but for bookings of which a consent is sufficient by now. Live schemas are compared with the rules.

Before that, *keep_cards* keeps the two exceptions of a card: what a client chose to save in the profile, without its
last digits, and holds for intrusion or fraud; it ends those that were withdrawn, released or expired. *retain* follows
however that ended: nothing keeps a card longer. *exceptions_kept* and *consents_kept* do nothing; they end red when
*keep_cards* or *consents* failed, and the run with them, because Airflow judges a run by its last tasks alone.

**A failure means**: `keep_cards`: a store could not be reached, or `ALARM K3`: cards were not saved in time and cannot
be any more. `retain`: a store could not be reached, or did not let us (it retries); every other rule was
executed all the same. `ALARM K1 ... outlived their term`: rows were found past the end of their term and are gone now;
each has an entry `breach` with its duration. `erase_minors`, `consents`: a store was away or busy; the next run goes on
where this one was. `crawl`: a database or a column is not declared, a column is of another type than declared, a table
has no rule, or a rule is about what is not there.

**What to do:** `governance retention plan` shows what is due; `governance explain K1` what the log says of cards. After
a breach find out why runs were missed, and tell the privacy officer. After `crawl`: say in `policies/retention.yaml`
what becomes of it, then `make up`.
"""

from airflow.sdk import dag

from governance.orchestration import BRIEFLY, UPKEEP, last, upkeep


@dag(
    schedule="@hourly",
    doc_md=__doc__,
    tags=["retention", "K1", "K2", "K3", "K4", "L1", "L2", "L3", "B1", "R1"],
    **UPKEEP,
)
def retention() -> None:
    kept = upkeep("keep_cards", **BRIEFLY)
    kept >> upkeep("retain", trigger_rule="all_done")
    kept >> last("exceptions_kept")
    consents = upkeep("consents")
    consents >> upkeep("erase_minors", trigger_rule="all_done")
    consents >> last("consents_kept")
    upkeep("crawl")


retention()
