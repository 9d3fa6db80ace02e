"""Say which keys the values are under, and judge that it is one: in words for people, without anything that a value holds."""

from collections.abc import Mapping
from datetime import datetime

from cath_dagster.adapters.environment import open_backends
from cath_dagster.cloudmake import CLOUDMAKE
from cath_dagster.cloudmake.keyring import OLD, read_keyring
from cath_dagster.cloudmake.master_key.counting import KeyCounts, count_by_key, total
from cath_dagster.core.model.check import Verdict
from cath_dagster.core.postgres.database import Database


def tell(counts: Mapping[str, KeyCounts]) -> str:
    """Return in a sentence how many are under which key."""
    found = total(counts)
    return (
        f"{found.new:,} values are under the new key, {found.old:,} under the old one, {found.neither:,} under neither"
    )


def name_unopened(counts: Mapping[str, KeyCounts]) -> list[str]:
    """Return what opens under neither key, by table."""
    return [
        f"{found.neither:,} values of {name} open under neither key, such as {'; '.join(found.unopened)}: set the key that "
        f"they are under as {OLD}, or delete what nobody can read any more"
        for name, found in counts.items()
        if found.neither
    ]


def judge_counts(counts: Mapping[str, KeyCounts]) -> Verdict:
    """Judge whether all are under the new key."""
    found = total(counts)
    details = {f"{name}_{key}": count for name, each in counts.items() for key, count in each.as_details().items()}
    message = "; ".join([tell(counts), *name_unopened(counts)]) if found.old or found.neither else ""
    return Verdict(passed=not message, message=message, details=details)


def judge_keys(database: Database, as_of: datetime) -> Verdict:
    """Judge whether every value is under the master key of the environment."""
    del as_of
    return judge_counts(count_by_key(database, read_keyring(open_backends(CLOUDMAKE).environ)))
