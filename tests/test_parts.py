"""What happens to a test whose real part is not installed."""

import pytest

from tests.support.parts import REQUIRED, find_program


def test_a_part_that_is_missing_is_named_with_its_package_and_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(REQUIRED, raising=False)

    with pytest.raises(pytest.skip.Exception, match="apt-get install pgbouncer"):
        find_program("no-such-program", "pgbouncer")


def test_a_part_that_is_missing_fails_where_all_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REQUIRED, "1")

    with pytest.raises(pytest.fail.Exception, match="apt-get install pgbouncer"):
        find_program("no-such-program", "pgbouncer")
