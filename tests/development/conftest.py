"""What the tests of the local stack share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cath_dagster.development.local import Local
from cath_dagster.development.postgres import remove_state


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    made = Local(tmp_path / "local", {"fsync": "off"})
    made.start_database()
    yield made
    remove_state(made.folder)
