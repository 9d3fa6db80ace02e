"""What a run was really told. The history keeps of texts only how long they were; of what the console launched, the audit log
has every word.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cath_dagster.core.instants import as_utc
from cath_dagster.web import audit
from cath_dagster.web.problems import unusable
from cath_dagster.web.tables import audit_log

_LEFT_OUT = re.compile(r"\(text of \d+ characters\)")


def told(connection: sa.Connection, run: Any) -> dict[str, Any]:
    """Return the run config of a run, its partition included; raise a `Problem` with 422 where a part is not known any more."""
    found: dict[str, Any] | None = None
    if run.nonce is not None:
        query = sa.select(audit_log.c.parameters).where(
            audit_log.c.nonce == run.nonce,
            audit_log.c.location == run.location,
            audit_log.c.job == run.job,
            audit_log.c.result == audit.REQUESTED,
        )
        # What was asked for again under one key has the last one's reference time.
        query = query.order_by(audit_log.c.sequence.desc()).limit(1)
        found = connection.scalar(query)
    # What the command line had launched is in the audit log as it is in the history.
    parameters: Mapping[str, Any] = run.parameters if found is None else found
    if parameters.get("selection"):
        raise unusable(
            f"run {run.run_id} was of some of the job's assets alone, and from here all of them run; make a dry run by the console, "
            "POST …/plan, and take that"
        )
    unknown = [name for name, value in parameters.items() if _LEFT_OUT.fullmatch(str(value))]
    if unknown:
        raise unusable(
            f"what run {run.run_id} was told as {', '.join(unknown)} is not in the history; make a dry run by the console, "
            "POST …/plan, and take that"
        )
    return dict(parameters)


def as_of(config: Mapping[str, Any], run: Any) -> datetime:
    """Return a run's reference time: what it was told, which without a zone is UTC's, else when it began."""
    given = config.get("as_of")
    started: datetime = run.started_at
    return as_utc(datetime.fromisoformat(given)) if isinstance(given, str) else started
