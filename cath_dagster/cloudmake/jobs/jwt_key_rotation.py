"""Change the key that signs CloudMake's tokens every 90 days, and publish those by which tokens are verified."""

from datetime import timedelta

import sqlalchemy as sa

from cath_dagster.cloudmake import CLOUDMAKE, OWNER
from cath_dagster.cloudmake.environment import VARIABLE as ENVIRONMENT
from cath_dagster.cloudmake.environment import Environment, read_environment, require_confirm
from cath_dagster.cloudmake.keyring import VARIABLE, read_keyring
from cath_dagster.cloudmake.signing_keys.compliance import judge_rotation
from cath_dagster.cloudmake.signing_keys.settings import JwtKeyRotationSettings
from cath_dagster.cloudmake.signing_keys.work import DOCUMENT, KEYS, KeyWork, judge_document, open_store
from cath_dagster.cloudmake.tables import jwt_keys
from cath_dagster.core.model.check import Check
from cath_dagster.core.model.purge import Planning, Purge
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec

BY_HAND = "cath-dagster run jwt_key_rotation --set confirm=true"


def prepare(run: JobRun, settings: JwtKeyRotationSettings) -> None:
    """Look at every variable that the work goes by."""
    del settings
    read_environment(run)
    read_keyring(run.environ)
    open_store(run)


def jwt_key_rotation(run: JobRun, settings: JwtKeyRotationSettings) -> None:
    """Rotate where it is due, publish, and delete what is past its grace; elsewhere than in production only by consent."""
    environment = read_environment(run)
    if run.request.is_scheduled:
        # A consent that stands in the environment would rotate every day.
        settings = settings.model_copy(update={"confirm": False, "emergency": False})
        if environment is not Environment.PRODUCTION:
            run.note(
                f"skipped: keys rotate by themselves in production, and this is {environment}; to rotate: {BY_HAND}"
            )
            return
    elif environment is not Environment.PRODUCTION:
        require_confirm(
            run, is_given=settings.confirm, because=f"this is {environment}, where keys are rotated by hand"
        )
    if settings.emergency:
        require_confirm(run, is_given=settings.confirm, because="every key but the new one would be invalid at once")
    work = KeyWork(run, settings, read_keyring(run.environ))
    planned = run.plan(*purges(run, settings))
    work.check()
    if run.dry_run:
        work.foresee()
    else:
        work.do()
    for each in planned:
        run.purge(each)
    if not run.dry_run:
        run.judge(NO_SECRET, judge_document(run.database, open_store(run)), gates=True)
        run.judge(SC_011, judge_rotation(run.database, run.as_of), gates=settings.gate)


def purges(planning: Planning, settings: JwtKeyRotationSettings) -> list[Purge]:
    """Return the retired keys that are due to be deleted."""
    cutoff = planning.as_of - timedelta(days=settings.purge_after_days)
    return [
        Purge(
            table=jwt_keys,
            rule="signing keys past their grace",
            predicate=sa.and_(sa.not_(jwt_keys.c.active), jwt_keys.c.rotated_at <= cutoff),
            cutoff=cutoff,
            age=jwt_keys.c.rotated_at,
        )
    ]


SC_011: Check[Database] = Check(
    name="sc_011_key_rotation",
    asset=KEYS,
    description="One key is active, at most 92 days old; none is stored that was retired more than 9 days ago; the audit "
    "tells of each that was.",
    evaluate=judge_rotation,
)
NO_SECRET: Check[Database] = Check(
    name="jwks_holds_no_secret",
    asset=DOCUMENT,
    description="The published document has public parts of keys alone: nothing symmetric, no private member.",
    is_blocking=True,
)

SPEC = JobSpec(
    location=CLOUDMAKE,
    name="jwt_key_rotation",
    schedule=Cron("15 3 * * *"),
    owner=OWNER,
    summary="Changes the key that signs tokens every 90 days, publishes the JWKS, deletes keys 8 days after they were retired.",
    description=(
        "Looks every day, in production, whether the active key of jwt_keys is 90 days old; then a new one signs, and the old "
        "one verifies for 7 days more. Writes the public parts to maintenance.jwks and to CLOUDMAKE_JWKS_URL, and deletes "
        "keys 8 days after they were retired, for good: nothing keeps a copy. A rotation is not undone but followed by "
        "another: confirm rotates at once, emergency makes every other key invalid as well."
    ),
    settings=JwtKeyRotationSettings,
    run=jwt_key_rotation,
    prepare=prepare,
    required_variables=(ENVIRONMENT, VARIABLE),
    is_asset=True,
    database=DatabaseWork(
        targets=(KEYS,),
        purges=purges,
        privileges={
            KEYS: ("SELECT", "INSERT", "UPDATE", "DELETE"),
            "admin_audit_logs": ("SELECT", "INSERT"),
            "maintenance.jwks": ("SELECT", "INSERT", "UPDATE"),
        },
        age_columns={KEYS: "rotated_at"},
    ),
    checks=(SC_011, NO_SECRET),
)
