"""
### Run log: the signed checkpoint

Every hour: says in the log that it is alive (so that an hour in which nothing happened is provably one), gives what
waits its place in the tree, and signs and publishes the head (c2sp.org/tlog-checkpoint) where the auditor pulls it.
`governance log checkpoint` does the same at any moment.

**A failure means** the database cannot be reached (it retries), or the log does not hold what its last checkpoint says
it held: it was changed, cut, or the database was put back to an earlier moment. Then nothing is signed until a person
has decided.

**What to do:** read the task's message, and tell the auditor, who holds checkpoints of his own. After a database that
was put back for an honest reason: `governance log acknowledge-restore REASON`.
"""

from airflow.sdk import dag

from governance.orchestration import UPKEEP, checkpoint


@dag(
    schedule="@hourly",
    doc_md=__doc__,
    tags=["run log", "J2", "R1"],
    **UPKEEP,
)
def run_log_checkpoint() -> None:
    checkpoint()


run_log_checkpoint()
