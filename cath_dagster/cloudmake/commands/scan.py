"""`cath-dagster secrets scan` and `baseline`: secrets that stand in a repository."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cath_dagster.adapters.mounted import MountedEnvironment
from cath_dagster.cloudmake.scan.accepting import accept
from cath_dagster.cloudmake.scan.key import read_key
from cath_dagster.cloudmake.scan.looking import look
from cath_dagster.cloudmake.scan.report import Finding, ScanReport
from cath_dagster.cloudmake.scan.request import MEGABYTE, ScanRequest, What, read_what
from cath_dagster.console.exits import FAILED
from cath_dagster.console.options import Json
from cath_dagster.console.output import print_json
from cath_dagster.core.untrusted_text import one_line

HEADINGS = ("rule", "file:line", "commit", "fingerprint", "where")

Where = Annotated[
    Path, typer.Argument(metavar="PATH", help="A repository, a folder in one, or files that are in none.")
]
BaselineFile = Annotated[
    Path | None, typer.Option("--baseline", metavar="FILE", help="The known findings; .secrets-baseline by default.")
]
MaxFile = Annotated[int, typer.Option("--max-file-mb", min=1, help="A larger file is not read, and the scan fails.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the app of the others about secrets."""
    app.command("scan")(scan)
    app.command("baseline")(baseline)


def scan(
    path: Where = Path(),
    staged: Annotated[bool, typer.Option("--staged", help="What the next commit would have: for a hook.")] = False,
    commits: Annotated[str, typer.Option("--range", metavar="A..B", help="What B has and A has not: for CI.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="The whole history, whatever is remembered.")] = False,
    baseline_file: BaselineFile = None,
    max_file_mb: MaxFile = 100,
    gate: Annotated[bool, typer.Option(help="Exit with 1 where a secret is found.")] = True,
    as_json: Json = False,
) -> None:
    """Look for secrets, offline: by default in the history since the last clean scan and in the newest tree.

    Nothing of a value is shown. Exit code 1 where one is found, and where something could not be read.
    """
    environ = MountedEnvironment()
    what, since, until = read_what(is_staged=staged, commits=commits, is_all=everything)
    state = environ.get("CLOUDMAKE_SCAN_STATE")
    asked = ScanRequest(
        path=path,
        what=what,
        since=since,
        until=until,
        baseline=baseline_file,
        memory=Path(state) if state else None,
        max_bytes=max_file_mb * MEGABYTE,
    )
    looked = look(asked, read_key(environ), environ)
    report = looked.report
    if as_json:
        print_json(report.as_json())
    else:
        _print(report)
    if reason := looked.remember():
        typer.echo(reason, err=True)
    if report.unread or (gate and report.found):
        raise typer.Exit(FAILED)


def baseline(
    path: Where = Path(),
    because: Annotated[
        str,
        typer.Option(
            "--because",
            help="Why the findings may stand there; asked for if it is not given.",
            prompt="Why may they stand there",
        ),
    ] = "",
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="FILE", help="Take findings of this file alone; may be repeated."),
    ] = None,
    staged: Annotated[
        bool, typer.Option("--staged", help="Take what is staged, before the commit that a hook would refuse.")
    ] = False,
    made_up: Annotated[
        bool,
        typer.Option(
            "--made-up", help="No value is a secret, such as a test's: the key stands in the file and protects nothing."
        ),
    ] = False,
    baseline_file: Annotated[
        Path | None, typer.Option("--baseline", metavar="FILE", help="Where to write; .secrets-baseline by default.")
    ] = None,
    max_file_mb: MaxFile = 100,
) -> None:
    """Write what is found now into the baseline, each with the reason: a secret that was rotated, or none at all.

    Lines that are there keep their reasons; those that know nothing any more go.
    """
    environ = MountedEnvironment()
    what = What.STAGED if staged else What.ALL
    asked = ScanRequest(path=path, what=what, max_bytes=max_file_mb * MEGABYTE)
    accepted = accept(
        asked,
        read_key(environ),
        environ,
        because=because,
        only=frozenset(only or ()),
        is_made_up=made_up,
        file=baseline_file,
    )
    typer.echo(f"{accepted.path}: {accepted.added} lines added, {accepted.kept} kept, {accepted.dropped} dropped")
    if accepted.left:
        typer.echo(f"{accepted.left} findings of other files are left: cath-dagster secrets scan shows them")


def _print(report: ScanReport) -> None:
    for row in _aligned([HEADINGS, *map(_row, report.found)] if report.found else []):
        typer.echo(row)
    looked = f"{report.files:,} file versions, {report.commits:,} commits, {len(report.known)} findings known"
    typer.echo(one_line(f"{report.verdict}. Looked at {report.looked_at}: {looked}"))
    for why, count in report.skipped.items():
        typer.echo(f"{count:,} x {why}")
    for note in report.notes:
        typer.echo(one_line(note))


def _row(finding: Finding) -> tuple[str, ...]:
    where = "newest tree" if finding.is_present else "history"
    return (finding.rule, finding.place, finding.commit[:12], finding.fingerprint, where)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:

    plain = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*plain, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in plain]
