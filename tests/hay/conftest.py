"""Hay with an empty database, and an empty folder of exports."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cath_dagster.hay import HAY
from tests.hay.hay import Hay
from tests.support.databases import Databases


@pytest.fixture
def hay(databases: Databases, tmp_path: Path) -> Iterator[Hay]:
    with (
        databases.copy(databases.template(HAY.name)) as url,
        Hay.open(url, tmp_path, as_of=datetime(2026, 11, 18, 3, 0, tzinfo=UTC)) as opened,
    ):
        yield opened
