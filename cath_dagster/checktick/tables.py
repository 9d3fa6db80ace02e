"""The service's tables: only the columns the jobs use. Its migrations own them; ours never touch them.

All instants are aware. No foreign key has an ON DELETE action and every one is checked at commit: Django deletes what
goes along itself, and so do we, by `deletion.POLICY`.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from cath_dagster.core.archive.obstacles import PERSONAL
from cath_dagster.core.postgres.session import SERVICE

METADATA = sa.MetaData(schema=SERVICE)
_INSTANT = sa.DateTime(timezone=True)


def _table(name: str, *columns: sa.Column[Any], key: type[sa.types.TypeEngine[Any]] = sa.BigInteger) -> sa.Table:
    return sa.Table(name, METADATA, sa.Column("id", key, primary_key=True), *columns)


def _reference(name: str, *, kind: type[sa.types.TypeEngine[Any]] = sa.BigInteger) -> sa.Column[Any]:
    return sa.Column(name, kind)


user = sa.Table(
    "auth_user",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("username", sa.String(150), nullable=False),
    sa.Column("first_name", sa.String(150), nullable=False),
    sa.Column("email", sa.String(254), nullable=False),
)

survey = _table(
    "surveys_survey",
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("slug", sa.String(50), nullable=False),
    sa.Column("owner_id", sa.Integer, nullable=False),
    sa.Column("organization_id", sa.BigInteger),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("published_at", _INSTANT),
    sa.Column("closed_at", _INSTANT),
    sa.Column("deletion_date", _INSTANT),
    sa.Column("deleted_at", _INSTANT),
    sa.Column("hard_deletion_date", _INSTANT),
    sa.Column("translated_from_id", sa.BigInteger),
    sa.Column("key_salt", sa.LargeBinary),
    sa.Column("key_hash", sa.LargeBinary),
    sa.Column("encrypted_kek_password", sa.LargeBinary),
    sa.Column("encrypted_kek_recovery", sa.LargeBinary),
    sa.Column("encrypted_kek_oidc", sa.LargeBinary),
    sa.Column("encrypted_kek_org", sa.LargeBinary),
)
KEY_COLUMNS = (
    survey.c.encrypted_kek_password,
    survey.c.encrypted_kek_recovery,
    survey.c.encrypted_kek_oidc,
    survey.c.encrypted_kek_org,
    survey.c.key_salt,
    survey.c.key_hash,
)
"""What the answers are encrypted with."""

legal_hold = _table(
    "surveys_legalhold",
    _reference("survey_id"),
    sa.Column("placed_at", _INSTANT, nullable=False),
    sa.Column("placed_by_id", sa.Integer),
    sa.Column("authority", sa.String(255), nullable=False),
    sa.Column("removed_at", _INSTANT),
)

progress = _table(
    "surveys_surveyprogress",
    _reference("survey_id"),
    _reference("access_token_id"),
    sa.Column("updated_at", _INSTANT, nullable=False),
    sa.Column("expires_at", _INSTANT, nullable=False),
)
progress.info[PERSONAL] = ("session_key", "partial_answers", "user_id")

audit_log = _table(
    "surveys_auditlog",
    _reference("survey_id"),
    sa.Column("scope", sa.String(20), nullable=False),
    sa.Column("action", sa.String(30), nullable=False),
    sa.Column("metadata", JSONB, nullable=False),
    sa.Column("created_at", _INSTANT, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("severity", sa.String(20), nullable=False),
    sa.Column("user_agent", sa.Text, nullable=False),
    sa.Column("username_attempted", sa.String(255), nullable=False),
)

response = _table(
    "surveys_surveyresponse",
    _reference("survey_id"),
    _reference("access_token_id"),
    sa.Column("is_frozen", sa.Boolean, nullable=False),
)
freeze_log = _table("surveys_responsefreezelog", _reference("response_id"), _reference("data_subject_request_id"))
data_subject_request = _table(
    "surveys_datasubjectrequest",
    _reference("survey_id"),
    _reference("response_id"),
    sa.Column("status", sa.String(20), nullable=False),
)
access_token = _table("surveys_surveyaccesstoken", _reference("survey_id"))

question = _table("surveys_surveyquestion", _reference("survey_id"))
question_image = _table("surveys_questionimage", _reference("question_id"), sa.Column("image", sa.String(100)))
question_condition = _table(
    "surveys_surveyquestioncondition", _reference("question_id"), _reference("target_question_id")
)
collection = _table("surveys_collectiondefinition", _reference("survey_id"), _reference("parent_id"))
collection_item = _table("surveys_collectionitem", _reference("collection_id"), _reference("child_collection_id"))
question_group_of_survey = _table("surveys_survey_question_groups", _reference("survey_id"))

membership = _table("surveys_surveymembership", _reference("survey_id"))
custodian = _table("surveys_datacustodian", _reference("survey_id"))
retention_extension = _table("surveys_dataretentionextension", _reference("survey_id"))
data_export = _table("surveys_dataexport", _reference("survey_id"), key=sa.Uuid)
conversation = _table("surveys_llmconversationsession", _reference("survey_id"), key=sa.Uuid)

key_escrow = _table("surveys_usersurveykekescrow", _reference("survey_id"), sa.Column("vault_path", sa.String(500)))
recovery_request = _table(
    "surveys_recoveryrequest", _reference("survey_id"), sa.Column("vault_recovery_path", sa.String(500)), key=sa.Uuid
)
identity_verification = _table(
    "surveys_identityverification",
    _reference("recovery_request_id", kind=sa.Uuid),
    sa.Column("document_path", sa.String(500)),
    sa.Column("video_recording_path", sa.String(500)),
    key=sa.Uuid,
)
recovery_audit_entry = _table(
    "surveys_recoveryauditentry", _reference("recovery_request_id", kind=sa.Uuid), key=sa.Uuid
)
