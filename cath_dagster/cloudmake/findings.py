"""What the doctor says of CloudMake beyond what it says of any service: keys, outboxes, secrets in doubt, servers, time zones."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial

import sqlalchemy as sa

from cath_dagster.cloudmake.keyring import NEW, OLD, read_keyring
from cath_dagster.cloudmake.master_key.counting import KeyCounts, count_by_key, total
from cath_dagster.cloudmake.master_key.record import judge_age
from cath_dagster.cloudmake.sealing import Keyring
from cath_dagster.cloudmake.signing_keys.stored import read_keys
from cath_dagster.cloudmake.tables import circuit_breaker, provider_cleanup, secret_target
from cath_dagster.core.inspection.own_findings import Asked, Question
from cath_dagster.core.model.finding import Finding, Level

ROTATE_SIGNING_KEY = "cath-dagster run jwt_key_rotation"
ROTATE_MASTER_KEY = "cath-dagster run master_key_rotation --set confirm=true"
AS_UTC = frozenset(
    {"utc", "etc/utc", "gmt", "etc/gmt", "uct", "etc/uct", "zulu", "etc/zulu", "universal", "etc/universal"}
)
"""What a zone may be called that is UTC, in small letters."""
_ZONES = sa.text(
    """
    SELECT 'sessions of ' || current_user, reset_val, format('ALTER DATABASE %I SET timezone TO ''UTC'';', current_database())
    FROM pg_catalog.pg_settings WHERE name = 'TimeZone'
    UNION ALL
    SELECT 'sessions of ' || rolname, split_part(setting, '=', 2), format('ALTER ROLE %I%s SET timezone TO ''UTC'';', rolname,
        CASE WHEN setdatabase <> 0 THEN format(' IN DATABASE %I', current_database()) ELSE '' END)
    FROM pg_catalog.pg_db_role_setting JOIN pg_catalog.pg_roles ON pg_roles.oid = setrole,
        pg_catalog.unnest(setconfig) AS setting
    WHERE setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))
        AND lower(setting) LIKE 'timezone=%' AND rolname <> current_user
    ORDER BY 1
    """
)
"""In which zone are sessions that set none: ours, and those of roles for which another is set."""


def find_zones(asked: Asked) -> Iterator[Finding]:
    """Say whose sessions are not in UTC by default: what they write into a column without zone is taken for it."""
    found = asked.database.transaction(lambda connection: connection.execute(_ZONES).tuples().all())
    elsewhere = [each for each in found if each[1].lower() not in AS_UTC]
    for whose, zone, remedy in elsewhere:
        yield Finding(
            subject="time zone",
            level=Level.WARNING,
            message=f"{whose} are in {zone} by default: what now() writes into a column without zone there, such as "
            "environments.ttl_expires_at, is taken for UTC and is not",
            remedy=remedy,
        )
    if not elsewhere:
        yield Finding(subject="time zone", level=Level.OK, message="sessions that set none are in UTC")


def find_values(asked: Asked) -> Iterator[Finding]:
    """Say of each table how many of its values are under which master key, by opening every one."""
    keyring = read_keyring(asked.environ)
    counts = count_by_key(asked.database, keyring)
    for name, found in counts.items():
        yield _of_values(name, found, keyring)
    if keyring.old is not None and not total(counts).old:
        yield Finding(
            subject="master key",
            level=Level.WARNING,
            message=f"nothing is under the old key {keyring.old.fingerprint}, which is set still",
            remedy=f"remove {OLD} wherever it is set",
        )


def _of_values(name: str, found: KeyCounts, keyring: Keyring) -> Finding:
    old = f", {found.old:,} under the old one {keyring.old.fingerprint}" if keyring.old is not None else ""
    says = (
        f"{found.new:,} values are under the master key {keyring.new.fingerprint}{old}, {found.neither:,} under neither"
    )
    level, remedy = Level.OK, None
    if found.neither:
        says = f"{says}, such as {'; '.join(found.unopened)}"
        level, remedy = (
            Level.PROBLEM,
            f"set the key that they are under as {OLD}, or delete what nobody can read any more",
        )
    elif found.old:
        level, remedy = Level.WARNING, ROTATE_MASTER_KEY
    return Finding(subject=f"values of {name}", level=level, message=says, remedy=remedy)


def find_age(asked: Asked) -> Iterator[Finding]:
    """Say how old the master key is."""
    verdict = judge_age(asked.database, asked.now)
    yield Finding(
        subject="age of the master key",
        level=Level.OK if verdict.passed else Level.WARNING,
        message=verdict.message,
        remedy=None if verdict.passed else f"a new one as {NEW}, the one before as {OLD}, then: {ROTATE_MASTER_KEY}",
    )


def find_signing_key(asked: Asked) -> Iterator[Finding]:
    """Say which key signs: one may be active, and without any nobody can sign in."""
    active = asked.database.transaction(read_keys).active
    problem = partial(Finding, subject="signing key", level=Level.PROBLEM)
    if not active:
        yield problem(message="none is active, so that no token can be signed", remedy=ROTATE_SIGNING_KEY)
    elif len(active) > 1:
        kids = ", ".join(sorted(key.kid for key in active))
        yield problem(
            message=f"{len(active)} are active, and one may be: {kids}", remedy=f"{ROTATE_SIGNING_KEY} --set keep=KID"
        )
    else:
        (key,) = active
        days = max(timedelta(), asked.now - key.created_at).days
        yield Finding(
            subject="signing key", level=Level.OK, message=f"{key.kid} signs ({key.algorithm}), {days} days old"
        )


def find_removals(asked: Asked) -> Iterator[Finding]:
    """Say what of archived previews is still at providers."""
    waiting = provider_cleanup.c
    query = (
        sa.select(waiting.provider, sa.func.count(), sa.func.min(waiting.queued_at), sa.func.max(waiting.last_error))
        .where(waiting.settled_at.is_(None))
        .group_by(waiting.provider)
        .order_by(waiting.provider)
    )
    found = asked.database.transaction(lambda connection: connection.execute(query).tuples().all())
    for provider, count, since, error in found:
        why = f"; the last attempt: {error}" if error else "; nobody has tried, for want of its credentials perhaps"
        yield Finding(
            subject=f"previews at {provider}",
            level=Level.WARNING,
            message=f"{count:,} resources of archived previews wait to be removed, since {since:%Y-%m-%d}{why}",
            remedy="cath-dagster run preview_archival, with the provider's credentials",
        )
    if not found:
        yield Finding(subject="previews", level=Level.OK, message="nothing of an archived one waits to be removed")


def find_doubtful_secrets(asked: Asked) -> Iterator[Finding]:
    """Say how many secrets at GitHub are not known to be what they should be."""
    target = secret_target.c
    in_doubt = sa.func.count().filter(target.pending_since.is_not(None))
    bad = sa.func.count().filter(target.status.not_in(("written", "pending")))
    query = sa.select(sa.func.count(), in_doubt, bad)
    every, doubtful, wrong = asked.database.transaction(lambda connection: connection.execute(query).one())
    yield Finding(
        subject="secrets at GitHub",
        level=Level.WARNING if doubtful or wrong else Level.OK,
        message=f"{every:,} are known, {doubtful:,} of them in doubt since a write was cut short, {wrong:,} in conflict, "
        "failed or missing",
        remedy="cath-dagster secrets validate" if doubtful or wrong else None,
    )


def find_servers(asked: Asked) -> Iterator[Finding]:
    """Say which MCP servers do not answer by the breakers."""
    breaker = circuit_breaker.c
    is_bad = sa.or_(breaker.state != "CLOSED", breaker.misconfigured_since.is_not(None))
    since = sa.func.coalesce(breaker.opened_at, breaker.misconfigured_since)
    query = sa.select(breaker.name, breaker.state, since).where(is_bad).order_by(breaker.name)
    found = asked.database.transaction(lambda connection: connection.execute(query).tuples().all())
    for name, state, opened_at in found:
        says = "does not let us in (401 or 403)" if state == "CLOSED" else f"has its breaker {state}"
        yield Finding(
            subject=f"MCP server {name}",
            level=Level.WARNING,
            message=f"{says} since {opened_at:%Y-%m-%d %H:%M} UTC" if opened_at else says,
            remedy="cath-dagster run mcp_outage_detection",
        )
    if not found:
        yield Finding(subject="MCP servers", level=Level.OK, message="no breaker is open")


QUESTIONS: Sequence[Question] = (
    Question("time zone", find_zones),
    Question("master key", find_values),
    Question("age of the master key", find_age),
    Question("signing key", find_signing_key),
    Question("previews", find_removals),
    Question("secrets at GitHub", find_doubtful_secrets),
    Question("MCP servers", find_servers),
)
