"""What removing an artefact takes along: its metadata archived, its search rows deleted, its files queued."""

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import array

from cath_dagster.cath.tables import artefact, artefact_archive, artefact_search, location
from cath_dagster.core.model.purge import Child, CopyTo, Purge

FINAL_EXTENSION = r"(\.[A-Za-z0-9]{1,10})$"
"""The source's file name is an uploader's words: nothing of it but a plain extension gets into a path."""
WHOLE_NUMBER = r"^\s*[+-]?0{0,100}[0-9]{1,18}\s*$"
"""As long as any id can be; a longer number is no location's, and may be more than a numeric can hold."""


def removal(
    *,
    rule: str,
    predicate: sa.ColumnElement[bool],
    cutoff: datetime,
    run_id: str,
    reads_other_rows: bool = False,
    conditions: Mapping[str, sa.ColumnElement[bool]] | None = None,
) -> Purge:
    """Return the purge of the artefacts that match, with everything that goes along."""
    copied = [column.name for column in artefact_archive.c if column.name != "archived_by"]
    return Purge(
        table=artefact,
        rule=rule,
        predicate=predicate,
        cutoff=cutoff,
        age=artefact.c.display_to,
        reads_other_rows=reads_other_rows,
        children=(Child(artefact_search, artefact_search.c.artefact_id),),
        copies=CopyTo(
            artefact_archive,
            {**{name: artefact.c[name] for name in copied}, "archived_by": sa.literal(run_id)},
            run="archived_by",
        ),
        files=select_files,
        conditions=conditions or {},
    )


def select_files(chosen: sa.ColumnElement[bool]) -> sa.Select[tuple[str, str]]:
    """Return the paths of the chosen artefacts' files: every name the service has ever given them."""
    name = sa.cast(artefact.c.artefact_id, sa.Text)
    extension = sa.func.substring(artefact.c.source_artefact_id, FINAL_EXTENSION)
    in_artefact = sa.literal("artefact/") + name
    in_publications = sa.literal("publications/") + name
    paths = array(
        [
            in_artefact,
            in_artefact + ".json",
            in_artefact + ".pdf",
            in_artefact + extension,
            in_publications + ".pdf",
            in_publications + ".xlsx",
        ]
    )
    every = sa.select(name.label("key"), sa.func.unnest(paths).label("path")).where(chosen).subquery()
    # An artefact without a source file has no extension, and so one path less.
    return sa.select(every.c.key, every.c.path).where(every.c.path.is_not(None))


def location_number(value: sa.ColumnElement[str]) -> sa.ColumnElement[int | None]:
    """Return the location id a text stands for, NULL if it is no whole number: ` 007 ` is location 7."""
    return sa.case((value.op("~")(WHOLE_NUMBER), sa.cast(value, sa.Numeric)), else_=None)


def is_location(value: sa.ColumnElement[str], *conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Return whether a text is the id of an existing location for which the conditions hold; never NULL."""
    known = sa.select(sa.cast(location.c.location_id, sa.Numeric)).where(*conditions)
    return sa.func.coalesce(location_number(value).in_(known), sa.false())
