"""
### Run log: order and tree

Gives every entry of the run log that waits its place as a leaf of the Merkle tree, every ten minutes. Entries are
appended in the transaction of their effect and wait for nobody; the policy value `merge_delay_minutes` says within how
long they have their place.

**A failure means** the database cannot be reached (it retries), the tiles of the tree do not fit its leaves, or an
entry that was appended is gone before it got its place: somebody changed the run log.

**What to do:** read the task's message; `governance verify-log` compares the whole log with its checkpoints. Where
something was changed, tell the auditor before you touch anything.
"""

from airflow.sdk import dag

from governance.orchestration import UPKEEP, sequence


@dag(
    schedule="*/10 * * * *",
    doc_md=__doc__,
    tags=["run log", "J2", "R1"],
    **UPKEEP,
)
def run_log_sequencer() -> None:
    sequence()


run_log_sequencer()
