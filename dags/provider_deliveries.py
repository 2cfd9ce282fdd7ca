"""
### What recipients of bookings hold, looked after every hour

The same as `provider_sharing`, by the clock and for all partitions that are over: takes note of acknowledgements,
closes or gives up what a killed try has announced, holds what each recipient has against the source as it is now, tells
it by a signed notice what it may not use any more (an erasure, a withdrawn consent, a restriction, a cancellation; GDPR
article 19), and delivers what has become possible since, say because a consent was given.

**A failure means** what it means in `provider_sharing`; a recipient that has been told of nothing is owed it, and
`governance retention obligations` lists that, with the day by which it is due.

**What to do:** as in `provider_sharing`; then clear the task, or wait for the next hour.
"""

from airflow.sdk import dag

from governance.orchestration import UPKEEP, share


@dag(schedule="20 * * * *", doc_md=__doc__, tags=["sharing", "personal-data", "F1", "M1", "N1", "R1"], **UPKEEP)
def provider_deliveries() -> None:
    share(to_now=True)


provider_deliveries()
