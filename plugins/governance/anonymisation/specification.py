"""How a table is to be anonymised, as policy says it: what columns are, what classes hold, how long to search. Pure.

```yaml
version: 1
protection: {k: 5, l: 2}              # also entropy_l, t, ordered: {occupation: [low, middle, high]}
effort: {steps: 400000}             # and `public_seed`, for tables that protect nobody
columns:
  age: {role: quasi_identifier, hierarchy: {numbers: {widths: [5, 20]}}, exact: true}
  country: {role: quasi_identifier, hierarchy: {shipped: country}, unknown: top}
  postcode: {role: quasi_identifier, hierarchy: {geonames: SE.txt}, unknown: top}  # to municipality and county
  procedure: {role: quasi_identifier, hierarchy: {texts: {separator: "."}}}        # dental.implant to dental.*
  booked: {role: quasi_identifier, hierarchy: {dates: [month, year]}, finest: month}
  client: {role: person}
  occupation: {role: sensitive}
  channel: {role: keep}               # published as it is, and outside of what k, l and t say
  comment: {role: withhold}
limits: {singling_out: 0.05}          # what `governance assess` allows: see `limits`
attacks: {count: 2000, linked: [[age], [country]]}
```
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from governance.anonymisation import hierarchies, trees
from governance.anonymisation.domains import Treatment
from governance.anonymisation.hierarchies import Hierarchy
from governance.anonymisation.limits import AttackPlan, Limits
from governance.anonymisation.recoding import DEFAULT_STEPS, Effort, Protection
from governance.errors import GapError, PolicyError, shown
from governance.policy import POLICY_FOLDER
from governance.policy_files import mapping
from governance.strict import Strict

MOST_STEPS = 10**15  # years

Role = Literal["quasi_identifier", "sensitive", "person", "keep", "withhold"]


class NumbersRule(Strict):
    """Buckets of numbers."""

    widths: tuple[float, ...] = ()
    origin: float = 0
    whole: bool = True


class TextsRule(Strict):
    """Codes cut short."""

    prefixes: tuple[int, ...] = ()
    separator: str = ""


SOURCES = ("csv", "shipped", "geonames", "parents", "numbers", "intervals", "dates", "texts")


class HierarchyRule(Strict):
    """Where a hierarchy comes from: exactly one of these."""

    csv: str | None = None
    shipped: Literal["country"] | None = None  # this project's own: countries to UN M49 subregion and continent
    geonames: str | None = None  # a country's file of GeoNames' postal codes
    parents: dict[str, str] | None = None
    numbers: NumbersRule | None = None
    intervals: dict[str, dict[str, tuple[float, float]]] | None = None
    dates: tuple[str, ...] | None = None
    texts: TextsRule | None = None
    numeric: bool = False  # whether the leaves of `csv` are numbers
    levels: tuple[str, ...] = ()  # names of the levels of `csv` and `parents`, the top last

    @model_validator(mode="after")
    def _exactly_one(self) -> HierarchyRule:
        if sum(getattr(self, source) is not None for source in SOURCES) != 1:
            raise ValueError(f"a hierarchy is one of {', '.join(SOURCES)}")
        return self


class ColumnRule(Strict):
    """What a column is, and how a quasi-identifier is coarsened."""

    role: Role
    hierarchy: HierarchyRule | None = None
    exact: bool = False
    finest: str | None = None  # the finest level that is published, for values that single people out
    unknown: Literal["refuse", "top"] = "refuse"
    missing: Literal["refuse", "top"] = "refuse"

    @model_validator(mode="after")
    def _hierarchies_are_for_quasi_identifiers(self) -> ColumnRule:
        if (self.role == "quasi_identifier") != (self.hierarchy is not None):
            raise ValueError("a quasi-identifier has a hierarchy, and no other column has one")
        if self.finest is not None and (self.hierarchy is None or self.exact):
            raise ValueError("the finest level is one of a hierarchy, and said of labels, not of true intervals")
        return self


class ProtectionRule(Strict):
    """What every class must hold."""

    k: int = Field(ge=2)
    l: int = Field(default=1, ge=1)  # noqa: E741
    entropy_l: float = Field(default=1.0, ge=1)
    t: float | None = Field(default=None, gt=0, lt=1)
    ordered: dict[str, tuple[str, ...]] = {}


class EffortRule(Strict):
    """How long to search, and a seed of all chances that anybody may know.

    A seed in a policy is read by many, and who knows it, the software and most of the table can rebuild the classes
    (see `engine`): so it has a name that says so, and without one every run draws its own, which nobody is told.
    """

    steps: int = Field(default=DEFAULT_STEPS, ge=0, le=MOST_STEPS)
    public_seed: int | None = Field(default=None, ge=0, lt=2**63)


class Specification(Strict):
    """A policy of anonymisation."""

    version: Literal[1]
    protection: ProtectionRule
    effort: EffortRule = EffortRule()
    columns: dict[str, ColumnRule]
    limits: Limits = Limits()
    attacks: AttackPlan = AttackPlan()

    def of_role(self, role: Role) -> tuple[str, ...]:
        """Columns of a role, in the policy's order."""
        return tuple(name for name, rule in self.columns.items() if rule.role == role)

    @property
    def published(self) -> tuple[str, ...]:
        """Columns that a published table speaks of: quasi-identifiers, sensitive ones, and those kept as they are."""
        return (*self.of_role("quasi_identifier"), *self.of_role("sensitive"), *self.of_role("keep"))

    @property
    def person(self) -> str | None:
        """The column that tells people apart, where there is one."""
        return next(iter(self.of_role("person")), None)

    @model_validator(mode="after")
    def _roles_fit(self) -> Specification:
        asked = self.protection
        sensitive = self.of_role("sensitive")
        if not self.of_role("quasi_identifier"):
            raise ValueError("no column is a quasi-identifier: there is nothing to generalise")
        if len(self.of_role("person")) > 1:
            raise ValueError("more than one column tells people apart")
        if (asked.l > 1 or asked.entropy_l > 1 or asked.t is not None) and not sensitive:
            raise ValueError("l and t are about sensitive columns, and there is none")
        if set(asked.ordered) - set(sensitive):
            raise ValueError("an order is declared for a column that is not sensitive")
        if any(len(set(order)) < len(order) for order in asked.ordered.values()):
            raise ValueError("an order lists a value twice")
        return self

    @model_validator(mode="after")
    def _attacks_are_on_columns(self) -> Specification:
        one, other = map(set, self.attacks.linked or (("",), ("one", "other")))
        if self.attacks.linked and not (one and other and one | other <= set(self.of_role("quasi_identifier"))):
            raise ValueError("attacks.linked names quasi-identifiers, some on each side")
        if one & other:
            raise ValueError("attacks.linked has a column on both sides")
        if max(self.attacks.columns, default=1) > len(self.published):
            raise ValueError("attacks.columns are more than are published")
        if set(self.attacks.tolerance) - set(self.of_role("sensitive")):
            raise ValueError("attacks.tolerance is said of a column that is not sensitive")
        return self


