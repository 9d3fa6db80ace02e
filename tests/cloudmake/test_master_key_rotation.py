"""master_key_rotation: every value comes under the new key, none is lost, and nothing unreadable is touched."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.cloudmake.master_key import re_encryption
from cath_dagster.cloudmake.master_key.values import ENCRYPTED
from cath_dagster.cloudmake.openpgp import decrypt, encrypt, from_column, to_column
from cath_dagster.cloudmake.sealing import Keyring
from cath_dagster.core.model.outcome import RunResult
from cath_dagster.core.postgres.database import Database
from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.keys import (
    KEYS,
    NEW_KEY,
    OLD_KEY,
    OTHER_KEY,
    PLAINTEXT,
    add_encrypted,
    add_metadata,
    add_stored,
    add_wrapped,
    opens,
    set_keys,
    under,
)
from tests.support.maintained import outcome

JOB = "master_key_rotation"
NEW_ID, OLD_ID = KEYS["new"].fingerprint, KEYS["old"].fingerprint


@pytest.fixture(autouse=True)
def _both_keys(cloudmake: CloudMake) -> None:
    set_keys(cloudmake)


def add_signing_key(cloudmake: CloudMake, key: str = OLD_KEY) -> None:
    stored = to_column(encrypt(PLAINTEXT.encode(), key))
    cloudmake.insert("jwt_keys", kid=str(uuid.uuid4()), encrypted_secret=stored)


def rotate(cloudmake: CloudMake, **config: Any) -> RunResult:
    return cloudmake.run(JOB, confirm=True, **config)


def verdicts(result: RunResult) -> dict[str, bool]:
    return {check.check: check.passed for check in result.checks}


def test_every_value_of_every_table_comes_under_the_new_key(cloudmake: CloudMake) -> None:
    add_signing_key(cloudmake)
    add_metadata(cloudmake)
    add_metadata(cloudmake, NEW_KEY)
    add_stored(cloudmake)
    add_wrapped(cloudmake)
    before = cloudmake.value("SELECT max(updated_at) FROM secrets_metadata")

    result = rotate(cloudmake)

    assert result.error is None
    assert opens(cloudmake) == [("new", PLAINTEXT)] * 5
    updated = {each.target: each.updated for each in result.outcomes}
    assert updated == {"jwt_keys": 1, "secrets_metadata": 1, "stored_secret": 1, "wrapped_key": 1}
    assert outcome(result, "secrets_metadata").details["under_old"] == 0
    assert verdicts(result) == {"one_master_key": True, "master_key_age": True}
    assert "CLOUDMAKE_MASTER_ENCRYPTION_KEY_OLD may be removed" in " ".join(result.notes)
    assert cloudmake.value("SELECT max(updated_at) FROM secrets_metadata") == before
    assert cloudmake.rows("SELECT from_key, to_key, began_at, verified_at FROM maintenance.master_key_rotation") == [
        (OLD_ID, NEW_ID, cloudmake.as_of, cloudmake.as_of)
    ]
    (began, first), (done, last) = cloudmake.audit()
    assert (began, done) == ("master_key_rotation_began", "master_key_rotation")
    assert first == {"run_id": result.run_id, "from_key": OLD_ID, "to_key": NEW_ID}
    assert last["values"] == {"jwt_keys": 1, "secrets_metadata": 2, "stored_secret": 1, "wrapped_key": 1}


def test_content_stays_of_the_kind_that_it_is(cloudmake: CloudMake) -> None:
    """What was written as binary is read by another function of pgcrypto's than text."""
    for kind in "btu":
        add_metadata(cloudmake, kind=kind, text="é")

    rotate(cloudmake)

    stored = [row[0] for row in cloudmake.rows("SELECT encrypted_metadata FROM secrets_metadata")]
    opened = [decrypt(from_column(text), NEW_KEY) for text in stored]
    assert sorted(each.kind for each in opened) == ["b", "t", "u"]
    assert {each.content for each in opened} == {"é".encode()}


def test_more_than_a_batch_goes_batch_by_batch(cloudmake: CloudMake) -> None:
    for _ in range(25):
        add_metadata(cloudmake)

    result = rotate(cloudmake, batch=10)

    done = outcome(result, "secrets_metadata")
    assert (done.updated, done.batches, done.details["passes"]) == (25, 3, 2)
    assert under(cloudmake) == ["new"] * 25


def test_a_second_run_finds_nothing_to_do_and_says_so_in_no_audit(cloudmake: CloudMake) -> None:
    add_metadata(cloudmake)
    rotate(cloudmake)

    again = rotate(cloudmake)

    assert (again.status, again.changed) == ("success", 0)
    assert len(cloudmake.audit()) == 2
    assert cloudmake.count("maintenance.master_key_rotation") == 1


def test_nothing_encrypted_is_nothing_to_do(cloudmake: CloudMake) -> None:
    assert (rotate(cloudmake).status, cloudmake.audit()) == ("success", [])


