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
together. No pipeline uses these yet.
"""
