"""Bring every value that is encrypted under the old master key under the new one, while services read both."""

from collections.abc import Mapping

import sqlalchemy as sa
from pydantic import Field

from cath_dagster.cloudmake import CLOUDMAKE, OWNER
from cath_dagster.cloudmake.audit import audit
from cath_dagster.cloudmake.environment import VARIABLE as ENVIRONMENT
from cath_dagster.cloudmake.environment import read_environment, require_confirm
from cath_dagster.cloudmake.keyring import NEW, OLD, VARIABLE, read_keyring
from cath_dagster.cloudmake.master_key import record
from cath_dagster.cloudmake.master_key.counting import KeyCounts, count_by_key, total
from cath_dagster.cloudmake.master_key.judging import judge_counts, judge_keys, name_unopened, tell
from cath_dagster.cloudmake.master_key.re_encryption import Progress, ReEncryption
from cath_dagster.cloudmake.master_key.values import ENCRYPTED, EncryptedTable
from cath_dagster.cloudmake.sealing import Keyring
from cath_dagster.core import telemetry
from cath_dagster.core.errors import PreflightError
from cath_dagster.core.model.check import Check, Severity
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.settings import JobSettings
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.run.job_parts import DatabaseWork, Step
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec

RULE = "values under the old master key"
TARGETS = ("jwt_keys", "secrets_metadata")
BEGAN, DONE = "master_key_rotation_began", "master_key_rotation"


class MasterKeyRotationSettings(JobSettings):
    """What consent there is, and how much is done at once."""

    confirm: bool = Field(
        default=False,
        description="Consent: the new and the old key are set everywhere that reads these values. Without it a run is refused.",
    )
    batch: int = Field(default=100, ge=1, le=1_000, description="Values that one transaction writes.")
    pages: int | None = Field(
        default=None,
        ge=1,
        description="Write at most so many batches in this run; the next goes on. Unset: all.",
    )


def prepare(run: JobRun, settings: MasterKeyRotationSettings) -> None:
    """Look at the variables that any run needs; the old key is there only while a rotation lasts."""
    del settings
    read_environment(run)
    read_keyring(run.environ)


def check_keys(run: JobRun, settings: MasterKeyRotationSettings) -> None:
    """Open every value, and refuse the run where that does not tell what is to be done."""
    keyring = _both_keys(run)
    run.preflight()
    counts = count_by_key(run.database, keyring)
    for name, found in counts.items():
        if found.total:
            # What is written is counted by the step that writes.
            due = found.old if run.dry_run else 0
            run.record(Outcome(target=name, matched=due, details=found.as_details("_before")))
    run.note(f"{tell(counts)}; the new key is {keyring.new.fingerprint}, the old one {_fingerprint(keyring)}")
    run.refuse([*name_unopened(counts), *_foreign_key(run, keyring, total(counts))])
    require_confirm(
        run,
        is_given=settings.confirm or not total(counts).old,
        because=f"{total(counts).old:,} values would come under the new key {keyring.new.fingerprint}; whatever reads them "
        "must know both keys before",
    )


def re_encrypt(run: JobRun, settings: MasterKeyRotationSettings) -> None:
    """Write each value under the new key whose row still holds what was read, until a whole pass finds none to write."""
    if run.dry_run:
        return
    keyring = _both_keys(run)
    require_confirm(run, is_given=settings.confirm, because="values would come under another key")
    room = _room(run, settings)
    for table in ENCRYPTED:
        started = run.clock()
        total_count = run.count(table.count())
        with telemetry.span("batches", target=table.name, rule=RULE) as span:
            progress = _work(run, keyring, table, settings.batch, room, total_count).run()
            span.set_attributes(changed=progress.written, batches=progress.batches)
        room = None if room is None else room - progress.written
        run.account.take(progress.written)
        if total_count:
            _record(run, table, progress, run.clock() - started)
        if progress.is_capped:
            run.note("as many values are written as this run may write; the next goes on")
            return


def verify(run: JobRun, settings: MasterKeyRotationSettings) -> None:
    """Open every value under the new key, and say that the old one may go."""
    if run.dry_run:
        return
    keyring = _both_keys(run)
    run.database.flush()
    counts = count_by_key(run.database, keyring)
    found, is_part = total(counts), _room(run, settings) is not None
    for name, each in counts.items():
        if each.total:
            run.record(Outcome(target=name, details=each.as_details()))
    verdict = judge_counts(counts)
    run.judge(ONE_MASTER_KEY, verdict, gates=not (is_part and not found.neither))
    if verdict.passed:
        run.database.transaction(lambda connection: _finish(run, connection, keyring, counts))
        run.note(
            f"every value opens under the new key {keyring.new.fingerprint}: {OLD} may be removed wherever it is set"
        )
    run.judge(MASTER_KEY_AGE, record.judge_age(run.database, run.as_of))


def _both_keys(run: JobRun) -> Keyring:
    """Return both keys; refuse the run where there is but one."""
    keyring = read_keyring(run.environ)
    if keyring.old is None and not run.environ.get(OLD):
        raise PreflightError(f"{OLD} not set; while the keys are changed, the one that was is set as this")
    if keyring.old is None:
        raise PreflightError(f"{NEW} and {OLD} are one key; make a new one by: cath-dagster keys generate --out FILE")
    return keyring


def _fingerprint(keyring: Keyring) -> str:
    return keyring.old.fingerprint if keyring.old is not None else "not set"


