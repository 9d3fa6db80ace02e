"""What every command shows alike: one JSON document for machines, one line for an error, findings for people."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from cath_dagster.adapters.logs import is_json, json_line
from cath_dagster.adapters.mounted import MountedEnvironment
from cath_dagster.adapters.terminal import err, out
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.model.finding import Finding, Level

_LEVEL_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "red"}


def print_json(value: object) -> None:
    """Print one JSON document on standard output."""
    print(json.dumps(value, indent=2, default=str))  # noqa: T201 - no console may wrap or colour what a machine reads


def print_error(message: str) -> None:
    """Print one line on standard error, in the form that log lines have."""
    if _is_json():
        print(json_line("error", message, datetime.now(UTC)), file=sys.stderr)  # noqa: T201 - no console may wrap it
    else:
        err.print(f"error: {message}", style="red", markup=False)


def _is_json() -> bool:
    try:
        return is_json(MountedEnvironment())
    except ConfigurationError:
        # It may be this very error that is to be printed.
        return False


def print_findings(findings: Sequence[Finding], *, everything: bool) -> None:
    """Print what the doctor found; what is in order only as a number unless `everything`."""
    shown = [finding for finding in findings if everything or finding.level is not Level.OK or finding.remedy]
    for finding in shown:
        out.print(
            f"[{_LEVEL_STYLES[finding.level]}]{finding.level.value:>7}[/]  [bold]{finding.subject}[/bold]", end="  "
        )
        out.print(finding.message, markup=False)
        if finding.remedy:
            out.print(f"         {finding.remedy}", markup=False, style="cyan", soft_wrap=True)
    in_order = sum(finding.level is Level.OK for finding in findings)
    problems = sum(finding.level is Level.PROBLEM for finding in findings)
    warnings = len(findings) - in_order - problems
    out.print(f"{in_order} in order, {warnings} warnings, {problems} problems")


def findings_as_json(findings: Sequence[Finding]) -> list[dict[str, object]]:
    """Return what was found with stable keys."""
    return [finding.as_json() for finding in findings]


def has_problem(findings: Sequence[Finding]) -> bool:
    return any(finding.level is Level.PROBLEM for finding in findings)