def specification(name: str, content: bytes) -> Specification:
    """A policy from YAML. Raises PolicyError, naming file and key. A column has one role: a quasi-identifier that is
    also sensitive would be published both ways, and a key that stands twice is refused."""
    try:
        return Specification.model_validate(mapping(name, content))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PolicyError(f"{name}: {where or 'policy'}: {first['msg']} ({error.error_count()} in all)") from None


def treatments(rules: Specification, read: Callable[[str], str]) -> dict[str, Treatment]:
    """The checked hierarchies of all quasi-identifiers. `read` gives the text of a CSV file that the policy names.

    Raises PolicyError for a hierarchy that is none, and names of columns that cannot be told apart when published.
    """
    found = {}
    for name in rules.of_role("quasi_identifier"):
        rule = rules.columns[name]
        if rule.hierarchy is not None:
            hierarchy = _hierarchy(name, rule.hierarchy, read)
            finest = _level(name, hierarchy, rule.finest)
            found[name] = Treatment(hierarchy, rule.exact, rule.unknown, rule.missing, finest)
    _require_different_names(rules, {name: treatment.hierarchy for name, treatment in found.items()})
    return found


def spellings(name: str, hierarchy: Hierarchy) -> list[str]:
    """What columns of a quasi-identifier may be called: by its own name, by levels below the top, and by ends."""
    return [name, *(f"{name}_{level}" for level in hierarchy.levels[:-1]), f"{name}_from", f"{name}_to"]


