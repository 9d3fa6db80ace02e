"""Refresh the SHAAM tokens that are about to expire, many businesses at once, each by itself."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import ClassVar
from uuid import UUID
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from pydantic import Field

from cath_dagster.bon import BON, OWNER, messages
from cath_dagster.bon.owners import owners_of
from cath_dagster.bon.refusals import Judge, is_everybody
from cath_dagster.bon.shaam import Ended, Ending, Refresher, is_due
from cath_dagster.bon.tables import business_shaam_credentials as credentials
from cath_dagster.bon.tables import businesses, users
from cath_dagster.bon.token_cipher import TokenCipher
from cath_dagster.core.maintenance.tables import sent_notice
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import TIMEOUT_DESCRIPTION, JobSettings
from cath_dagster.core.outbox.forgetting import Asking, is_older
from cath_dagster.core.outbox.notices import DONE, IMPATIENT, Notice, enqueue
from cath_dagster.core.outbox.tally import IDS_SHOWN
from cath_dagster.core.parallel import work_on
from cath_dagster.core.ports.breaker import Breaker
from cath_dagster.core.ports.mail import Message
from cath_dagster.core.ports.tokens import ClientAuth
from cath_dagster.core.run.job_parts import DatabaseWork, MailWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec

JOB = "shaam_token_refresh"
TABLE = credentials.name
TEMPLATE = "reauthorisation"
CALENDAR = ZoneInfo(BON.timezone)
VARIABLES = ("SHAAM_TOKEN_URL", "SHAAM_CLIENT_ID", "SHAAM_CLIENT_SECRET", "SHAAM_ENCRYPTION_KEY")
EVERYBODY = (
    "HTTP 4xx invalid_grant like most others: rather another client's id, or a fault of the provider, than so many revoked "
    "authorisations, so that none is flagged; if they are, run once with allow_large"
)
MAX_OUTAGES = 64
"""Requests in a row without an answer, twice those that may be under way; the others are left to the next run."""


class ShaamTokenRefreshSettings(JobSettings):
    """Which tokens are refreshed, and how hard the provider is leant on."""

    window_minutes: int = Field(
        default=20,
        ge=0,
        le=1_440,
        description="Tokens that expire within so many minutes are refreshed. More than the 15 between two ticks: with "
        "less, a token may expire before the tick that would refresh it.",
    )
    concurrency: int = Field(
        default=16,
        ge=1,
        le=32,
        description="Businesses refreshed at once; each takes a connection to the database and one to the provider.",
    )
    timeout_key: ClassVar[str] = "run_timeout_seconds"
    # The name is a request's here, and was so before every job had it for a run.
    timeout_seconds: int = Field(
        default=10,
        ge=1,
        le=30,
        description="Seconds to wait for the provider. A credential's row stays locked meanwhile.",
    )
    run_timeout_seconds: int | None = Field(default=None, ge=1, le=86_400, description=TIMEOUT_DESCRIPTION)
    settle_seconds: int = Field(
        default=5,
        ge=0,
        le=120,
        description="Seconds after a refusal in which the service may write what it got for that token itself. Only then, "
        "and if its row is unchanged, a credential is flagged and its owner told.",
    )
    lifetime_minutes: int = Field(
        default=60,
        ge=1,
        le=525_600,
        description="Minutes that a token is taken to live where the provider's answer does not say.",
    )


def prepare(run: JobRun, settings: ShaamTokenRefreshSettings) -> None:
    """Look at every variable that the work goes by."""
    del settings
    _read_provider(run)
    if run.has_mail:
        run.require_mail(TEMPLATE)


def shaam_token_refresh(run: JobRun, settings: ShaamTokenRefreshSettings) -> None:
    """Refresh every due credential; one that fails does not hold up the others. Then tell owners who must act."""
    run.preflight()
    until = run.as_of + timedelta(minutes=settings.window_minutes)
    due = _read_due(run, until)
    if run.dry_run:
        run.record(Outcome(target=TABLE, matched=len(due)))
    else:
        _refresh_all(run, settings, until, due)
    run.send(_reauthorisations(run), patience=IMPATIENT)


def _read_due(run: JobRun, until: datetime) -> list[UUID]:
    """Return the businesses whose tokens are due, the first to expire first; with `max_rows` no more than that."""
    query = sa.select(credentials.c.business_id).where(is_due(until)).order_by(credentials.c.token_expires_at)
    found = list(run.database.transaction(lambda connection: connection.scalars(query).all()))
    max_rows = run.request.options.max_rows
    if max_rows is not None and max_rows < len(found) and not run.dry_run:
        run.note(f"max_rows reached: {len(found) - max_rows:,} credentials are left for the next run")
        return found[:max_rows]
    return found


@dataclass(frozen=True, kw_only=True)
class _Provider:
    """Where tokens are refreshed, as the variables say."""

    url: str
    client_id: str
    client_secret: str = field(repr=False)
    auth: ClientAuth
    cipher: TokenCipher = field(repr=False)


def _read_provider(run: JobRun) -> _Provider:
    """Return what the variables say; raise `ConfigurationError` naming the one that is missing or cannot be used."""
    # The client brings HTTP with it, which no other job needs.
    from cath_dagster.adapters.oauth import check_client_auth, check_token_url

    given, prefix = run.require(*VARIABLES), BON.prefix
    return _Provider(
        url=check_token_url(given["SHAAM_TOKEN_URL"], f"{prefix}_SHAAM_TOKEN_URL"),
        client_id=given["SHAAM_CLIENT_ID"],
        client_secret=given["SHAAM_CLIENT_SECRET"],
        auth=check_client_auth(run.optional("SHAAM_CLIENT_AUTH") or "basic", f"{prefix}_SHAAM_CLIENT_AUTH"),
        cipher=TokenCipher(given["SHAAM_ENCRYPTION_KEY"], f"{prefix}_SHAAM_ENCRYPTION_KEY"),
    )


def _refresh_all(run: JobRun, settings: ShaamTokenRefreshSettings, until: datetime, due: Sequence[UUID]) -> None:
    from cath_dagster.adapters.oauth import TokenEndpoint

    provider = _read_provider(run)
    endpoint = TokenEndpoint(
        provider.url,
        client_id=provider.client_id,
        client_secret=provider.client_secret,
        auth=provider.auth,
        now=_now,
        timeout=settings.timeout_seconds,
        connections=settings.concurrency,
    )
    started = run.clock()
    with closing(endpoint):
        refresher = Refresher(
            ask=endpoint.refresh,
            cipher=provider.cipher,
            until=until,
            default_lifetime=timedelta(minutes=settings.lifetime_minutes),
            now=_now,
            on_change=partial(_record_change, run),
        )
        ended = list(_refresh_each(run, refresher, due, settings.concurrency))
    ended = _judge(run, settings, ended, run.clock())
    _record_all(run, due, ended, run.clock() - started)


def _judge(run: JobRun, settings: ShaamTokenRefreshSettings, ended: Sequence[Ended], since: float) -> list[Ended]:
    """Return how it ended for each, those refused judged: flagged, or refreshed by the service itself meanwhile."""
    refused = [each for each in ended if each.ending is Ending.REFUSED]
    others = [each for each in ended if each.ending is not Ending.REFUSED]
    answered = len(refused) + sum(1 for each in others if each.ending is Ending.REFRESHED)
    if is_everybody(len(refused), answered) and not run.request.options.allow_large:
        return [*others, *(Ended(each.business_id, Ending.FAILED, EVERYBODY) for each in refused)]
    judge = Judge(
        database=run.database, seconds=settings.settle_seconds, clock=run.clock, on_change=partial(_record_change, run)
    )
    return [*others, *judge.judge(refused, since)]


def _refresh_each(run: JobRun, refresher: Refresher, due: Sequence[UUID], concurrency: int) -> Iterator[Ended]:
    """Yield how it ended for each business, as they end; after too many without an answer no other is begun."""
    stop = threading.Event()
    results = work_on(due, refresher.refresh, own=run.open_database, threads=concurrency, stop=stop)
    breaker = Breaker(limit=MAX_OUTAGES)
    for count, ended in enumerate(results, start=1):
        breaker.record(is_outage=ended.is_outage)
        if ended.is_outage:
            run.reporter.warning(f"{ended.error}; {breaker.in_a_row} in a row, no more are begun after {MAX_OUTAGES}")
        if breaker.is_open:
            stop.set()
        run.reporter.progress(TABLE, count, len(due))
        yield ended


def _record_change(run: JobRun, connection: sa.Connection, ended: Ended) -> None:
    """Keep the ledger; with a revoked credential put down the mails to its owners, so that a kill cannot part the two."""
    is_revoked = ended.ending is Ending.REVOKED
    rule = "credentials that the provider refuses for good are flagged" if is_revoked else "tokens about to expire"
    run.ledger.record_batch(connection, {TABLE: {"updated": 1}}, rule=rule)
    if not is_revoked:
        return
    day = run.as_of.astimezone(CALENDAR).date()
    notices = [
        _notice(f"{ended.business_id}/{user_id}", day)
        for _, user_id, _, _ in connection.execute(owners_of([ended.business_id]))
    ]
    enqueue(connection, notices, job=JOB, run_id=run.run_id, as_of=run.as_of)


def _record_all(run: JobRun, due: Sequence[UUID], ended: Sequence[Ended], seconds: float) -> None:
    tally = Counter(each.ending for each in ended)
    failed = [each for each in ended if each.ending is Ending.FAILED]
    left = len(due) - len(ended)
    errors = Counter(each.error for each in failed)
    details: dict[str, Scalar] = {"refreshed": tally[Ending.REFRESHED], "flagged": tally[Ending.REVOKED]}
    if failed:
        details["failed_businesses"] = sorted(str(each.business_id) for each in failed)[:IDS_SHOWN]
        details["errors"] = [f"{count} x {error}" for error, count in errors.most_common()]
    run.record(
        Outcome(
            target=TABLE,
            matched=len(due),
            updated=tally[Ending.REFRESHED] + tally[Ending.REVOKED],
            failed=len(failed) + left,
            skipped=tally[Ending.SKIPPED],
            seconds=seconds,
            details=details,
        )
    )
    if failed or left:
        reasons = "; ".join(f"{count} x {error}" for error, count in errors.most_common())
        not_tried = f", {left} were not tried because the provider does not answer" if left else ""
        run.fail(f"{len(failed)} credentials could not be refreshed ({reasons}){not_tried}; the next run tries again")


def _reauthorisations(run: JobRun) -> Iterator[Notice]:
    """Yield the mails to owners that were put down and not sent yet, while the credential is still flagged."""
    subject_id = sent_notice.c.subject_id
    query = (
        sa.select(subject_id, sent_notice.c.period_start, businesses.c.name, users.c.email, users.c.name)
        .join(businesses, sa.cast(businesses.c.id, sa.Text) == sa.func.split_part(subject_id, "/", 1))
        .join(users, sa.cast(users.c.id, sa.Text) == sa.func.split_part(subject_id, "/", 2))
        .join(credentials, credentials.c.business_id == businesses.c.id)
        .where(
            sent_notice.c.job == JOB,
            sent_notice.c.kind == TEMPLATE,
            sent_notice.c.status.not_in(DONE),
            credentials.c.needs_reauth,
        )
        .order_by(subject_id, sent_notice.c.period_start)
    )
    found = run.database.transaction(lambda connection: connection.execute(query).tuples().all())
    for subject, day, business, email, name in found:
        yield _notice(subject, day, business, email, name)


def _forgotten(run: Asking, settings: ShaamTokenRefreshSettings) -> sa.ColumnElement[bool]:
    """Return which notices matter no more: old ones, but for mails still to be sent about a credential that is flagged."""
    del settings
    business_id = sa.func.split_part(sent_notice.c.subject_id, "/", 1)
    is_pending = sa.and_(
        sent_notice.c.status.not_in(DONE),
        sa.exists().where(sa.cast(credentials.c.business_id, sa.Text) == business_id, credentials.c.needs_reauth),
    )
    return sa.and_(is_older(run.as_of), sa.not_(is_pending))


def _notice(subject_id: str, day: date, business: str = "", email: str = "", name: str = "") -> Notice:
    return Notice(
        subject_ids=(subject_id,),
        kind=TEMPLATE,
        period_start=day,
        message=Message(
            recipient=email,
            template=TEMPLATE,
            render=partial(messages.reauthorisation, business, name),
            reference=f"{BON.name}/{JOB}/{subject_id}/{day}",
        ),
    )


def _now() -> datetime:
    """Return the time by which a provider counts a token's lifetime, which is never a run's reference time."""
    return datetime.now(UTC)


SPEC = JobSpec(
    location=BON,
    name=JOB,
    schedule=Cron("*/15 * * * *"),
    owner=OWNER,
    summary="Refreshes SHAAM tokens that expire within 20 minutes, and tells owners who must authorise again.",
    description=(
        "Refreshes the tokens of business_shaam_credentials that expire within 20 minutes or have expired, and stores "
        "both encrypted. A credential that the provider refuses for good (invalid_grant) gets needs_reauth, and its "
        "owners a mail, unless the service has refreshed it itself meanwhile. Any other failure flags nobody: the run ends failed, and the next one tries again."
    ),
    settings=ShaamTokenRefreshSettings,
    run=shaam_token_refresh,
    prepare=prepare,
    required_variables=VARIABLES,
    timeout=timedelta(minutes=30),
    database=DatabaseWork(
        targets=(TABLE,),
        privileges={
            TABLE: ("SELECT", "UPDATE"),
            "businesses": ("SELECT",),
            "user_businesses": ("SELECT",),
            "users": ("SELECT",),
        },
    ),
    mail=MailWork(
        without_provider="tokens are refreshed all the same, and owners who must authorise again are not told",
        forgets=_forgotten,
    ),
)
