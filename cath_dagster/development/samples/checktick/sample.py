"""A sample of CheckTick: surveys before, at and beyond every one of their dates, with what belongs to them."""

from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from cath_dagster.checktick import CHECKTICK
from cath_dagster.development.sample import Sample

USERS, SURVEYS, PROGRESS = 40, 600, 20_000
"""Rows at scale 1; a survey has 20 responses and 10 questions."""
STATES = (
    # A name, what share of the surveys (one in so many), the last hard or soft date in days from now.
    ("hard", 12, -0.1),
    ("grace", 30, 12.0),
    ("soft", 20, -0.1),
    ("warn1", 150, 1.3),
    ("warn7", 75, 5.3),
    ("warn30", 25, 25.3),
)
"""Which of the jobs' rules is next to take a survey; all the others are in use."""
_FUNCTIONS = """
CREATE OR REPLACE FUNCTION pg_temp.pick(n bigint, salt integer, size integer) RETURNS integer
LANGUAGE sql IMMUTABLE AS 'SELECT mod(hashint8extended(n, salt) & 9223372036854775807, size)::integer';
"""

# Values are drawn by a hash of the row's number, so equal arguments give equal rows without a generator's state.
_STEPS: tuple[tuple[str, LiteralString], ...] = (
    (
        "auth_user",
        """
        INSERT INTO auth_user (password, is_superuser, username, first_name, last_name, email, is_staff, is_active,
            date_joined)
        SELECT '!', false, 'clinician' || n, (ARRAY['Ada', 'Grace', 'Rosalind', 'Alan', ''])[1 + mod(n, 5)], '',
            'clinician' || n || '@example.org', false, true, %(as_of)s - interval '3 years'
        FROM generate_series(1, %(users)s) AS n""",
    ),
    (
        "surveys_survey",
        # The first survey due for each deletion is held, the second one was published again.
        """
        INSERT INTO surveys_survey (name, slug, description, created_at, owner_id, style, captcha_required,
            no_patient_data_ack, published_at, status, visibility, recovery_code_hint, retention_months,
            allow_any_authenticated, is_original, language, require_passphrase_for_patient_data, dsr_warning_message,
            has_pending_dsr, suspended_reason, encrypted_kek_password, encrypted_kek_org, closed_at, deletion_date,
            deleted_at, hard_deletion_date)
        SELECT (ARRAY['Pain after surgery', 'Ward round & rest', 'Diabetes <type 1>', 'Sleep'])[1 + mod(n, 4)] || ' ' || n,
            'survey-' || n, '', %(as_of)s - interval '400 days', 1 + mod(n, %(users)s), '{}', false, false,
            %(as_of)s - interval '390 days',
            CASE WHEN state IS NULL OR (state IN ('hard', 'soft') AND place = 2) THEN 'published' ELSE 'closed' END,
            'public', '', 6, false, true, 'en', false, '', false, '',
            decode(repeat(md5('key' || n), 2), 'hex'), CASE WHEN mod(n, 3) = 0 THEN decode(md5('org' || n), 'hex') END,
            CASE WHEN state IS NOT NULL THEN soft_at - interval '180 days' END,
            CASE WHEN state IS NOT NULL THEN soft_at END,
            CASE WHEN state IN ('hard', 'grace') THEN soft_at END,
            CASE WHEN state IN ('hard', 'grace') THEN at END
        FROM (
            SELECT n, state, %(as_of)s + days * interval '1 day' AS at, row_number() OVER (PARTITION BY state ORDER BY n) AS place,
                %(as_of)s + days * interval '1 day'
                    - CASE WHEN state IN ('hard', 'grace') THEN interval '30 days' ELSE interval '0' END AS soft_at
            FROM generate_series(1, %(surveys)s) AS n
            LEFT JOIN LATERAL (
                SELECT name AS state, days FROM unnest(%(states)s::text[], %(shares)s::int[], %(days)s::float8[])
                    WITH ORDINALITY AS given (name, share, days, turn)
                WHERE mod(n, share) = mod(turn, share) ORDER BY turn LIMIT 1
            ) AS drawn ON true
        ) AS survey""",
    ),
    (
        "surveys_legalhold",
        """
        INSERT INTO surveys_legalhold (placed_at, reason, authority, removed_at, removal_reason, placed_by_id, survey_id)
        SELECT %(as_of)s - interval '20 days', 'a complaint', 'Information Commissioner''s Office',
            CASE WHEN place > 1 THEN %(as_of)s - interval '2 days' END, '', 1, id
        FROM (SELECT id, row_number() OVER (PARTITION BY deleted_at IS NULL ORDER BY id) AS place FROM surveys_survey
              WHERE coalesce(hard_deletion_date, deletion_date) < %(as_of)s) AS due
        WHERE place IN (1, 5)""",
    ),
    (
        "surveys_surveyquestion",
        """
        INSERT INTO surveys_surveyquestion (text, type, options, required, "order", survey_id)
        SELECT 'How is question ' || n || '?', 'text', '[]', false, n, id FROM surveys_survey, generate_series(1, 10) AS n""",
    ),
    (
        "surveys_questionimage",
        """
        INSERT INTO surveys_questionimage (image, label, "order", created_at, question_id)
        SELECT 'question_images/survey-' || survey_id || '/' || id || '/figure.png', '', 0, %(as_of)s, id
        FROM surveys_surveyquestion WHERE "order" = 1 AND mod(survey_id, 2) = 0""",
    ),
    (
        "surveys_surveyquestioncondition",
        """
        INSERT INTO surveys_surveyquestioncondition (operator, value, action, "order", description, created_at, updated_at,
            question_id, target_question_id)
        SELECT 'eq', 'yes', 'jump_to', 0, '', %(as_of)s, %(as_of)s, id, id + 1
        FROM surveys_surveyquestion WHERE "order" = 3""",
    ),
    (
        "surveys_surveyresponse",
        """
        INSERT INTO surveys_surveyresponse (answers, enc_answers, submitted_at, survey_id, frozen_reason, is_frozen,
            freeze_source)
        SELECT '{}', decode(repeat(md5(id || '-' || n), 20), 'hex'), %(as_of)s - interval '200 days', id, '', false, ''
        FROM surveys_survey, generate_series(1, 20) AS n""",
    ),
    (
        "surveys_datasubjectrequest",
        # Open ones and settled ones; one that was rejected is never marked as resolved.
        """
        INSERT INTO surveys_datasubjectrequest (request_type, status, respondent_email, request_details,
            controller_response, resolution_notes, resolved_at, ico_reported, created_at, updated_at, survey_id)
        SELECT 'erasure', state, 'respondent' || id || '@example.org', '', '', '',
            CASE WHEN state = 'resolved' THEN %(as_of)s - interval '60 days' END, false,
            %(as_of)s - interval '90 days', %(as_of)s - interval '60 days', id
        FROM surveys_survey,
        LATERAL (SELECT (ARRAY['received', 'referred', 'resolved', 'rejected'])[1 + mod(id, 4)] AS state) AS drawn
        WHERE mod(id, 15) = 0""",
    ),
    (
        "surveys_surveymembership",
        """
        INSERT INTO surveys_surveymembership (role, created_at, survey_id, user_id)
        SELECT 'editor', %(as_of)s, id, 1 + mod(owner_id, %(users)s) FROM surveys_survey""",
    ),
    (
        "surveys_auditlog",
        """
        INSERT INTO surveys_auditlog (scope, action, metadata, created_at, survey_id, actor_id, message, severity,
            user_agent, username_attempted)
        SELECT 'survey', 'survey_updated', '{}', %(as_of)s - interval '250 days', id, owner_id, '', 'info', '', ''
        FROM surveys_survey, generate_series(1, 3)""",
    ),
    (
        "surveys_surveyprogress",
        """
        INSERT INTO surveys_surveyprogress (session_key, partial_answers, total_questions, answered_count, created_at,
            updated_at, expires_at, survey_id)
        SELECT md5('session-' || n), '{"1": "yes"}', 10, 1, opened_at, opened_at, opened_at + interval '30 days',
            (SELECT min(id) FROM surveys_survey WHERE closed_at IS NULL)
        FROM generate_series(1, %(progress)s) AS n,
        LATERAL (SELECT %(as_of)s - make_interval(hours => CASE WHEN mod(n, 10) < 3 THEN 745 + pg_temp.pick(n, 1, 900)
                                                               ELSE pg_temp.pick(n, 1, 690) END) AS opened_at) AS drawn""",
    ),
)


