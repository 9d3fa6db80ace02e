"""A database's schema as things and aspects, the same whether a snapshot declares it or a catalogue has it."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cath_dagster.cloudmake.drift.comparison import Aspects, Difference, Things, compare
from cath_dagster.core.postgres.catalogue import MAX_IDENTIFIER_BYTES
from cath_dagster.core.postgres.session import SERVICE

NO, YES = "no", "yes"
OURS = frozenset({"maintenance", "drizzle"})
"""Schemas of ours and of the migrator, which nobody declares."""
BOOKKEEPING = frozenset({"_migration_log"})
"""Tables of the service's own runner of migrations."""


class Kind(enum.StrEnum):
    """Where in a table an expression stands."""

    DEFAULT = "default"
    CHECK = "check"
    INDEX = "index"
    PREDICATE = "predicate"
    USING = "using"
    WITH_CHECK = "with check"


@dataclass(frozen=True, kw_only=True)
class Written:
    """An expression as somebody wrote it; `column` is whose default it is."""

    schema: str
    table: str
    kind: Kind
    text: str
    column: str = ""


@dataclass
class SchemaFacts:
    """What one side says. `of_tables` are the columns, keys, indexes and the like of each table.

    `written` has, by thing and aspect, the expressions that a person wrote.
    """

    tables: dict[str, Aspects] = field(default_factory=dict)
    of_tables: dict[str, dict[str, Aspects]] = field(default_factory=dict)
    others: dict[str, Aspects] = field(default_factory=dict)
    written: dict[tuple[str, str], Written] = field(default_factory=dict)

    def add(self, table: str, thing: str, aspects: Mapping[str, str]) -> None:
        self.of_tables.setdefault(table, {})[thing] = aspects

    @property
    def count(self) -> int:
        return len(self.tables) + len(self.others) + sum(map(len, self.of_tables.values()))

    def things(self, tables: frozenset[str]) -> Things:
        """Return all there is, of the tables' own parts only those of the tables given."""
        found: dict[str, Aspects] = {f"table {name}": aspects for name, aspects in self.tables.items()}
        found |= self.others
        for table in tables:
            found |= self.of_tables.get(table, {})
        return found


def compare_schemas(declared: SchemaFacts, real: SchemaFacts) -> Difference:
    """Return how they differ; of a table that one side lacks, the table alone is named."""
    both = frozenset(declared.tables.keys() & real.tables.keys())
    return compare(declared.things(both), real.things(both))


def doubtful(declared: SchemaFacts, real: SchemaFacts) -> dict[tuple[str, str], Written]:
    """Return the expressions whose one form differs from the other side's: they may mean the same all the same."""
    both = frozenset(declared.tables.keys() & real.tables.keys())
    wanted, found = declared.things(both), real.things(both)
    return {
        (thing, aspect): written
        for (thing, aspect), written in declared.written.items()
        if thing in wanted and thing in found and wanted[thing][aspect] != found[thing].get(aspect)
    }


def restate(declared: SchemaFacts, forms: Mapping[tuple[str, str], str]) -> None:
    """Put the server's form of expressions in the place of ours."""
    for things in declared.of_tables.values():
        for thing, aspects in things.items():
            own = {aspect: forms[thing, aspect] for aspect in aspects if (thing, aspect) in forms}
            things[thing] = {**aspects, **own}


def shown(schema: str, name: str) -> str:
    """Return a name as people say it: the schema only where it is not the usual one."""
    return name if schema in ("", SERVICE) else f"{schema}.{name}"


def cut(name: str) -> str:
    """Return a name as PostgreSQL keeps it, which cuts long ones without a word."""
    return name.encode()[:MAX_IDENTIFIER_BYTES].decode(errors="ignore")


def listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def flag(value: object) -> str:
    return YES if value else NO