def _foreign_key(run: JobRun, keyring: Keyring, found: KeyCounts) -> list[str]:
    """Return why the old key is none, where it opens nothing that is there and no rotation from it is known."""
    if found.old or not found.new or run.database.transaction(lambda c: record.is_known(c, keyring)):
        return []
    says = f"{OLD} ({_fingerprint(keyring)}) opens none of the {found.new:,} values"
    return [f"{says}, all of which are under {NEW} ({keyring.new.fingerprint}): look which is which"]


def _room(run: JobRun, settings: MasterKeyRotationSettings) -> int | None:
    """Return how many values this run may write, None for all."""
    limits = [run.account.room(), settings.pages * settings.batch if settings.pages else None]
    return min((limit for limit in limits if limit is not None), default=None)


def _work(
    run: JobRun, keyring: Keyring, table: EncryptedTable, batch: int, room: int | None, total_count: int
) -> ReEncryption:
    def on_written(connection: sa.Connection, written: int) -> None:
        if record.begin(connection, keyring, run_id=run.run_id, as_of=run.as_of):
            audit(connection, BEGAN, run_id=run.run_id, changes=_keys(keyring))
        run.ledger.record_batch(connection, {table.name: {"updated": written}}, rule=RULE)

    return ReEncryption(
        database=run.database,
        keyring=keyring,
        table=table,
        batch=batch,
        on_written=on_written,
        room=room,
        say=lambda done: run.reporter.progress(table.name, done, total_count),
        sleep=run.patience.sleep,
    )


def _keys(keyring: Keyring) -> dict[str, str]:
    return {"from_key": _fingerprint(keyring), "to_key": keyring.new.fingerprint}


def _record(run: JobRun, table: EncryptedTable, progress: Progress, seconds: float) -> None:
    run.record(
        Outcome(
            target=table.name,
            matched=progress.written,
            updated=progress.written,
            failed=progress.unopened_count,
            batches=progress.batches,
            longest_transaction_seconds=progress.longest_seconds,
            seconds=seconds,
            details={"passes": progress.passes},
        )
    )
    if progress.left and not progress.is_capped:
        run.fail(
            f"{progress.left:,} values of {table.name} are under the old key still: their rows are held, or something goes on "
            "writing under it; look who does, and run it again"
        )
    if progress.unopened_count:
        run.fail(
            f"{progress.unopened_count:,} values of {table.name} open under neither key, such as "
            f"{'; '.join(progress.unopened)}: they came while the run was at work, and are as they were"
        )


def _finish(run: JobRun, connection: sa.Connection, keyring: Keyring, counts: Mapping[str, KeyCounts]) -> None:
    under_new = {name: found.new for name, found in counts.items()}
    began_at = record.finish(connection, keyring, as_of=run.as_of, counts=under_new)
    if began_at is not None:
        changes = {**_keys(keyring), "began_at": began_at.isoformat(), "verified_at": run.as_of.isoformat()}
        audit(connection, DONE, run_id=run.run_id, changes={**changes, "values": under_new})


def _privileges() -> dict[str, tuple[str, ...]]:
    ours = {
        f"maintenance.{table.name}" for table in (each.table for each in ENCRYPTED) if table.schema == "maintenance"
    }
    needs = dict.fromkeys([*TARGETS, *sorted(ours)], ("SELECT", "UPDATE"))
    return {
        **needs,
        "admin_audit_logs": ("SELECT", "INSERT"),
        "maintenance.master_key_rotation": ("SELECT", "INSERT", "UPDATE"),
    }


ONE_MASTER_KEY: Check[Database] = Check(
    name="one_master_key",
    asset="secrets_metadata",
    description="Every encrypted value opens under the master key: none is under the old one, none under neither.",
    evaluate=judge_keys,
)
MASTER_KEY_AGE: Check[Database] = Check(
    name="master_key_age",
    asset="secrets_metadata",
    description="The master key was rotated within the last 365 days.",
    severity=Severity.WARN,
    evaluate=record.judge_age,
)

SPEC = JobSpec(
    location=CLOUDMAKE,
    name="master_key_rotation",
    owner=OWNER,
    summary="Brings every value that is encrypted under the old master key under the new one.",
    description=(
        "Opens every encrypted value (jwt_keys, secrets_metadata, and ours) and writes those under "
        "CLOUDMAKE_MASTER_ENCRYPTION_KEY_OLD anew under CLOUDMAKE_MASTER_ENCRYPTION_KEY, 100 a transaction. Whatever reads "
        "them must know both keys until it has ended and every value was seen to open under the new one. A value under "
        "neither key refuses the run before its first write. To go back, exchange the two variables and run it again."
    ),
    settings=MasterKeyRotationSettings,
    steps=(
        Step(
            name="check_keys",
            run=check_keys,
            summary="Open every value, and count by table which key it is under.",
            targets=TARGETS,
        ),
        Step(
            name="re_encrypt",
            run=re_encrypt,
            summary="Write the values under the old key anew under the new one, until none is left.",
            targets=TARGETS,
        ),
        Step(
            name="verify",
            run=verify,
            summary="Open every value under the new key, and say that the old one may go.",
            targets=TARGETS,
        ),
    ),
    prepare=prepare,
    required_variables=(ENVIRONMENT, VARIABLE),
    database=DatabaseWork(targets=TARGETS, privileges=_privileges()),
    checks=(ONE_MASTER_KEY, MASTER_KEY_AGE),
)
