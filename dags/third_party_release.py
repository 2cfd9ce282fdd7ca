"""
### A published release, handed to a third party

Started by a person, with three parameters: the third party's id in `policies/third_parties.yaml`, the published table,
and the partition. Hands over rows of that release, and nothing else: the task works as a role that can read releases
and no personal zone. At the third party's endpoint appears a folder `<table>-<partition>` with the rows and
`release.json`: what was measured of the release (k, l and the rest), what policy said of it, the entry of the run log
that published it, and digests. The run log says so before and after. A release goes to a third party once; a run that
is repeated writes the same bytes, where the last try was killed before it could tell, or finds it delivered.

**A failure means** nothing was handed over. `RecipientError`: the third party is not registered, has no agreement
today, or none about this table. `PartitionError`: that partition is not released. `EndpointUnavailableError`: the
folder is not mounted, or full (it retries). `holds something else`: somebody else made a folder of that name there.

**What to do:** enter the agreement in `policies/third_parties.yaml`; publish the partition; mount the folder; then
clear the task. `governance releases show` says what a release is, `governance runs --clause E2` what went to whom.
"""

from airflow.sdk import Param, dag

from governance.orchestration import DEFAULT_ARGS, START, hand_over


@dag(
    schedule=None,
    start_date=START,
    catchup=False,
    is_paused_upon_creation=False,
    default_args=DEFAULT_ARGS,
    max_active_runs=4,
    params={
        "third_party": Param("", type="string", description="its id in policies/third_parties.yaml"),
        "table": Param("", type="string", description="a published table"),
        "partition": Param("", type="string", description="YYYY-MM-DD, a released day"),
    },
    doc_md=__doc__,
    tags=["releases", "C6", "E2", "H1", "R1"],
)
def third_party_release() -> None:
    hand_over()


third_party_release()