def test_there_is_a_way_back(cloudmake: CloudMake) -> None:
    add_metadata(cloudmake)
    add_stored(cloudmake)
    rotate(cloudmake)
    set_keys(cloudmake, new=OLD_KEY, old=NEW_KEY)

    assert rotate(cloudmake).status == "success"
    assert under(cloudmake) == ["old", "old"]


def test_a_short_old_key_can_be_left(cloudmake: CloudMake) -> None:
    set_keys(cloudmake, old="short")
    add_metadata(cloudmake, "short")

    assert rotate(cloudmake).status == "success"
    assert under(cloudmake) == ["new"]


# What refuses a run before its first write


def test_a_run_wants_consent_and_says_for_what(cloudmake: CloudMake) -> None:
    add_metadata(cloudmake)

    result = cloudmake.run(JOB)

    assert result.status == "refused"
    assert "1 values would come under the new key" in (result.error or "")
    assert "confirm" in (result.error or "")
    assert under(cloudmake) == ["old"]


@pytest.mark.parametrize(
    ("new", "old", "says"),
    [
        (None, OLD_KEY, "CLOUDMAKE_MASTER_ENCRYPTION_KEY not set"),
        (NEW_KEY, None, "CLOUDMAKE_MASTER_ENCRYPTION_KEY_OLD not set"),
        (NEW_KEY, NEW_KEY, "are one key"),
        ("short", OLD_KEY, "has 5 characters"),
    ],
)
def test_keys_that_cannot_be_used_are_named_before_anything_is_done(
    cloudmake: CloudMake, new: str | None, old: str | None, says: str
) -> None:
    add_metadata(cloudmake)
    set_keys(cloudmake, new, old)

    result = rotate(cloudmake)

    assert result.status != "success"
    assert says in (result.error or "")
    assert (result.error or "").count("KEY_OLD") <= 1
    assert under(cloudmake) == ["old"]


UNREADABLE = {
    "under another key": to_column(encrypt(b"planted", OTHER_KEY)),
    "armoured text": "-----BEGIN PGP MESSAGE-----\nplanted",
    "JSON": json.dumps({"iv": "planted"}),
    "cut short": to_column(encrypt(b"planted", OLD_KEY))[:-40],
}


@pytest.mark.parametrize("why", UNREADABLE)
def test_a_value_under_neither_key_refuses_the_run_and_is_named(cloudmake: CloudMake, why: str) -> None:
    add_metadata(cloudmake)
    lost = add_encrypted(cloudmake, UNREADABLE[why])

    result = rotate(cloudmake)

    assert result.status == "refused"
    assert str(lost) in (result.error or "")
    assert "planted" not in (result.error or "")
    assert cloudmake.count("maintenance.master_key_rotation") == 0
    assert cloudmake.value("SELECT count(*) FROM maintenance.ledger_event WHERE kind = 'batch'") == 0


def test_a_value_of_ours_that_was_copied_into_another_row_refuses_the_run(cloudmake: CloudMake) -> None:
    add_stored(cloudmake)
    cloudmake.connection.execute("UPDATE maintenance.stored_secret SET name = 'OTHER'")

    assert rotate(cloudmake).status == "refused"


def test_an_old_key_that_opens_nothing_refuses_the_run(cloudmake: CloudMake) -> None:
    set_keys(cloudmake, old=OTHER_KEY)
    add_metadata(cloudmake, NEW_KEY)

    result = rotate(cloudmake)

    assert result.status == "refused"
    assert "opens none of the 1 values" in (result.error or "")


def test_a_dry_run_counts_and_says_what_would_refuse_it(cloudmake: CloudMake) -> None:
    add_metadata(cloudmake)

    result = cloudmake.run(JOB, dry_run=True)

    assert (result.status, outcome(result, "secrets_metadata").matched) == ("success", 1)
    assert "confirm" in (result.would_refuse or "")
    assert under(cloudmake) == ["old"]
    assert (cloudmake.audit(), result.checks) == ([], ())


# In parts


@pytest.mark.parametrize("limit", [{"pages": 1, "batch": 2}, {"max_rows": 2}])
def test_a_part_is_done_and_the_next_run_goes_on(cloudmake: CloudMake, limit: dict[str, int]) -> None:
    for _ in range(3):
        add_metadata(cloudmake)
    add_stored(cloudmake)

    part = rotate(cloudmake, **limit)
    rest = rotate(cloudmake)

    assert (part.status, part.changed, verdicts(part)["one_master_key"]) == ("success", 2, False)
    assert "the next goes on" in " ".join(part.notes)
    assert (rest.status, rest.changed) == ("success", 2)
    assert cloudmake.count("maintenance.master_key_rotation", "verified_at IS NOT NULL") == 1


# What others do meanwhile


