"""A sample of BON: invoices of every status and due date, sessions, and credentials at a local provider."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import LiteralString
from zoneinfo import ZoneInfo

import psycopg
from psycopg import sql

from cath_dagster.bon import BON
from cath_dagster.bon.token_cipher import TokenCipher
from cath_dagster.development.sample import Sample

KEY = "5a" * 32
"""The encryption key of the sample's tokens, which are worth nothing."""
BUSINESSES, INVOICES, DRAFTS, SESSIONS = 60, 18_000, 2_000, 4_000
"""Rows at scale 1; each invoice and draft has two items."""
CREDENTIALS = (
    # How many, minutes until they expire, whether the provider has revoked them, whether that is known.
    (25, 5, False, False),
    (10, -600, False, False),
    (20, 300, False, False),
    (3, 2, True, False),
    (2, -6_000, True, True),
)
_FUNCTIONS = """
CREATE OR REPLACE FUNCTION pg_temp.pick(n bigint, salt integer, size integer) RETURNS integer
LANGUAGE sql IMMUTABLE AS 'SELECT mod(hashint8extended(n, salt) & 9223372036854775807, size)::integer';
"""

# Values are drawn by a hash of the row's number, so equal arguments give equal rows without a generator's state.
_STEPS: tuple[tuple[str, LiteralString], ...] = (
    (
        "users",
        """
        INSERT INTO users (id, email, name)
        SELECT md5('user-' || n)::uuid, 'owner' || n || '@example.org',
            (ARRAY['דנה כהן', 'יוסי לוי', 'Maya Adler', 'אבי מזרחי', 'Noa Peretz'])[1 + mod(n, 5)] || ' ' || n
        FROM generate_series(1, %(users)s) AS n""",
    ),
    (
        "businesses",
        """
        INSERT INTO businesses (id, name, business_type, registration_number, is_active, deleted_at, created_by_user_id)
        SELECT md5('business-' || n)::uuid,
            (ARRAY['סטודיו אור', 'מאפיית הגליל', 'Blue Door Ltd', 'נגריית השרון'])[1 + mod(n, 4)] || ' ' || n,
            (ARRAY['licensed_dealer', 'exempt_dealer', 'limited_company'])[1 + mod(n, 3)]::business_type,
            lpad(n::text, 9, '0'), mod(n, 20) > 0, CASE WHEN mod(n, 20) = 0 THEN %(as_of)s - interval '90 days' END,
            md5('user-' || 1 + mod(n, %(users)s))::uuid
        FROM generate_series(1, %(businesses)s) AS n""",
    ),
    (
        "user_businesses",
        # Every tenth business has a second owner, every fifth a book-keeper.
        """
        INSERT INTO user_businesses (user_id, business_id, role)
        SELECT md5('user-' || 1 + mod(n + k, %(users)s))::uuid, md5('business-' || n)::uuid,
            (CASE k WHEN 2 THEN 'user' ELSE 'owner' END)::business_role
        FROM generate_series(1, %(businesses)s) AS n, generate_series(0, 2) AS k
        WHERE k = 0 OR (k = 1 AND mod(n, 10) = 0) OR (k = 2 AND mod(n, 5) = 0)""",
    ),
    (
        "invoices",
        # The last run was three days ago: what was due before is marked, or was settled since.
        """
        INSERT INTO invoices (id, business_id, customer_name, document_type, status, is_overdue, sequence_number,
            document_number, sequence_group, invoice_date, due_date, total_incl_vat_minor_units, created_at, updated_at)
        SELECT md5('invoice-' || n)::uuid, md5('business-' || business)::uuid,
            CASE WHEN mod(n, 41) > 0
                 THEN (ARRAY['לקוח', 'חברת בנייה', 'Acme & Sons', 'משרד <עיצוב>'])[1 + mod(n, 4)] || ' ' || mod(n, 900) END,
            'tax_invoice', status,
            coalesce(due_date < %(today)s - 3, false) AND (status IN ('finalized', 'sent', 'partially_paid')
                OR status IN ('paid', 'cancelled', 'credited') AND mod(n, 60) = 0),
            n, 'INV-' || lpad(n::text, 6, '0'), 'tax_document', coalesce(due_date, %(today)s) - 30, due_date,
            1000 + pg_temp.pick(n, 4, 2000000), %(as_of)s - interval '200 days', %(as_of)s - interval '40 days'
        FROM generate_series(1, %(invoices)s) AS n,
        LATERAL (SELECT 1 + mod(n, %(businesses)s) AS business,
            CASE WHEN mod(n, 29) > 0 THEN %(today)s + 60 - pg_temp.pick(n, 2, 140) END AS due_date,
            -- Most of what is due has been paid.
            (CASE WHEN pg_temp.pick(n, 3, 10) < 7 THEN 'paid'
                ELSE (ARRAY['finalized', 'sending', 'sent', 'partially_paid', 'cancelled', 'credited'])
                    [1 + pg_temp.pick(n, 1, 6)] END)::invoice_status AS status) AS drawn""",
    ),
    (
        "invoices",
        """
        INSERT INTO invoices (id, business_id, customer_name, document_type, updated_at, created_at)
        SELECT md5('draft-' || n)::uuid, md5('business-' || 1 + mod(n, %(businesses)s))::uuid, 'לקוח ' || n, 'tax_invoice',
            touched, touched
        FROM generate_series(1, %(drafts)s) AS n,
        LATERAL (SELECT %(as_of)s - make_interval(days => CASE WHEN mod(n, 10) < 3 THEN 32 + mod(n, 90)
                                                              ELSE mod(n, 28) END) AS touched) AS drawn""",
    ),
    (
        "invoices",
        # Whatever was credited has its credit note, which nobody owes: it has no due date.
        """
        INSERT INTO invoices (business_id, customer_name, document_type, status, sequence_number, document_number,
            credited_invoice_id, sequence_group, invoice_date, total_incl_vat_minor_units, created_at, updated_at)
        SELECT business_id, customer_name, 'credit_note', 'finalized', sequence_number, 'CN-' || sequence_number, id,
            'credit_note', invoice_date, total_incl_vat_minor_units, created_at, updated_at
        FROM invoices WHERE status = 'credited'""",
    ),
    (
        "invoice_items",
        """
        INSERT INTO invoice_items (invoice_id, position, description, quantity, unit_price_minor_units,
            vat_rate_basis_points)
        SELECT id, position, 'שורה ' || position, 1, 1000, 1700 FROM invoices, generate_series(1, 2) AS position""",
    ),
    (
        "shaam_audit_log",
        # Two of these drafts are old enough to go, and held.
        """
        INSERT INTO shaam_audit_log (business_id, invoice_id, request_payload, result)
        SELECT business_id, id, '{}', 'pending' FROM invoices WHERE id IN (md5('draft-1')::uuid, md5('draft-2')::uuid, md5('draft-5')::uuid)""",
    ),
    (
        "sessions",
        """
        INSERT INTO sessions (id, user_id, last_accessed_at, expires_at)
        SELECT md5('session-' || n)::uuid, md5('user-' || 1 + mod(n, %(users)s))::uuid, %(as_of)s - interval '10 days',
            %(as_of)s + make_interval(hours => CASE WHEN mod(n, 5) < 2 THEN -1 - mod(n, 200) ELSE 24 + mod(n, 600) END)
        FROM generate_series(1, %(sessions)s) AS n""",
    ),
)


