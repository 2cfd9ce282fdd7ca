"""From accepted rows to rows that analysts may have (clause E1): generalise, measure, suppress, refuse.

`levels` turns a value into a coarser one, `risk` measures k and l on the rows to be published, `releases` builds a
release and refuses to hand it over when a measure does not hold. Levels are fixed per column; what decides about
precision is `releases.in_classes` alone, so that a better partitioning can take its place.
"""
