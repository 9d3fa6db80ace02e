"""A database's schema as things and aspects, the same whether a snapshot declares it or a catalogue has it."""

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


@dataclass
class SchemaFacts:
    """What one side says. `of_tables` are the columns, keys, indexes and the like of each table."""

    tables: dict[str, Aspects] = field(default_factory=dict)
    of_tables: dict[str, dict[str, Aspects]] = field(default_factory=dict)
    others: dict[str, Aspects] = field(default_factory=dict)

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