def create_schema(connection: psycopg.Connection) -> None:
    """Create the service's tables, keys and indexes; the caller owns the transaction."""
    ddl = resources.files(__package__).joinpath("schema.sql").read_bytes()
    connection.execute(ddl)


def revoked_tokens() -> list[str]:
    """Return the refresh tokens that the sample's provider refuses."""
    return [token for token, _, is_revoked, _ in _credentials() if is_revoked]


def fill(connection: psycopg.Connection, *, as_of: datetime, scale: float = 1.0) -> int:
    """Fill the empty tables in one transaction; return how many rows there are. Equal arguments give equal rows."""
    parameters = {
        "as_of": as_of.astimezone(UTC),
        "today": as_of.astimezone(ZoneInfo(BON.timezone)).date(),
        "businesses": BUSINESSES,
        "users": BUSINESSES,
        "invoices": max(200, round(INVOICES * scale)),
        "drafts": max(20, round(DRAFTS * scale)),
        "sessions": max(20, round(SESSIONS * scale)),
    }
    with connection.transaction():
        connection.execute(_FUNCTIONS)
        rows = sum(connection.execute(statement, parameters).rowcount for _, statement in _STEPS)
        rows += _insert_credentials(connection, parameters["as_of"])
        for table in (*dict(_STEPS), "business_shaam_credentials"):
            connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))
        connection.execute("DROP FUNCTION pg_temp.pick(bigint, integer, integer)")
    return rows


def _insert_credentials(connection: psycopg.Connection, as_of: object) -> int:
    cipher = TokenCipher(KEY, "the sample's key")
    rows = [
        (number, cipher.encrypt("access"), cipher.encrypt(token), as_of, timedelta(minutes=minutes), is_known)
        for number, (token, minutes, _, is_known) in enumerate(_credentials(), start=1)
    ]
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO business_shaam_credentials (business_id, encrypted_access_token, encrypted_refresh_token,
                token_expires_at, needs_reauth)
            VALUES (md5('business-' || %s)::uuid, %s, %s, %s::timestamptz + %s, %s)""",
            rows,
        )
    return len(rows)


def _credentials() -> Iterator[tuple[str, int, bool, bool]]:
    """Yield each credential's refresh token, minutes until it expires, and whether it is revoked and known to be."""
    number = 0
    for count, minutes, is_revoked, is_known in CREDENTIALS:
        for _ in range(count):
            number += 1
            yield f"sample-{number}", minutes, is_revoked, is_known


SAMPLE = Sample(
    BON,
    create_schema,
    lambda connection, filling: fill(connection, as_of=filling.as_of, scale=filling.scale),
    effects=("mail",),
)
