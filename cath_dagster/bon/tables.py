"""The service's tables: only the columns the jobs use. Its migrations own them; ours never touch them.

All instants are aware; due dates are calendar dates in Israel. `info` names the columns with personal data of the tables
that jobs delete from, those that are not declared here included: a deleted row is archived whole, if it is.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ENUM

from cath_dagster.core.archive.obstacles import PERSONAL
from cath_dagster.core.postgres.session import SERVICE

METADATA = sa.MetaData(schema=SERVICE)
_INSTANT = sa.DateTime(timezone=True)

OPEN = ("finalized", "sent", "partially_paid")
"""Invoices that a customer owes; one that is `sending` becomes `sent` or `finalized` again within minutes."""
CLOSED = ("paid", "cancelled", "credited")
_STATUS = ENUM("draft", "sending", *OPEN, *CLOSED, name="invoice_status", schema=SERVICE, create_type=False)
_ROLE = ENUM("owner", "admin", "user", name="business_role", schema=SERVICE, create_type=False)

invoices = sa.Table(
    "invoices",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("business_id", sa.Uuid, nullable=False),
    sa.Column("customer_name", sa.Text),
    sa.Column("status", _STATUS, nullable=False),
    sa.Column("is_overdue", sa.Boolean, nullable=False),
    sa.Column("document_number", sa.Text),
    sa.Column("credited_invoice_id", sa.Uuid),
    sa.Column("due_date", sa.Date),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("total_incl_vat_minor_units", sa.Integer, nullable=False),
    sa.Column("updated_at", _INSTANT, nullable=False),
    info={
        PERSONAL: (
            *("customer_id", "customer_name", "customer_tax_id", "customer_address", "customer_email"),
            *("notes", "internal_notes"),
        )
    },
)

invoice_items = sa.Table(
    "invoice_items",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("invoice_id", sa.Uuid, nullable=False),
    info={PERSONAL: ("description",)},
)

invoice_payments = sa.Table(
    "invoice_payments",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("invoice_id", sa.Uuid, nullable=False),
    info={PERSONAL: ("recorded_by_user_id", "reference", "notes")},
)

shaam_audit_log = sa.Table(
    "shaam_audit_log",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("invoice_id", sa.Uuid),
)
"""Its rows hold the invoices that they speak of, which takes the right to read them."""

sessions = sa.Table(
    "sessions",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("expires_at", _INSTANT, nullable=False),
    info={PERSONAL: ("user_id",)},
)

businesses = sa.Table(
    "businesses",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("is_active", sa.Boolean, nullable=False),
)

user_businesses = sa.Table(
    "user_businesses",
    METADATA,
    sa.Column("user_id", sa.Uuid, nullable=False),
    sa.Column("business_id", sa.Uuid, nullable=False),
    sa.Column("role", _ROLE, nullable=False),
)

users = sa.Table(
    "users",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
)

business_shaam_credentials = sa.Table(
    "business_shaam_credentials",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("business_id", sa.Uuid, nullable=False),
    sa.Column("encrypted_access_token", sa.Text, nullable=False),
    sa.Column("encrypted_refresh_token", sa.Text, nullable=False),
    sa.Column("token_expires_at", _INSTANT, nullable=False),
    sa.Column("scope", sa.Text),
    sa.Column("needs_reauth", sa.Boolean, nullable=False),
    sa.Column("updated_at", _INSTANT, nullable=False),
)