def create_schema(connection: psycopg.Connection) -> None:
    """Create the service's tables, keys and indexes; the caller owns the transaction."""
    ddl = resources.files(__package__).joinpath("schema.sql").read_bytes()
    connection.execute(ddl)


def fill(connection: psycopg.Connection, *, as_of: datetime, media_root: Path, scale: float = 1.0) -> int:
    """Fill the empty tables in one transaction, and write the images; return how many rows there are.

    Equal arguments give equal rows.
    """
    names, shares, days = zip(*STATES, strict=True)
    parameters = {
        "as_of": as_of.astimezone(UTC),
        "users": USERS,
        "surveys": max(300, round(SURVEYS * scale)),
        "progress": max(100, round(PROGRESS * scale)),
        "states": list(names),
        "shares": list(shares),
        "days": list(days),
    }
    with connection.transaction():
        connection.execute(_FUNCTIONS)
        rows = sum(connection.execute(statement, parameters).rowcount for _, statement in _STEPS)
        for table in dict(_STEPS):
            connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))
        connection.execute("DROP FUNCTION pg_temp.pick(bigint, integer, integer)")
        for (path,) in connection.execute("SELECT image FROM surveys_questionimage").fetchall():
            file = media_root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"sample\n")
    return rows


SAMPLE = Sample(
    CHECKTICK,
    create_schema,
    lambda connection, filling: fill(
        connection, as_of=filling.as_of, media_root=filling.file_root, scale=filling.scale
    ),
    stores={"MEDIA_URL": "media"},
    files="media",
)
