"""Write what follows from the registry and the specifications, and say what has to be written by hand: python -m … [--check]."""

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.postgres.session import PINS, Pin
from cath_dagster.core.run.spec import JobSpec, load_specs
from cath_dagster.development.api_page import render_api
from cath_dagster.development.local import REPOSITORY
from cath_dagster.development.places import find_gaps
from cath_dagster.development.workspace import render_lists
from cath_dagster.registry import all_specs, locations

README = REPOSITORY / "README.md"
INVENTORY = REPOSITORY / "docs" / "jobs.txt"
API = REPOSITORY / "docs" / "api.md"
ASSUMPTIONS = REPOSITORY / "docs" / "assumptions.md"
_TABLE = re.compile(r"(<!-- jobs: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_SETTINGS = re.compile(r"(<!-- settings -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> int:
    """Write every generated text, with --check only say whether they are current; say which places lack a location."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check: bool = parser.parse_args().check
    stale = [path for path, text in render_all().items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if not check:
            path.write_text(render_all()[path])
        print(f"{'out of date' if check else 'written'}: {path.relative_to(REPOSITORY)}")  # noqa: T201
    gaps = find_gaps()
    for gap in gaps:
        print(gap)  # noqa: T201
    return 1 if gaps or (stale and check) else 0


def render_all() -> dict[Path, str]:
    """Return every generated file with the text it should have."""
    by_name = {location.name: location for location in locations()}
    readme, assumptions = (page.read_text() if page.exists() else "" for page in (README, ASSUMPTIONS))
    return {
        README: _TABLE.sub(lambda found: _table_of(found, by_name), readme),
        ASSUMPTIONS: _SETTINGS.sub(lambda found: f"{found[1]}{settings_table()}{found[2]}", assumptions),
        API: render_api(),
        INVENTORY: "".join(f"{inventory_line(spec)}\n" for spec in all_specs()),
        **render_lists(REPOSITORY, locations()),
    }


def _table_of(found: re.Match[str], by_name: Mapping[str, CodeLocation]) -> str:
    """Return a table of README anew, as it stands where no location has its name."""
    location = by_name.get(found[2])
    return found[0] if location is None else f"{found[1]}{job_table(location)}{found[3]}"


def job_table(location: CodeLocation) -> str:
    """Return the jobs of a location as a Markdown table."""
    rows = [f"| `{spec.name}` | {_when(spec)} | {_kind(spec)} | {spec.summary} |" for spec in load_specs(location)]
    return "\n".join([f"| job | cron ({location.timezone}) | kind | what it does |", "|---|---|---|---|", *rows, ""])


def _when(spec: JobSpec) -> str:
    return f"`{spec.cron}`" if spec.cron else spec.schedule_text


def settings_table() -> str:
    """Return what a session of ours sets for itself as a Markdown table."""
    rows = [f"| `{pin.name}` | {_values(pin)} | {_handling(pin)} | {pin.why} |" for pin in PINS]
    return "\n".join(["| setting | value | | why |", "|---|---|---|---|", *rows, ""])


def _values(pin: Pin) -> str:
    if pin.expression:
        return pin.value
    return ", or ".join(f"`{value}`" if value else "nothing" for value in (pin.value, *pin.also))


def _handling(pin: Pin) -> str:
    return "pinned, or refused" if pin.is_privileged else "pinned"


def inventory_line(spec: JobSpec) -> str:
    """Return a job's line in the inventory, in which a job that vanishes shows."""
    return f"{spec.key}  {spec.schedule_text}  {spec.owner}"


def _kind(spec: JobSpec) -> str:
    if spec.partitions is not None:
        return f"asset, a partition a {spec.partitions.span}"
    if spec.steps:
        return f"{len(spec.steps)} ops"
    return "assets" if spec.is_asset else "op"


if __name__ == "__main__":
    sys.exit(main())
