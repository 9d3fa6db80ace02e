"""The service's thresholds for its MCP servers: read as it writes them, with what is decided where it says nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from cath_dagster.cloudmake.servers.thresholds import DEFAULT, SEVERE, Limit, Thresholds, read_thresholds
from cath_dagster.core.errors import ConfigurationError


def read(folder: Path, given: Any) -> Thresholds:
    path = folder / "loadTestThresholds.json"
    path.write_text(json.dumps(given))
    return read_thresholds(path)


def test_reads_what_the_service_says_of_each_server(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        {
            "servers": {
                "github": {"p95LatencyMs": 500, "maxErrorRatePct": 3.0, "description": "GitHub"},
                "neon": {"maxErrorRatePct": 2},
            },
            "globalDefaults": {"p95LatencyMs": 600, "maxErrorRatePct": 4.0},
            "alerting": {
                "criticalThreshold": {"p95LatencyMs": 2000, "maxErrorRatePct": 20.0},
                "warningThreshold": {"p95LatencyMsMultiplier": 2, "maxErrorRatePctMultiplier": 3},
            },
            "metadata": {"version": "1.0.0"},
        },
    )

    assert found.severe == Limit(p95_ms=2000, error_percent=20)
    assert [found.warning(name) for name in ("github", "neon", "unknown")] == [
        Limit(p95_ms=1000, error_percent=9),
        Limit(p95_ms=1200, error_percent=6),
        Limit(p95_ms=1200, error_percent=12),
    ]


def test_what_the_file_does_not_say_is_as_decided(tmp_path: Path) -> None:
    found = read(tmp_path, {})

    assert (
        (found.default, found.severe)
        == (DEFAULT, SEVERE)
        == (
            Limit(p95_ms=500, error_percent=5),
            Limit(p95_ms=1000, error_percent=10),
        )
    )
    assert found.warning("any") == Limit(p95_ms=750, error_percent=10)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"server": {}}, "has server, which mean nothing"),
        ({"servers": {"a": {"p95": 1}}}, "a has p95, which mean nothing"),
        ({"servers": {"a": {"p95LatencyMs": "1"}}}, "a: p95LatencyMs must be a number"),
        ({"servers": {"a": {"maxErrorRatePct": -1}}}, "must be a number from 0 on"),
        ({"servers": {"a": {"maxErrorRatePct": True}}}, "must be a number from 0 on"),
        ([], "must be an object"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(tmp_path: Path, given: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        read(tmp_path, given)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="CLOUDMAKE_MCP_THRESHOLDS names"):
        read_thresholds(tmp_path / "nowhere.json")
