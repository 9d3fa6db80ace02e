"""`cath-dagster secrets`: the store from which secrets go to GitHub, and what of it is where. No command shows a value."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated
from uuid import UUID

import typer

from cath_dagster.adapters.environment import open_backends
from cath_dagster.adapters.terminal import out
from cath_dagster.cloudmake import CLOUDMAKE
from cath_dagster.cloudmake.github_secrets.projects import Project
from cath_dagster.console.database import open_database
from cath_dagster.console.exits import FAILED
from cath_dagster.console.options import Json
from cath_dagster.console.output import print_json
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.postgres.database import Database

app = typer.Typer(
    help="Secrets: those that go to GitHub, and those that should stand in no repository.", no_args_is_help=True
)
PIPE = "the value comes from standard input, so that no list of processes, history or screen has it: … | cath-dagster secrets put PROJECT NAME"

ProjectName = Annotated[str, typer.Argument(metavar="PROJECT", help="A project, by its slug or its id.")]
SecretName = Annotated[str, typer.Argument(metavar="NAME", help="The secret's name, in capitals.")]
EnvironmentName = Annotated[
    str | None,
    typer.Option("--environment", help="dev, staging or production; without it the value is the project's as a whole."),
]


@app.command("put", context_settings={"allow_extra_args": True})
def put_secret(
    given: typer.Context,
    project: ProjectName,
    name: SecretName,
    environment: EnvironmentName = None,
    as_json: Json = False,
) -> None:
    """Store a secret's value, read from standard input, in the place of the one before; the next run brings it to GitHub."""
    from cath_dagster.cloudmake.github_secrets import store
    from cath_dagster.cloudmake.keyring import read_keyring

    if given.args:
        raise ConfigurationError(
            f"a value is no argument; {PIPE}. The one that was given is to be changed where it came from"
        )
    store.check_name(name)
    place = store.check_environment(environment)
    keyring = read_keyring(open_backends(CLOUDMAKE).environ)
    content = _read_value()
    with _opened(project) as (database, found):
        version = database.transaction(
            lambda connection: store.put(connection, keyring, found.project_id, place, name, content)
        )
        is_mapped = _is_mapped(found, name, place)
    if as_json:
        print_json({**_describe(found, name, place), "version": version, "is_mapped": is_mapped})
        return
    out.print(f"stored {_words(found, name, place)}, version {version}", markup=False)
    if not is_mapped:
        out.print("no mapping names it: until the service has one, it goes nowhere", style="yellow")


@app.command("list")
def list_secrets(project: ProjectName, as_json: Json = False) -> None:
    """List what is stored for a project: names, versions, and under which key; never a value."""
    from cath_dagster.cloudmake.github_secrets import store

    with _opened(project, may_be_gone=True) as (database, found):
        stored = database.transaction(lambda connection: store.list_names(connection, found.project_id))
    rows = [
        {
            **_describe(found, each.name, each.environment),
            "version": each.version,
            "key": each.key_id,
            "updated_at": each.updated_at.isoformat(timespec="seconds"),
            "is_mapped": _is_mapped(found, each.name, each.environment),
        }
        for each in stored
    ]
    if as_json:
        print_json(rows)
        return
    for each in stored:
        mapped = "" if _is_mapped(found, each.name, each.environment) else ", no mapping"
        out.print(
            f"{each.name}  {each.environment or 'everywhere'}  version {each.version}, {each.updated_at:%Y-%m-%d %H:%M}, "
            f"under key {each.key_id}{mapped}",
            markup=False,
            soft_wrap=True,
        )
    if not stored:
        out.print(f"nothing is stored for {found.slug}", markup=False)


