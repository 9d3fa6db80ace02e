"""The drawing of the house says what the contracts keep."""

import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs/architecture.md").read_text()
CORE = ROOT / "cath_dagster/core"
BASE = {"errors", "instants", "extremes", "parallel", "untrusted_json", "untrusted_text"}
"""Modules below all rooms, of which the drawing says nothing."""


def layers(name: str) -> list[str]:
    contracts: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    (contract,) = (each for each in contracts if each["type"] == "layers" and name in each["name"])
    return [part.strip().removeprefix("cath_dagster.") for layer in contract["layers"] for part in layer.split("|")]


def test_names_every_room_of_core_in_the_order_of_its_contract() -> None:
    told = re.findall(r"^\| `(\w+)` \|", DOCUMENT, re.MULTILINE)

    assert told == [room for room in layers("In core") if room not in BASE]
    assert {path.name for path in CORE.iterdir() if (path / "__init__.py").exists()} <= set(told)


def test_begins_where_it_says() -> None:
    for room, files in re.findall(r"^\| `(\w+)` \|[^|]*\| ([^|]+) \|$", DOCUMENT, re.MULTILINE):
        for name in re.findall(r"`([\w.]+)`", files):
            assert (CORE / room / name).exists(), f"{room} has no {name}"


def test_draws_every_row_of_the_house() -> None:
    (drawing,) = re.findall(r"```mermaid\nflowchart.*?```", DOCUMENT, re.DOTALL)
    places = {row: re.search(rf"\b{row}\b", drawing) for row in layers("A module")}

    assert [row for row, place in places.items() if place is None] == []
