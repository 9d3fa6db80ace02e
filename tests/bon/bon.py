"""BON as a test sees it: small builders for its rows, and a way to run its jobs."""

import contextlib
import itertools
import os
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from cath_dagster.bon import BON
from cath_dagster.bon.token_cipher import TokenCipher
from cath_dagster.development.simulators.oauth import OAuthProvider
from cath_dagster.development.simulators.smtp import SmtpServer
from tests.support.command import PROGRAM
from tests.support.maintained import Maintained
from tests.support.warm import COMMAND, start

KEY = "a1" * 32
TODAY = date(2026, 11, 18)
"""The date in Israel at the fixture's reference time."""

ADD_AUDIT = """
INSERT INTO shaam_audit_log (business_id, invoice_id, request_payload, result) VALUES (%s, %s, '{}', 'pending')
"""


_numbers = itertools.count(1)


@dataclass(kw_only=True)
class Bon(Maintained):
    """A BON of its own."""

    location = BON

    smtp: SmtpServer
    provider: OAuthProvider

    @classmethod
    @contextlib.contextmanager
    def open(cls, url: str, smtp: SmtpServer, provider: OAuthProvider, *, as_of: datetime) -> Iterator["Bon"]:
        environ = {
            "BON_DATABASE_URL": url,
            "BON_SMTP_URL": smtp.url,
            "BON_MAIL_FROM": "BON <noreply@bon.example>",
            "BON_SHAAM_TOKEN_URL": provider.token_url,
            "BON_SHAAM_CLIENT_ID": provider.client[0],
            "BON_SHAAM_CLIENT_SECRET": provider.client[1],
            "BON_SHAAM_ENCRYPTION_KEY": KEY,
        }
        with psycopg.connect(url, autocommit=True, row_factory=tuple_row) as connection:
            connection.execute("SET timezone = 'UTC'")
            yield cls(url=url, environ=environ, connection=connection, as_of=as_of, smtp=smtp, provider=provider)

    @contextlib.contextmanager
    def child_running(self, job: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a job in a process of its own, which does not outlive the block."""
        command = [PROGRAM, "run", job, "--as-of", self.as_of.isoformat(), "--quiet", *arguments]
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("BON_", "PG"))}
        with start(command, environ=plain | self.environ, modules=COMMAND) as child:
            try:
                yield child
            finally:
                child.kill()
                child.wait()

    def ago(self, **duration: float) -> datetime:
        """Return an instant so long before `as_of`."""
        return self.as_of - timedelta(**duration)

    def add_user(self, **values: Any) -> uuid.UUID:
        number = next(_numbers)
        row = {"id": uuid.uuid4(), "email": f"user{number}@example.org", "name": f"Owner {number}"}
        user_id: uuid.UUID = self.insert("users", **{**row, **values})
        return user_id

    def add_business(self, *owners: uuid.UUID, **values: Any) -> uuid.UUID:
        """Add an active business of these owners, of a new one if none is given."""
        number = next(_numbers)
        owners = owners or (self.add_user(),)
        row = {
            "id": uuid.uuid4(),
            "name": f"Business {number}",
            "business_type": "licensed_dealer",
            "registration_number": f"{number:09}",
            "created_by_user_id": owners[0],
        }
        business_id: uuid.UUID = self.insert("businesses", **{**row, **values})
        for owner in owners:
            self.add_member(business_id, owner)
        return business_id

    def add_member(self, business_id: uuid.UUID, user_id: uuid.UUID, role: str = "owner") -> None:
        self.insert("user_businesses", user_id=user_id, business_id=business_id, role=role)

    def add_invoice(self, business_id: uuid.UUID, **values: Any) -> uuid.UUID:
        """Add an invoice that was sent and is due today, unless told otherwise."""
        number = next(_numbers)
        row = {
            "id": uuid.uuid4(),
            "business_id": business_id,
            "customer_name": f"Customer {number}",
            "document_type": "tax_invoice",
            "status": "sent",
            "document_number": f"INV-{number:05}",
            "due_date": TODAY,
            "total_incl_vat_minor_units": 123_450,
            "updated_at": self.ago(days=100),
        }
        invoice_id: uuid.UUID = self.insert("invoices", **{**row, **values})
        return invoice_id

    def add_overdue(self, business_id: uuid.UUID, days: int = 1, **values: Any) -> uuid.UUID:
        return self.add_invoice(business_id, due_date=TODAY - timedelta(days=days), **values)

    def add_draft(self, business_id: uuid.UUID, days: float = 31, **values: Any) -> uuid.UUID:
        """Add a draft last touched so many days ago."""
        row = {"status": "draft", "document_number": None, "due_date": None, "updated_at": self.ago(days=days)}
        return self.add_invoice(business_id, **{**row, **values})

    def add_item(self, invoice_id: uuid.UUID, position: int = 1) -> None:
        self.insert(
            "invoice_items",
            invoice_id=invoice_id,
            position=position,
            description="work",
            quantity=1,
            unit_price_minor_units=100,
            vat_rate_basis_points=1_700,
        )

    def add_payment(self, invoice_id: uuid.UUID) -> None:
        user_id = self.add_user()
        self.insert(
            "invoice_payments",
            invoice_id=invoice_id,
            amount_minor_units=100,
            paid_at=TODAY,
            method="cash",
            recorded_by_user_id=user_id,
        )

    def add_audit(self, business_id: uuid.UUID, invoice_id: uuid.UUID) -> None:
        """Add an entry of the requests to SHAAM about an invoice."""
        self.connection.execute(ADD_AUDIT, [business_id, invoice_id])

    def add_session(self, **values: Any) -> uuid.UUID:
        row = {"id": uuid.uuid4(), "user_id": values.pop("user_id", None) or self.add_user()}
        row |= {"last_accessed_at": self.ago(days=1), "expires_at": self.ago(hours=1)}
        session_id: uuid.UUID = self.insert("sessions", **{**row, **values})
        return session_id

    def add_credential(
        self, business_id: uuid.UUID | None = None, token: str | None = None, *, minutes: float = 5, **values: Any
    ) -> uuid.UUID:
        """Add a credential that expires so many minutes after `as_of`; return its business."""
        business_id = business_id or self.add_business()
        cipher = TokenCipher(KEY, "KEY")
        row = {
            "business_id": business_id,
            "encrypted_access_token": cipher.encrypt("old-access"),
            "encrypted_refresh_token": cipher.encrypt(token or f"refresh-{next(_numbers)}"),
            "token_expires_at": self.as_of + timedelta(minutes=minutes),
            "updated_at": self.ago(days=1),
        }
        self.insert("business_shaam_credentials", **{**row, **values})
        return business_id

    def credential(self, business_id: uuid.UUID) -> dict[str, Any]:
        """Return a business's credential, its tokens decrypted."""
        cipher = TokenCipher(KEY, "KEY")
        access, refresh, *rest = self.rows(
            "SELECT encrypted_access_token, encrypted_refresh_token, token_expires_at, scope, needs_reauth, updated_at"
            " FROM business_shaam_credentials WHERE business_id = %s",
            business_id,
        )[0]
        names = ("expires_at", "scope", "needs_reauth", "updated_at")
        return {
            "access": cipher.decrypt(access),
            "refresh": cipher.decrypt(refresh),
            **dict(zip(names, rest, strict=True)),
        }

    def overdue(self) -> set[uuid.UUID]:
        """Return the invoices that are marked."""
        return {invoice_id for (invoice_id,) in self.rows("SELECT id FROM invoices WHERE is_overdue")}
