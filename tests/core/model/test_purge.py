"""What a purge says of itself, held against every job that has one."""

from datetime import UTC, datetime

from cath_dagster.core.model.settings import read_settings
from cath_dagster.core.roles.required_privileges import Moment
from cath_dagster.registry import all_specs


def test_the_tables_of_every_purge_are_those_whose_rows_it_finds() -> None:
    moment = Moment(datetime(2026, 11, 18, tzinfo=UTC), {})
    purges = [
        (spec.key, purge)
        for spec in all_specs()
        for purge in spec.purges_at(
            moment, read_settings(spec.settings, {}, location=spec.location.name, job=spec.name, environ={})
        )
        or ()
    ]

    found = {
        f"{key} {purge.rule}": [purge.table, *(table for table, _ in purge.every_child())] for key, purge in purges
    }

    assert found == {f"{key} {purge.rule}": purge.every_table for key, purge in purges}
    assert max(map(len, found.values())) > 20
