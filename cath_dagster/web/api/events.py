"""What happens, as it happens: starts and ends of runs, and what people do, as server-sent events.

Every stream looks at the database once a second, by an index, from where it stopped: consoles share nothing but it.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from cath_dagster.core.history.tables import scheduled_job_history
from cath_dagster.web.api.dependencies import TheConsole, ThePrincipal, asking_of
from cath_dagster.web.api.jobs import seen_locations
from cath_dagster.web.console import Console
from cath_dagster.web.problems import Problem
from cath_dagster.web.tables import audit_log

router = APIRouter(tags=["events"])
LOOK_SECONDS = 1.0
BEAT_LOOKS = 15
"""Looks without news after which a comment says that the stream is alive: proxies end what is silent."""
MOST_STREAMS = 100
LATE = timedelta(seconds=5)
"""How late a row may be committed after the instant that it says, and still be told."""
H = scheduled_job_history


class Watch:
    """What one stream has told already."""

    def __init__(self, console: Console, locations: Sequence[str]) -> None:
        self._console = console
        self._locations = list(locations)
        self._since = console.clock()
        self._sequence: int | None = None
        self._told: dict[tuple[str, int], datetime] = {}

    def look(self) -> list[tuple[str, dict[str, Any]]]:
        """Return what happened since the last look, in order."""
        now = self._console.clock()
        with self._console.reader.connect() as connection:
            found = [*self._runs(connection), *self._actions(connection)]
        self._since = now
        self._told = {key: at for key, at in self._told.items() if at > now - 2 * LATE}
        return found

    def _runs(self, connection: sa.Connection) -> list[tuple[str, dict[str, Any]]]:
        events = []
        from_then = self._since - LATE
        for kind, column in (("run.started", H.c.started_at), ("run.ended", H.c.completed_at)):
            query = sa.select(H).where(column > from_then, H.c.location.in_(self._locations)).order_by(column)
            for row in connection.execute(query.limit(500)):
                at = row.started_at if kind == "run.started" else row.completed_at
                if at < self._since - LATE or (kind, row.id) in self._told or row.run_id is None:
                    continue
                self._told[kind, row.id] = at
                told = {
                    name: getattr(row, name) for name in ("location", "job", "run_id", "attempt", "status", "dry_run")
                }
                events.append((kind, told | {"at": at.isoformat()}))
        return events

    def _actions(self, connection: sa.Connection) -> list[tuple[str, dict[str, Any]]]:
        if self._sequence is None:
            self._sequence = connection.scalar(sa.select(sa.func.max(audit_log.c.sequence))) or 0
        query = sa.select(audit_log).where(audit_log.c.sequence > self._sequence).order_by(audit_log.c.sequence)
        events = []
        for row in connection.execute(query.limit(500)):
            self._sequence = row.sequence
            if row.location in self._locations:
                told = {name: getattr(row, name) for name in ("location", "job", "run_id", "actor", "result")}
                events.append((f"action.{row.action}", told | {"at": row.at.isoformat()}))
        return events


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "Events"}},
)
async def stream_events(request: Request, console: TheConsole, principal: ThePrincipal) -> StreamingResponse:
    """Stream starts and ends of runs, and what people do, as `run.started`, `run.ended` and `action.…`."""
    locations = seen_locations(console, principal, None)
    watch = Watch(console, locations)
    if request.app.state.streams >= MOST_STREAMS:
        raise Problem(
            503, "not available now", f"{MOST_STREAMS} streams are open already", headers={"Retry-After": "60"}
        )

    def may_still() -> bool:
        """Return whether whoever listens is still known, and sees what he saw."""
        try:
            return seen_locations(console, console.doorkeeper.identify(asking_of(request)), None) == locations
        except Problem:
            return False

    return StreamingResponse(
        _stream(request, watch, may_still), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
    )


async def _stream(request: Request, watch: Watch, may_still: Callable[[], bool]) -> AsyncIterator[str]:
    request.app.state.streams += 1
    silent = looks = 0
    try:
        yield "retry: 3000\n: watching\n\n"
        while not await request.is_disconnected():
            try:
                events = await run_in_threadpool(watch.look)
            except SQLAlchemyError:
                yield ": the database does not answer\n\n"
                events = []
            for kind, told in events:
                yield f"event: {kind}\ndata: {json.dumps(told)}\n\n"
            silent = 0 if events else silent + 1
            if silent % BEAT_LOOKS == BEAT_LOOKS - 1:
                yield ": alive\n\n"
            looks += 1
            if looks % BEAT_LOOKS == 0 and not await _asked(may_still):
                # A token that was revoked hears no more; whoever has other rights by now comes again.
                return
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        request.app.state.streams -= 1


async def _asked(may_still: Callable[[], bool]) -> bool:
    try:
        return await run_in_threadpool(may_still)
    except SQLAlchemyError:
        # It is asked again later: nobody's rights have changed because the database is away.
        return True
