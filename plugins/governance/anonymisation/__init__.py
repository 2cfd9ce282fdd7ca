"""From accepted rows to rows that analysts may have (clause E1): generalise, measure, suppress, refuse.

Two ways. The releases of bookings and visits have fixed levels per column: `levels` turns a value into a coarser one,
`risk` measures k and l on the rows to be published, `releases` builds a release and refuses to hand it over when a
measure does not hold.

The engine takes any table: `engine` reads it (`tables`) into a `census` of distinct cells, `domains` puts values in the
order of their `hierarchies` (`trees`), `recoding` has the compiled search find classes (`neighbours`, `beginning`,
`search`, `rebuilding`; `dealing` where t is asked for), `labelling` says what is published of them, and `measuring`
measures that before it is written. What the measures and the search leave open stands in `engine`.

Day by day: `daily` decides which rows of a pool are published, in classes that `drafts` tells apart by label; whoever
was published before has a signature (`signatures`) and gets `companions`. `composition` attacks what releases tell
together.

No pipeline uses these yet. How policy would say it, in place of the fixed levels of `release:` in `bookings.yaml`:

```yaml
release:
  daily: {delay_days: 7, threshold: 0.02, worth: 0.2, ceiling: 0.48, steps_per_row: 40}  # `daily.Terms`
  columns:
    recorded_date: {kind: release_day}  # of the release that carried the row: no quasi-identifier
    booking_event: {kind: quasi_identifier, from: bookings.status, values: [booked, amended, cancelled]}
    origin: {kind: quasi_identifier, from: bookings.client_country_code, shipped: country, unknown: top}
    party_size: {kind: quasi_identifier, from: bookings.travellers_count, numbers: [2, 8], most: 9}
    lead_days: {kind: quasi_identifier, from: bookings.lead_days, numbers: [7, 28, 84], most: 420}
    nights: {kind: quasi_identifier, from: bookings.nights_count, numbers: [2, 4, 8], most: 48}
    service_specialty: {kind: sensitive, ...}  # `values` as they are: their places are the codes of signatures
```

k and l stay open values. Three things are of policy and not of the day's rows, or a threshold would mean another loss
every day and a signature other values: a column's domain (what `numbers` reach up to is `most`, more counts as that),
the order of a sensitive column's values, which only grows at its end, and what is unknown or missing goes to the top.
Country becomes `origin_country`, `origin_subregion`, `origin_continent`, NULL where a class could not keep a level.

What the step would note per accepted row, in `vault.release_ledger`: `published`, `suppressed`, `superseded` (a later
event of the booking came while this one was held, or with it). A held row is an undecided one, as those are that come
late today, so it is carried out to the next release; retention and erasure find it in the vault until then, and a
restriction keeps it out of the pool. Beside it, a table of people's keyed numbers and signatures
(`signatures.Ledger`), which grows by first-timers.
"""
