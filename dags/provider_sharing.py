"""
### Accepted bookings, to the clinics and travel providers that they name

Runs when a partition of bookings was validated, up to that partition; `provider_deliveries` does the same every hour.
For each recipient in `policies/recipients.yaml` or the site's file: reads at the *source*, at this moment, whether its
bookings may go (consent to health data, age and guardian's consent, restriction, objection, erasure); writes the
columns of its contract, and no other, as FHIR (health) or JSON Lines and CSV (travel); seals them for its certificate;
puts them into its outbox, once. Whoever holds what may not be used any more gets a notice; the recipient's
acknowledgement closes each delivery. Bookings that are left out are counted by reason, and looked at again the next
time.

**A failure means** a recipient got nothing new, and the others got theirs. `HaltedError`, `RecipientError`: its
agreement, certificate, transfer basis or outbox is not in order; the message says which. `EndpointUnavailableError`,
`SealingUnavailableError`: it retries. `ContractError`: rows are not what the contract says. What was announced and
broken off is found in the outbox, or given up, by the next try.

**What to do:** `governance recipients show ID`, `governance recipients test ID`; mend the entry in the register, or
`governance recipients rotate` its certificate; then clear the task. `governance runs --clause F1` says what went to
whom.
"""

from airflow.sdk import dag

from governance.orchestration import DEFAULT_ARGS, START, asset, on_partitions_of, share


@dag(
    schedule=on_partitions_of(asset("vault", "bookings")),
    start_date=START,
    catchup=False,
    is_paused_upon_creation=False,
    default_args=DEFAULT_ARGS,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["sharing", "personal-data", "F1", "H1", "I2", "N1", "R1"],
)
def provider_sharing() -> None:
    share()


provider_sharing()
