"""
### Bookings: plan → pull → validate → publish

Takes every booking version that the store recorded on one day in Stockholm, with travellers, services and cards;
checks it against `expectations/bookings.json`; publishes booking events in groups of at least *k* people as
`analytics.bookings`, and counts of all of the day's events, with noise, as `analytics.bookings_events` and
`bookings_events_origins`.

**A failure means** nothing of that task was kept and the last good state stays. *plan*, which cuts a big day into
shards, and *pull*: the source is away (it retries) or its columns are not the ones policy declares (it does not:
declare them in `policies/`). *validate*: a critical rule failed, for example rows were lost on the way.
*predecessor_published* waits for the day before. *publish*: the release would not hold *k* or *l*, or rows are not
conserved.

**What to do:** read the task's message and `governance runs`; rows in quarantine: `governance quarantine list`; then
clear the task. Run a past day with `airflow backfill create --dag-id bookings --from-date ... --to-date ...`; going
back in time, forwards.
"""

from airflow.sdk import dag

from governance.orchestration import DAILY, DEADLINE, DEFAULT_ARGS, START, pipeline


@dag(
    schedule=DAILY,
    start_date=START,
    catchup=False,
    default_args=DEFAULT_ARGS,
    deadline=DEADLINE,
    max_active_runs=16,
    doc_md=__doc__,
    tags=["bookings", "personal-data", "A1", "E1", "J1", "L1", "L2", "R1"],
)
def bookings() -> None:
    pipeline("bookings")


bookings()
