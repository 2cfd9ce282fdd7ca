"""
### Watch: every run accounted for, and whatever a data engineer should know before users do

Each task looks at one thing, and fails while its alarm is on; the next look is in a quarter of an hour. Raised and
cleared alarms stand in the run log; who is told, besides this page and the log: connections `wellbe_alarms_smtp` and
`wellbe_alarms_webhook`. *reconcile* also writes entries for tries that were skipped or killed, and for what people
did in the UI, with their names.

| task | its alarm |
|---|---|
| *reconcile* | a task is called a success and had no effect, or failed before its step began |
| *partitions* | a day that is due is not released, was released late, or was empty and those before were not |
| *quarantine_rate* | more rows than usual are in quarantine |
| *oldest_row* | rows wait too long to be validated, or came to the source after their day was pulled |
| *merge_delay* | entries of the run log wait too long for their place in its tree |
| *oldest_card* | a card is about to outlive its ten days, or has |
| *obligations* | a recipient had to be told that what was shared may not be used any more, and was not |
| *acknowledgements* | a recipient has not acknowledged in time what it was sent |
| *expiries* | a recipient's certificate or agreement, or the identity that signs deliveries, is about to end, or has |
| *whole_attacks* | no attack on all releases together has passed for longer than a week |
| *source_schema* | the source has other columns than policy declares: the next pull will stop |

**A failure means** an alarm, as its message says, or a server that is away.

**What to do:** the message names the next step; README's runbook has every alarm.
"""

from airflow.sdk import dag

from governance.orchestration import WATCH, watches


@dag(
    schedule="*/15 * * * *",
    doc_md=__doc__,
    tags=["alarms", "run log", "A1", "B1", "E1", "F1", "H1", "K1", "L3", "R1"],
    **WATCH,
)
def watch() -> None:
    watches()


watch()
