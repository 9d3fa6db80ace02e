"""Where Dagster keeps runs and events, as the environment says."""

from pathlib import Path

import dagster as dg
import pytest

REPOSITORY = Path(__file__).parents[2]


def test_the_url_of_the_storage_may_come_from_a_mounted_file(
    empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dagster.yaml").symlink_to(REPOSITORY / "dagster.yaml")
    (tmp_path / "url").write_text(f"{empty_database}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_POSTGRES_URL_FILE", str(tmp_path / "url"))

    with dg.DagsterInstance.get() as instance:
        assert instance.get_runs_count() == 0
        url = getattr(instance.run_storage, "postgres_url", "")

    assert url.partition("://")[2] == empty_database.partition("://")[2]
