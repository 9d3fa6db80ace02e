"""Delete CheckTick's surveys for good and clean up its progress, beside how one would write it."""

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
import sqlalchemy as sa

from benchmarks.databases import copy_database, create_database
from benchmarks.measures import BenchmarkError, Ratio, Say, at_least
from cath_dagster.adapters.postgres import open_engine
from cath_dagster.checktick import CHECKTICK
from cath_dagster.checktick.deletion import POLICY, TABLES, Removal
from cath_dagster.checktick.erasure import KEY_BYTES, select_files
from cath_dagster.checktick.retention import is_hard_deletable
from cath_dagster.checktick.tables import KEY_COLUMNS, audit_log, key_escrow, legal_hold, response, survey
from cath_dagster.core.maintenance.migrations import migrate
from cath_dagster.core.maintenance.tables import file_outbox
from cath_dagster.development.postgres import EmbeddedPostgres
from cath_dagster.development.samples.checktick.sample import create_schema

GOAL_SURVEYS, GOAL_PROGRESS, GOAL_MEMORY = 8, 0.9, 1.1
GOAL_PROGRESS_WHOLE = 0.6
"""At half of the table, where the guard's limit is, a run counts the rows exactly before it, and all of them after it."""
SURVEYS, RESPONSES, QUESTIONS = 500, 20, 10
MANY_RESPONSES = 1_000
PROGRESS = 1_000_000
BLOB_BYTES = 2_000
"""Of an encrypted response: a few pages of answers."""

# As many surveys again stay, so that no more than half of them go.
FILL_SURVEYS = """
INSERT INTO auth_user (password, is_superuser, username, first_name, last_name, email, is_staff, is_active, date_joined)
VALUES ('', false, 'owner', '', '', 'owner@example.org', false, true, now());
INSERT INTO surveys_survey (name, slug, description, created_at, owner_id, style, captcha_required, no_patient_data_ack,
    status, visibility, recovery_code_hint, retention_months, allow_any_authenticated, is_original, language,
    require_passphrase_for_patient_data, dsr_warning_message, has_pending_dsr, suspended_reason, encrypted_kek_password,
    closed_at, deletion_date, deleted_at, hard_deletion_date)
SELECT 'Survey ' || n, 'survey-' || n, '', now(), 1, '{{}}', false, false, 'closed', 'public', '', 6, false, true, 'en',
    false, '', false, '', decode(md5(n::text), 'hex'), d.at - interval '210 days', d.at - interval '30 days', d.at - interval
    '30 days', d.at
FROM generate_series(1, {surveys} * 2) AS n,
LATERAL (SELECT now() + CASE WHEN n <= {surveys} THEN interval '-2 hours' ELSE interval '9 days' END AS at) AS d;
INSERT INTO surveys_surveyresponse (answers, enc_answers, submitted_at, survey_id, frozen_reason, is_frozen, freeze_source)
SELECT '{{}}', decode(repeat(md5(n::text), {blob} / 16), 'hex'), now(), id, '', false, ''
FROM surveys_survey, generate_series(1, {responses}) AS n;
INSERT INTO surveys_surveyquestion (text, type, options, required, "order", survey_id)
SELECT 'Question ' || n, 'text', '[]', false, n, id FROM surveys_survey, generate_series(1, {questions}) AS n;
INSERT INTO surveys_surveymembership (role, created_at, survey_id, user_id) SELECT 'owner', now(), id, 1 FROM surveys_survey;
INSERT INTO surveys_auditlog (scope, action, metadata, created_at, survey_id, message, severity, user_agent,
    username_attempted)
SELECT 'survey', 'updated', '{{}}', now(), id, '', 'info', '', '' FROM surveys_survey, generate_series(1, 3);
"""
FILL_PROGRESS = """
INSERT INTO surveys_surveyprogress (session_key, partial_answers, total_questions, answered_count, created_at, updated_at,
    expires_at, survey_id)
SELECT md5(n::text), '{{"1": "yes", "2": "no"}}', 10, 2, now(), now(), now() + ((n * 7919) % {rows} - {rows} / 2)
    * interval '1 s', 1
FROM generate_series(1, {rows}::bigint) AS n
"""


