"""The work of one run: look whether a rotation is due, do it with all that belongs to it, and publish."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import sqlalchemy as sa

from cath_dagster.cloudmake.keyring import NEW
from cath_dagster.cloudmake.openpgp import encrypt, to_column
from cath_dagster.cloudmake.openpgp_packets import OpenPgpError
from cath_dagster.cloudmake.sealing import Keyring
from cath_dagster.cloudmake.signing_keys.jwks import (
    PATH,
    Published,
    as_bytes,
    by_kid,
    find_secrets,
    make_document,
    open_secret,
    read_document,
    write_document,
)
from cath_dagster.cloudmake.signing_keys.rotation import NewKey, Rotated, Step, find_objections, rotate
from cath_dagster.cloudmake.signing_keys.settings import JwtKeyRotationSettings
from cath_dagster.cloudmake.signing_keys.signing_key import make_key
from cath_dagster.cloudmake.signing_keys.stored import StoredKeys, lock_keys, read_keys
from cath_dagster.core.errors import IncompleteRunError, PreflightError
from cath_dagster.core.model.check import Verdict
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.ports.blobs import BlobStore, BlobStoreError
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.untrusted_json import parse_json

KEYS, DOCUMENT = "jwt_keys", "jwks"
STORE = "JWKS_URL"
ANYWAY = "with confirm a new key is made all the same"


@dataclass(frozen=True)
class KeyWork:
    """The work of one run."""

    run: JobRun
    settings: JwtKeyRotationSettings
    keyring: Keyring

    def check(self) -> None:
        """Refuse the run where it cannot be said which key signs, or where the master key is not the service's."""
        keys = self.run.database.transaction(read_keys)
        self.run.refuse(find_objections(keys, self.settings.keep))
        if not self.settings.confirm:
            self.run.refuse(self._unopened(keys))

    def foresee(self) -> None:
        """Say what would be done."""
        keys = self.run.database.transaction(read_keys)
        step = self.settings.rules(self.run).decide(keys)
        details: dict[str, Scalar] = {"would": step.value, **self._age(keys)}
        self.run.record(Outcome(target=KEYS, matched=int(step is not Step.NOTHING), details=details))
        if step is not Step.NOTHING:
            signs = f"{self.settings.keep or keys.active[0].kid} signs" if keys.active else "none signs"
            self.run.note(f"a run would {step.value}: {signs} now")
        elif keys.active:
            self._tell_due(keys)

    def do(self) -> None:
        """Do what is due and write the document, in one transaction; then publish it, before anything is deleted."""
        started = self.run.clock()
        made = make_key(self.settings.algorithm)
        new = NewKey(made.kid, made.algorithm, to_column(encrypt(made.secret.encode(), self.keyring.new.text)))
        rotated, published, is_new, keys = self.run.database.transaction(partial(self._write, new))
        changed = len(rotated.kids_out) + (rotated.kid_in is not None)
        details: dict[str, Scalar] = {
            "kid_in": rotated.kid_in,
            "kids_out": list(rotated.kids_out),
            "done": rotated.step.value,
            **self._age(keys),
        }
        seconds = self.run.clock() - started
        self.run.record(Outcome(target=KEYS, matched=changed, updated=changed, seconds=seconds, details=details))
        self._tell(rotated, keys)
        self._publish(published, is_new=is_new)

    def _write(self, new: NewKey, connection: sa.Connection) -> tuple[Rotated, Published, bool, StoredKeys]:
        run = self.run
        lock_keys(connection)
        keys = read_keys(connection)
        objections = find_objections(keys, self.settings.keep)
        if objections and new.kid not in keys.kids:
            raise PreflightError(". ".join(objections))
        rotated = rotate(connection, keys, new, self.settings.rules(run), run_id=run.run_id)
        after = read_keys(connection)
        before = by_kid(read_document(connection))
        published = make_document(after.published(run.as_of, self.settings.grace), self.keyring, before)
        if secrets := find_secrets(published.document):
            raise IncompleteRunError(f"nothing is published or changed: {'; '.join(secrets)}")
        is_new = write_document(connection, published.document, as_of=run.as_of, run_id=run.run_id)
        return rotated, published, is_new, after

    def _publish(self, published: Published, *, is_new: bool) -> None:
        """Write the document to where verifiers fetch it, and judge what is there now."""
        store, details = open_store(self.run), {"keys": len(published.document["keys"])}
        told: dict[str, Scalar] = {**details, "kids": [key["kid"] for key in published.document["keys"]]}
        if store is not None:
            try:
                store.replace(PATH, as_bytes(published.document))
            except BlobStoreError as error:
                self.run.fail(f"the JWKS is not published: {error}; the next run tries again")
            else:
                told["published_to"] = store.address(PATH)
        self.run.record(Outcome(target=DOCUMENT, matched=int(is_new), updated=int(is_new), details=told))
        for failure in published.failures:
            self.run.fail(failure)

    def _unopened(self, keys: StoredKeys) -> Sequence[str]:
        """Return that a key that signs, or is to, does not open: a new one would be under a key that the service has not."""
        for key in (*keys.active, *keys.announced):
            try:
                open_secret(key, self.keyring)
            except OpenPgpError as error:
                of_service = f"look whether {NEW} ({self.keyring.new.fingerprint}) is the service's own"
                return [f"the signing key {key.kid} does not open: {error}; {of_service}; {ANYWAY}"]
        return []

    def _age(self, keys: StoredKeys) -> dict[str, Scalar]:
        if not keys.active:
            return {}
        active, rules = keys.active[0], self.settings.rules(self.run)
        age = (self.run.as_of - active.created_at) / timedelta(days=1)
        return {"active_key_age_days": round(age, 2), "next_due_at": rules.due_at(active).isoformat()}

    def _tell_due(self, keys: StoredKeys) -> None:
        due = self.settings.rules(self.run).due_at(keys.active[0])
        days = (due - self.run.as_of) / timedelta(days=1)
        self.run.note(f"due in {max(0.0, days):.0f} days, on {due:%Y-%m-%d}")

    def _tell(self, rotated: Rotated, keys: StoredKeys) -> None:
        if rotated.step is Step.NOTHING:
            self._tell_due(keys)
        elif rotated.step is Step.ANNOUNCE:
            due = self.settings.rules(self.run).due_at(keys.active[0])
            self.run.note(
                f"{rotated.kid_in} is published, and signs from the first run after {due:%Y-%m-%d %H:%M} UTC on"
            )
        else:
            out = ", ".join(rotated.kids_out)
            self.run.note(f"{rotated.kid_in} signs now, {f'in place of {out}' if out else 'where none did'}")


def open_store(run: JobRun) -> BlobStore | None:
    return run.backends.store(STORE) if run.optional(STORE) else None


def judge_document(database: Database, store: BlobStore | None) -> Verdict:
    """Judge the document as it stands in the database, and where it is fetched."""
    documents = [database.transaction(read_document)]
    if store is not None:
        try:
            documents.append(parse_json(store.get(PATH)))
        except (BlobStoreError, ValueError) as error:
            return Verdict(passed=False, message=f"what is published cannot be read: {error}")
    found = [secret for document in documents for secret in find_secrets(document)]
    return Verdict(passed=not found, message="; ".join(found))
