"""
### Everything that was released of bookings, attacked as a whole, once a week

Each release is attacked before it is published, together with the earlier ones that its people are in. This is the
rest: all releases as they stand in `analytics.bookings` now, against the rows that they were made of. Classes of every
release are counted again; pairs and subsets of releases, and all of them, are intersected and subtracted; all rows as
one table are attacked by singling out, linkability and inference of the specialty. What was found stands in the run log
and in `audit.release_attacks`; limits are policy value `bookings_whole_attack`.

**A failure means** `ALARM E1 ...`: a measure is over its limit, as the message says, and by how much. Nothing more is
released of bookings (`DisclosureError` of *publish*) until an attack passes, or policy says otherwise; what was
released stays. Anything else: a server that is away (it retries).

**What to do:** `short_classes`, `gained_less`: rows in `analytics.bookings_rows` are not those that were published, or
fewer; compare with a backup, tell the auditor, put them back. `fewer_left`, `disclosed`, `posterior_over_null`,
`singling_out`, `linkability`, `inference`: releases tell more than they should; tell the privacy officer, who may have
releases withdrawn or decide the limit. Then trigger this DAG, and clear the failed *publish*.
"""

from airflow.sdk import dag

from governance.orchestration import UPKEEP, upkeep


@dag(schedule="0 4 * * 1", doc_md=__doc__, tags=["releases", "E1", "R1"], **UPKEEP)
def release_attack() -> None:
    upkeep("attack_releases")


release_attack()
