"""
### Visits: plan → pull → validate → publish

Takes every page view that the store recorded on one day in Stockholm; checks it against `expectations/visits.json`;
publishes counts with noise as `analytics.visits_sessions`, `visits_regions`, `visits_search_to_booking` and
`inquiries_funnel`, once: a published day is closed. Single views are never published.

**A failure means** nothing of that task was kept and the last good state stays. *plan*, which cuts a big day into
shards, and *pull*: the source is away (it retries) or its columns are not the ones policy declares (it does not:
declare them in `policies/`). *validate*: a critical rule failed, for example rows were lost on the way.
*predecessor_published* waits for the day before. *publish*: a cell would not hold *k*, the day's budget
was spent before, rows are not conserved, or the source is away, where inquiries are counted (it retries).

**What to do:** read the task's message and `governance runs`; rows in quarantine: `governance quarantine list`; then
clear the task. Run a past day with `airflow backfill create --dag-id visits --from-date ... --to-date ...`; going
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
    tags=["visits", "personal-data", "B1", "B2", "E1", "J1", "R1"],
)
def visits() -> None:
    pipeline("visits")


visits()