@app.command("delete")
def delete_secret(
    project: ProjectName, name: SecretName, environment: EnvironmentName = None, as_json: Json = False
) -> None:
    """Delete a stored value. What is at GitHub goes with the next run, if no mapping names the secret any more either."""
    from cath_dagster.cloudmake.github_secrets import store

    place = store.check_environment(environment)
    with _opened(project, may_be_gone=True) as (database, found):
        is_deleted = database.transaction(
            lambda connection: store.delete(connection, found.project_id, place, store.check_name(name))
        )
        is_mapped = _is_mapped(found, name, place)
    if as_json:
        print_json({**_describe(found, name, place), "is_deleted": is_deleted, "is_mapped": is_mapped})
    elif not is_deleted:
        out.print(f"there is no {_words(found, name, place)}", markup=False)
    else:
        out.print(f"deleted {_words(found, name, place)}", markup=False)
        if is_mapped:
            out.print(
                "a mapping names it still: until that is deleted, it is missing, and stays at GitHub", style="yellow"
            )
    if not is_deleted:
        raise typer.Exit(FAILED)


@app.command("validate")
def validate_secrets(
    project: Annotated[
        str, typer.Argument(metavar="[PROJECT]", help="Projects by slug or id, with commas between; all by default.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Show what is set where, and what the next run would do; nothing is written. Exit code 1 where anything is wrong."""
    from cath_dagster.cloudmake.github_secrets.validation import validate

    with open_database(CLOUDMAKE, "secrets validate") as database:
        found = validate(database, open_backends(CLOUDMAKE).environ, project)
    if as_json:
        print_json(
            {
                "is_valid": found.is_valid,
                "sc_005": {"passed": found.verdict.passed, "message": found.verdict.message},
                "secrets": [vars(line) for line in found.lines],
            }
        )
    else:
        for line in found.lines:
            where = " ".join(part for part in (line.project, line.secret, line.target) if part)
            says = f"{where}: {line.says}{f' ({line.error})' if line.error else ''}"
            out.print(says, style=None if line.is_valid else "red", markup=False, soft_wrap=True)
        verdict = "in order" if found.verdict.passed else found.verdict.message
        out.print(f"{len(found.lines)} looked at; SC-005: {verdict}", markup=False, soft_wrap=True)
    if not found.is_valid:
        raise typer.Exit(FAILED)


@contextmanager
def _opened(project: str, *, may_be_gone: bool = False) -> Iterator[tuple[Database, Project]]:
    """Yield the database and the one project that is named; one that is gone, or not active, by its id alone."""
    from cath_dagster.cloudmake.github_secrets.projects import choose, read_projects

    with open_database(CLOUDMAKE, "secrets") as database:
        active = database.transaction(read_projects)
        by_id = _read_id(project) if may_be_gone else None
        if by_id is not None and all(each.project_id != by_id for each in active):
            yield database, Project(by_id, str(by_id))
            return
        found = choose(active, project)
        if len(found) != 1 or not project.strip():
            raise ConfigurationError(f"{project!r} names {len(found)} projects; name one, by its slug or its id")
        yield database, found[0]


def _read_id(project: str) -> UUID | None:
    with suppress(ValueError):
        return UUID(project)
    return None


def _read_value() -> bytes:
    """Return what standard input holds, without the line break at its end; raise `ConfigurationError` for what is no value."""
    from cath_dagster.cloudmake.github_secrets.store import MAX_VALUE_BYTES, find_fault

    if sys.stdin.isatty():
        raise ConfigurationError(f"standard input is a terminal, which would show the value; {PIPE}")
    value = sys.stdin.buffer.read(MAX_VALUE_BYTES + 3).rstrip(b"\r\n")
    fault = find_fault(value)
    if fault:
        raise ConfigurationError(f"nothing was stored: {fault}")
    return value


def _is_mapped(project: Project, name: str, environment: str) -> bool:
    """Return whether a mapping names the value: by its own name, or by one that ends with its environment."""
    from cath_dagster.cloudmake.environment import Environment
    from cath_dagster.cloudmake.github_secrets.wanted import split_suffix

    mapped = {mapping.name for mapping in project.mappings}
    wanted = (Environment(environment), name) if environment else None
    return name in mapped or any(split_suffix(each) == wanted for each in mapped)


def _describe(project: Project, name: str, environment: str) -> dict[str, object]:
    return {
        "project": project.slug,
        "project_id": str(project.project_id),
        "name": name,
        "environment": environment or None,
    }


def _words(project: Project, name: str, environment: str) -> str:
    return f"{name} of {project.slug}{f' in {environment}' if environment else ''}"