def test_a_row_that_changed_meanwhile_keeps_what_was_written_and_is_read_again(cloudmake: CloudMake) -> None:
    row = add_metadata(cloudmake)
    theirs = to_column(encrypt(b"theirs", OLD_KEY))

    result = _rotate_into(cloudmake, row, theirs)

    assert result.status == "success"
    assert opens(cloudmake) == [("new", "theirs")]


def _rotate_into(cloudmake: CloudMake, row: uuid.UUID, stored: str) -> RunResult:
    """Let another session change a row after the run has read it, and before it writes."""
    write = re_encryption.ReEncryption._write

    def change_first(self: re_encryption.ReEncryption, changes: object) -> int:
        with pytest.MonkeyPatch.context() as patch, psycopg.connect(cloudmake.url) as other:
            patch.setattr(re_encryption.ReEncryption, "_write", write)
            if self.progress.passes == 1 and self.table.name == "secrets_metadata":
                other.execute("UPDATE secrets_metadata SET encrypted_metadata = %s WHERE id = %s", [stored, row])
                other.commit()
            return write(self, changes)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(re_encryption.ReEncryption, "_write", change_first)
        return rotate(cloudmake)


def test_a_value_that_comes_under_the_old_key_meanwhile_is_found_by_the_next_pass(cloudmake: CloudMake) -> None:
    """Its id may lie before those that are read already."""
    add_metadata(cloudmake)
    write = re_encryption.ReEncryption._write

    def add_after(self: re_encryption.ReEncryption, changes: Any) -> int:
        written = write(self, changes)
        if self.progress.passes == 1 and written:
            cloudmake.insert("secrets_metadata", **late)
        return written

    late: dict[str, Any] = {name: uuid.UUID(int=0) for name in ("id", "project_id", "environment_id")}
    late |= {"name": "LATE", "encrypted_metadata": to_column(encrypt(b"late", OLD_KEY))}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(re_encryption.ReEncryption, "_write", add_after)
        result = rotate(cloudmake)

    assert (result.status, outcome(result, "secrets_metadata").details["passes"]) == ("success", 3)
    assert under(cloudmake) == ["new", "new"]


def test_something_that_goes_on_writing_under_the_old_key_is_told(cloudmake: CloudMake) -> None:
    add_metadata(cloudmake)
    write = re_encryption.ReEncryption._write

    def add_after(self: re_encryption.ReEncryption, changes: Any) -> int:
        written = write(self, changes)
        if written:
            add_metadata(cloudmake)
        return written

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(re_encryption.ReEncryption, "_write", add_after)
        patch.setattr(re_encryption, "MOST_PASSES", 3)
        result = rotate(cloudmake)

    assert result.status == "failed"
    assert "1 under the old one" in (result.error or "")


def test_a_row_that_is_held_is_waited_for_and_the_others_are_done(cloudmake: CloudMake) -> None:
    held, *_ = [add_metadata(cloudmake) for _ in range(4)]
    with psycopg.connect(cloudmake.url) as other:
        other.execute("SELECT FROM secrets_metadata WHERE id = %s FOR UPDATE", [held])

        result = rotate(cloudmake)

    assert result.status == "failed"
    assert "1 values of secrets_metadata are under the old key still" in (result.error or "")
    assert under(cloudmake) == ["new", "new", "new", "old"]
    assert rotate(cloudmake).status == "success"
    assert under(cloudmake) == ["new"] * 4


def test_two_runs_at_once_do_it_once(cloudmake: CloudMake) -> None:
    for _ in range(30):
        add_metadata(cloudmake)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: rotate(cloudmake, batch=3), range(2)))

    assert "success" in {result.status for result in results}
    assert sum(result.changed for result in results) == 30
    assert under(cloudmake) == ["new"] * 30
    assert len(cloudmake.audit()) == 2


def test_two_that_hold_no_lock_of_the_job_write_each_value_once(cloudmake: CloudMake) -> None:
    """As when one has lost its connection, and the job's lock with it, and goes on for a while."""
    for number in range(60):
        add_metadata(cloudmake, text=str(number))
    (table,) = (table for table in ENCRYPTED if table.name == "secrets_metadata")

    def work(_: int) -> int:
        engine = open_engine(cloudmake.url, variable="URL", application_name="one")
        with Database(engine) as database:
            re_encryption_of_one = re_encryption.ReEncryption(
                database=database,
                keyring=Keyring(KEYS["new"], KEYS["old"]),
                table=table,
                batch=7,
                on_written=lambda connection, written: None,
                say=lambda done: None,
            )
            return re_encryption_of_one.run().written

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(work, range(2))) == 60
    assert sorted(opens(cloudmake)) == sorted(("new", str(number)) for number in range(60))


def test_the_age_of_the_key_is_judged_by_the_last_rotation(cloudmake: CloudMake) -> None:
    add_metadata(cloudmake)
    rotate(cloudmake)
    later = {"as_of": cloudmake.ago(days=-366)}

    assert verdicts(rotate(cloudmake))["master_key_age"]
    assert not verdicts(rotate(cloudmake, **later))["master_key_age"]
