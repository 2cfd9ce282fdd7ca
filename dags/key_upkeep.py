"""
### Keys: destroy what is due, every hour

Destroys every key whose deadline has come (card keys ten days after their hour, less a margin), whatever else runs or
fails, and the key of a day's visitors once that day has landed; records each destruction in the run log; destroys again
what an old copy of the key store brought back; and replaces the key-encryption key when it is past its life, so that
backups of the key store expire.

**A failure means** the key store or the database cannot be reached; it retries. The deadline of a key holds all the
same: past it, nothing decrypts with it. What was destroyed while the database was away is recorded by the next run.

**What to do:** read the task's message; `governance keys audit` says what is overdue and what does not agree.
`ALARM K1 ...` in `governance runs`: keys outlived their term because runs were missed; find out why, and tell the
privacy officer.
"""

from airflow.sdk import dag

from governance.orchestration import UPKEEP, upkeep


@dag(
    schedule="@hourly",
    doc_md=__doc__,
    tags=["keys", "J1", "K1", "M1", "R1"],
    **UPKEEP,
)
def key_upkeep() -> None:
    upkeep("keep_keys")


key_upkeep()