@dataclass(frozen=True)
class _Run:
    """What a run of a job took, in seconds, and the peak of its process's memory, in MB."""

    deleted: int
    deleting: float
    whole: float
    peak_mb: float


def measure_surveys(cluster: EmbeddedPostgres, *, rounds: int, say: Say) -> Iterator[Ratio]:
    """Yield the ratio of the hard deletion to survey by survey, and how its memory grows with the responses."""
    few = _make_surveys(cluster, SURVEYS, RESPONSES)
    many = _make_surveys(cluster, SURVEYS // 10, MANY_RESPONSES)
    say(
        f"surveys: {SURVEYS} with {RESPONSES} responses and {QUESTIONS} questions each, as many again stay; {rounds} rounds"
    )
    pairs, peaks = [], []
    for _ in range(rounds):
        beside = _delete_one_by_one(_copy(cluster, few))
        ours = _run(_copy(cluster, few), "data_governance", "surveys_survey")
        if ours.deleted != SURVEYS:
            raise BenchmarkError(f"{ours.deleted} of {SURVEYS} surveys were deleted")
        pairs.append((ours.whole, beside))
        peaks.append(ours.peak_mb)
    large = _run(_copy(cluster, many), "data_governance", "surveys_survey")
    yield at_least(f"hard deletion of {SURVEYS} surveys, whole run against survey by survey", pairs, goal=GOAL_SURVEYS)
    growth = large.peak_mb / min(peaks)
    yield Ratio(
        name=f"growth of the client's memory from {RESPONSES} to {MANY_RESPONSES:,} responses a survey",
        ours=f"{large.peak_mb:.0f} MB",
        beside=f"{min(peaks):.0f} MB",
        result=f"{growth:.2f}",
        goal=f"≤ {GOAL_MEMORY:.2f}",
        is_met=growth <= GOAL_MEMORY,
    )


def measure_progress(cluster: EmbeddedPostgres, *, rounds: int, say: Say) -> Iterator[Ratio]:
    """Yield the ratio of the progress clean-up to one DELETE of the same rows."""
    template = "bench_progress"
    _make(cluster, template, FILL_SURVEYS.format(surveys=1, responses=1, questions=1, blob=16))
    with psycopg.connect(cluster.url(template), autocommit=True) as connection:
        connection.execute(FILL_PROGRESS.format(rows=PROGRESS))
        connection.execute("VACUUM (ANALYZE, FREEZE)")
    as_of = datetime.now(UTC)
    say(f"progress: {PROGRESS:,} rows, about half of them expired; {rounds} rounds")
    deleting, whole = [], []
    for _ in range(rounds):
        with psycopg.connect(_copy(cluster, template), autocommit=True) as connection:
            started = time.perf_counter()
            deleted = connection.execute("DELETE FROM surveys_surveyprogress WHERE expires_at < %s", [as_of]).rowcount
            beside = time.perf_counter() - started
        ours = _run(_copy(cluster, template), "progress_cleanup", "surveys_surveyprogress", as_of)
        if ours.deleted != deleted:
            raise BenchmarkError(f"the two did not do the same work: {ours.deleted} and {deleted} rows")
        deleting.append((ours.deleting, beside))
        whole.append((ours.whole, beside))
    yield at_least("progress clean-up, deleting phase against one DELETE", deleting, goal=GOAL_PROGRESS)
    yield at_least("progress clean-up, whole run against one DELETE", whole, goal=GOAL_PROGRESS_WHOLE)


def _make_surveys(cluster: EmbeddedPostgres, surveys: int, responses: int) -> str:
    template = f"bench_surveys_{responses}"
    fill = FILL_SURVEYS.format(surveys=surveys, responses=responses, questions=QUESTIONS, blob=BLOB_BYTES)
    _make(cluster, template, fill)
    return template


def _make(cluster: EmbeddedPostgres, template: str, fill: str) -> None:
    create_database(cluster, template, "template1")
    with psycopg.connect(cluster.url(template), autocommit=True) as connection:
        create_schema(connection)
        connection.execute(fill)
        connection.execute("VACUUM (ANALYZE, FREEZE)")
    engine = open_engine(cluster.url(template), variable="template", application_name="bench")
    migrate(engine, CHECKTICK)
    engine.dispose()


def _copy(cluster: EmbeddedPostgres, template: str) -> str:
    """Return the URL of a fresh copy whose tables were read once."""
    url = copy_database(cluster, "bench_copy", template)
    with psycopg.connect(url, autocommit=True) as connection:
        for table in ("surveys_survey", "surveys_surveyresponse", "surveys_surveyprogress", "surveys_surveyquestion"):
            connection.execute(f"SELECT count(*) FROM {table}")
    return url


def _delete_one_by_one(url: str) -> float:
    """Return the seconds that the same deletions take survey by survey, with a statement for each table."""
    engine = open_engine(url, variable="bench", application_name="bench")
    started = time.perf_counter()
    with engine.connect() as connection:
        for survey_id in connection.scalars(sa.select(survey.c.id).where(is_hard_deletable(datetime.now(UTC)))).all():
            _delete_one(connection, survey_id)
            connection.commit()
    return time.perf_counter() - started


def _delete_one(connection: sa.Connection, survey_id: int) -> None:
    """Delete one survey, as straightforward code does: keys, files, record, and each table in its turn."""
    is_the_survey = survey.c.id == survey_id
    connection.scalars(sa.select(survey.c.id).where(is_the_survey).with_for_update()).one()
    is_active = sa.and_(legal_hold.c.survey_id == survey_id, legal_hold.c.removed_at.is_(None))
    if connection.scalar(sa.select(sa.exists().where(is_active))):
        return
    noise = {column: secrets.token_bytes(KEY_BYTES) for column in KEY_COLUMNS if column.name.startswith("encrypted")}
    connection.execute(sa.update(survey).where(is_the_survey).values(noise))
    slug, owner_id = connection.execute(sa.select(survey.c.slug, survey.c.owner_id).where(is_the_survey)).one()
    responses = connection.scalar(sa.select(sa.func.count()).where(response.c.survey_id == survey_id))
    paths = connection.scalars(sa.select(key_escrow.c.vault_path).where(key_escrow.c.survey_id == survey_id)).all()
    for _, file in connection.execute(select_files(is_the_survey)).all():
        connection.execute(sa.insert(file_outbox).values(job="bench", run_id="bench", path=file))
    removal = Removal(lambda column: column == survey_id)
    for reference in POLICY:
        if reference.is_kept:
            cut_off = removal.is_cut_off(reference)
            connection.execute(sa.update(reference.child).where(cut_off).values({reference.column: None}))
    for table in TABLES:
        connection.execute(sa.delete(table).where(removal.goes(table)))
    record = {"survey_id": survey_id, "slug": slug, "owner_id": owner_id, "responses": responses, "vault": list(paths)}
    connection.execute(
        sa.insert(audit_log).values(
            scope="data_governance",
            action="survey_hard_deleted",
            metadata=record,
            created_at=sa.func.now(),
            message="",
            severity="info",
            user_agent="",
            username_attempted="",
        )
    )


def _run(url: str, job: str, table: str, as_of: datetime | None = None) -> _Run:
    """Run a job in a process of its own as in production."""
    instant = (as_of or datetime.now(UTC)).isoformat()
    command = [sys.executable, "-m", "benchmarks.surveys_process", url, job, table, instant]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(done.stderr[-2_000:])
    return _Run(**json.loads(done.stdout))