def _require_different_names(rules: Specification, hierarchies: Mapping[str, Hierarchy]) -> None:
    """Columns of levels and ends are named after their column: no other may have such a name, withheld or not."""
    names = Counter(name for name in rules.columns if name not in hierarchies)
    for name, hierarchy in hierarchies.items():
        names.update(spellings(name, hierarchy))
    if twice := [shown(name) for name, times in names.items() if times > 1]:
        raise PolicyError(
            f"two columns would be called {', '.join(twice[:10])}: levels are published as COLUMN_LEVEL, intervals as "
            f"COLUMN_from and COLUMN_to; rename one in table and policy, or name the levels otherwise"
        )


def _level(name: str, hierarchy: Hierarchy, level: str | None) -> int:
    if level is None:
        return 0
    if level not in hierarchy.levels:
        known = ", ".join(map(shown, hierarchy.levels))
        raise PolicyError(f"column {shown(name)}: {shown(level)} is no level of its hierarchy; those are {known}")
    return hierarchy.levels.index(level) + 1


def _hierarchy(name: str, rule: HierarchyRule, read: Callable[[str], str]) -> Hierarchy:
    makers: dict[str, Callable[[Any], Hierarchy]] = {
        "csv": lambda path: trees.from_csv(name, read(path), numeric=rule.numeric, levels=rule.levels),
        "shipped": lambda stem: trees.from_table(name, read(str(POLICY_FOLDER / "hierarchies" / f"{stem}.csv"))),
        "geonames": lambda path: trees.from_geonames(name, read(path)),
        "parents": lambda parents: trees.from_parents(name, parents, rule.levels),
        "numbers": lambda n: hierarchies.numbers(name, n.widths, origin=n.origin, whole=n.whole),
        "intervals": lambda levels: hierarchies.intervals(name, levels),
        "dates": lambda units: hierarchies.dates(name, units),
        "texts": lambda t: hierarchies.texts(name, t.prefixes, t.separator),
    }
    source = next(source for source in SOURCES if getattr(rule, source) is not None)
    return makers[source](getattr(rule, source))


def protection(rules: Specification) -> Protection:
    """The model of protection that a policy asks for."""
    asked = rules.protection
    return Protection(asked.k, asked.l, asked.entropy_l, asked.t, dict(asked.ordered))


def effort(rules: Specification, seed: int, steps: int | None = None) -> Effort:
    """The effort that a policy allows, or `steps` of it. `seed`: where policy names no public one."""
    public = rules.effort.public_seed
    return Effort(rules.effort.steps if steps is None else steps, seed if public is None else public)


def require_same_columns(rules: Specification, columns: Sequence[str]) -> None:
    """Compare policy and table. Raises GapError naming the columns that only one of them has, and those that the table
    has twice; of a table without a header, where names would be values, it names none."""
    if not set(columns) & set(rules.columns):
        raise GapError("the table has no column that the policy declares: its first line is no header, or another's")
    unknown = [shown(column) or "one without a name" for column in columns if column not in rules.columns]
    absent = [column for column in rules.columns if column not in columns]
    twice = sorted({shown(column) for column in columns if list(columns).count(column) > 1})
    told = [
        f"{what}: {', '.join(names[:10])}{' ...' if len(names) > 10 else ''}"
        for what, names in (
            ("columns that the policy does not declare", unknown),
            ("columns that the table does not have", absent),
            ("columns that the table has twice", twice),
        )
        if names
    ]
    if told:
        raise GapError(f"table and policy disagree; {'; '.join(told)}")
