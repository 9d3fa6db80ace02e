"""The service's tables: only the columns the jobs use. Its migrations own them; ours never touch them.

All instants are naive and UTC, all enumerations free text. `info` names the columns that hold personal data, those that
are not declared here included: a deleted row is archived whole, if it is. A user's id counts, since it leads to a person.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from cath_dagster.core.archive.obstacles import PERSONAL
from cath_dagster.core.maintenance.tables import METADATA as MAINTENANCE
from cath_dagster.core.model.optional_columns import OPTIONAL
from cath_dagster.core.postgres.session import SERVICE

METADATA = sa.MetaData(schema=SERVICE)
_INSTANT = sa.DateTime(timezone=False)

notification_audit_log = sa.Table(
    "notification_audit_log",
    METADATA,
    sa.Column("notification_id", sa.Uuid, primary_key=True),
    sa.Column("subscription_id", sa.Uuid, nullable=False),
    sa.Column("created_at", _INSTANT, nullable=False),
    info={PERSONAL: ("user_id", "error_message")},
)

audit_log = sa.Table(
    "audit_log",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("timestamp", _INSTANT, nullable=False),
    info={PERSONAL: ("details", "user_id", "user_email")},
)

ingestion_log = sa.Table(
    "ingestion_log",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("timestamp", _INSTANT, nullable=False),
    info={PERSONAL: ()},
)

user = sa.Table(
    "user",
    METADATA,
    sa.Column("user_id", sa.Uuid, primary_key=True),
    sa.Column("email", sa.String(255), nullable=False),
    sa.Column("first_name", sa.String(255)),
    sa.Column("surname", sa.String(255)),
    sa.Column("user_provenance", sa.String(20), nullable=False),
    sa.Column("role", sa.String(20), nullable=False),
    sa.Column("created_date", _INSTANT, nullable=False),
    sa.Column("last_signed_in_date", _INSTANT),
    info={PERSONAL: ("user_id", "email", "first_name", "surname", "user_provenance_id")},
)

subscription = sa.Table(
    "subscription",
    METADATA,
    sa.Column("subscription_id", sa.Uuid, primary_key=True),
    sa.Column("user_id", sa.Uuid, nullable=False),
    sa.Column("search_type", sa.String(50), nullable=False),
    sa.Column("search_value", sa.Text, nullable=False),
    sa.Column("date_added", _INSTANT, nullable=False),
    info={PERSONAL: ("user_id", "search_value", "case_name", "case_number")},
)

subscription_list_type = sa.Table(
    "subscription_list_type",
    METADATA,
    sa.Column("subscription_list_type_id", sa.Uuid, primary_key=True),
    sa.Column("user_id", sa.Uuid, nullable=False),
    sa.Column("list_type_ids", ARRAY(sa.Integer), nullable=False),
    info={PERSONAL: ("user_id",)},
)

list_types = sa.Table(
    "list_types",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("deleted_at", _INSTANT),
)

location = sa.Table(
    "location",
    METADATA,
    sa.Column("location_id", sa.Integer, primary_key=True),
    sa.Column(
        "deleted_at",
        _INSTANT,
        info={OPTIONAL: "the service is about to delete locations for good; without the column every location is live"},
    ),
)

media_application = sa.Table(
    "media_application",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("email", sa.String(255), nullable=False),
    sa.Column("employer", sa.String(255), nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("applied_date", _INSTANT, nullable=False),
    sa.Column("proof_of_id_path", sa.String(500)),
    info={PERSONAL: ("name", "email", "employer", "proof_of_id_path", "proof_of_id_original_name")},
)

artefact = sa.Table(
    "artefact",
    METADATA,
    sa.Column("artefact_id", sa.Uuid, primary_key=True),
    sa.Column("location_id", sa.Text, nullable=False),
    sa.Column("list_type_id", sa.Integer, nullable=False),
    sa.Column("content_date", sa.Date, nullable=False),
    sa.Column("sensitivity", sa.Text, nullable=False),
    sa.Column("language", sa.Text, nullable=False),
    sa.Column("display_from", _INSTANT, nullable=False),
    sa.Column("display_to", _INSTANT, nullable=False),
    sa.Column("last_received_date", _INSTANT, nullable=False),
    sa.Column("is_flat_file", sa.Boolean, nullable=False),
    sa.Column("provenance", sa.Text, nullable=False),
    sa.Column("superseded_count", sa.Integer, nullable=False),
    sa.Column("no_match", sa.Boolean, nullable=False),
    sa.Column("type", sa.String(50), nullable=False),
    sa.Column("source_artefact_id", sa.Text),
    info={PERSONAL: ("source_artefact_id",)},
)

artefact_search = sa.Table(
    "artefact_search",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("artefact_id", sa.Uuid, nullable=False),
    info={PERSONAL: ("case_number", "case_name")},
)

artefact_archive = sa.Table(
    "artefact_archive",
    MAINTENANCE,
    sa.Column("artefact_id", sa.Uuid, primary_key=True),
    sa.Column("archived_by", sa.Text, nullable=False),
    *(
        sa.Column(column.name, column.type, nullable=False)
        for column in artefact.c
        # The name of the uploaded file may name a person, and the archive is kept.
        if column.name not in ("artefact_id", "source_artefact_id")
    ),
)
