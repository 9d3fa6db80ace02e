"""A batch that goes beyond its limits is tried again in parts, and what stays locked holds up nothing else."""

import threading
from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest

from cath_dagster.core.errors import DatabaseStatementError
from cath_dagster.core.model.purge import Purge
from cath_dagster.core.model.settings import Pace
from cath_dagster.core.postgres.database import Limits
from cath_dagster.core.purge.pace import PACE_LIMITS, Pacer
from tests.support.entries import WAYS, Entries, keyed, old_entries
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.both_versions

HASTY = replace(PACE_LIMITS[Pace.BULK], limits=Limits(lock_seconds=0.03, statement_seconds=0.2))


def hasty(entries: Entries) -> Pacer:
    return Pacer(HASTY, sleep=entries.rests.append)


@WAYS
def test_deletes_everything_but_a_row_that_another_never_lets_go(
    entries: Entries, monkeypatch: pytest.MonkeyPatch, way: Callable[[], Purge]
) -> None:
    monkeypatch.setattr("cath_dagster.core.purge.batch_runner.SINGLE_ROW", HASTY.limits)
    entries.fill(2_000)

    with psycopg.connect(entries.url) as other:
        other.execute("SELECT * FROM entry WHERE id = 300 FOR UPDATE")
        progress = entries.purger(pacer=hasty(entries)).delete(way(), limit=None)

    assert entries.ids() == [300]
    assert progress.gave_up
    assert progress.passed_over == 1
    assert progress.changed == entries.ledger_sum() == 1_999
    assert 7 <= sum(entries.rests) <= 20


@WAYS
def test_takes_a_row_that_is_let_go_before_the_last_pass(
    entries: Entries, monkeypatch: pytest.MonkeyPatch, way: Callable[[], Purge]
) -> None:
    monkeypatch.setattr("cath_dagster.core.purge.batch_runner.SINGLE_ROW", HASTY.limits)
    entries.fill(200)

    with psycopg.connect(entries.url) as other:
        other.execute("SELECT * FROM entry WHERE id = 30 FOR UPDATE")
        pacer = Pacer(HASTY, sleep=lambda seconds: other.rollback())
        progress = entries.purger(pacer=pacer).delete(way(), limit=None)

    assert entries.ids() == []
    assert not progress.gave_up
    assert progress.timeouts > 0
    assert "locked rows: 1" in str(pacer.summary()["backed_off"])


@WAYS
def test_spares_a_row_that_is_rescued_while_it_is_passed_over(
    entries: Entries, monkeypatch: pytest.MonkeyPatch, way: Callable[[], Purge]
) -> None:
    monkeypatch.setattr("cath_dagster.core.purge.batch_runner.SINGLE_ROW", HASTY.limits)
    entries.fill(200)

    with psycopg.connect(entries.url) as other:
        other.execute("UPDATE entry SET seen_at = now() WHERE id = 30")
        pacer = Pacer(HASTY, sleep=lambda seconds: other.commit())
        progress = entries.purger(pacer=pacer).delete(way(), limit=None)

    assert entries.ids() == [30]
    assert not progress.gave_up
    assert entries.ledger_sum() == 199


@WAYS
def test_goes_on_in_smaller_parts_where_a_batch_takes_too_long(entries: Entries, way: Callable[[], Purge]) -> None:
    entries.fill(400)
    # From the 100th row on each takes 10 ms, so that a batch of what was affordable before never ends in time.
    entries.sql.execute(
        "CREATE SEQUENCE deletions; CREATE FUNCTION tire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF nextval('deletions') > 100 THEN PERFORM pg_sleep(0.01); END IF; RETURN OLD; END $$;"
        "CREATE TRIGGER tire BEFORE DELETE ON entry FOR EACH ROW EXECUTE FUNCTION tire()"
    )
    entries.sql.execute("DELETE FROM entry WHERE id > 250")
    entries.sql.execute("ALTER SEQUENCE deletions RESTART")

    progress = entries.purger(pacer=hasty(entries)).delete(way(), limit=None)

    assert entries.count("entry") == 0
    assert progress.changed == entries.ledger_sum() == 250
    assert max(entries.batch_sizes()) < 100 + 20


def test_a_statement_that_an_administrator_cancels_ends_the_run(entries: Entries) -> None:
    entries.fill(200)
    entries.on_delete("PERFORM pg_cancel_backend(pg_backend_pid()); PERFORM pg_sleep(1)", at=50)

    with pytest.raises(DatabaseStatementError, match="57014"):
        entries.purger().delete(old_entries(), limit=None)

    assert entries.ledger_sum() + entries.count("entry") == 200


def test_the_limits_of_batches_bind_no_other_statement(entries: Entries) -> None:
    entries.fill(50)
    entries.purger(pacer=hasty(entries)).delete(keyed(), limit=None)
    usual = entries.database.transaction(
        lambda connection: connection.exec_driver_sql("SELECT current_setting('statement_timeout')").scalar()
    )
    slow = entries.database.transaction(
        lambda connection: connection.exec_driver_sql("SELECT pg_sleep(0.3), 1").one()[1]
    )

    assert (usual, slow) == ("0", 1)


def test_others_get_the_lock_of_a_row_while_a_batch_waits_for_another(entries: Entries) -> None:
    """A batch holds the locks of the rows it has deleted: it must not wait long for one more."""
    entries.fill(100)
    served = threading.Event()

    with psycopg.connect(entries.url) as holder, psycopg.connect(entries.url, autocommit=True) as user:
        holder.execute("SELECT * FROM entry WHERE id = 90 FOR UPDATE")

        def touch() -> None:
            user.execute("UPDATE entry SET note = 'touched' WHERE id = 1")
            served.set()
            holder.rollback()

        touching = threading.Thread(target=touch)
        entries.sql.execute("ALTER TABLE entry SET (autovacuum_enabled = off)")
        touching.start()
        entries.purger(pacer=hasty(entries)).delete(old_entries(), limit=None)
        touching.join(timeout=PATIENCE_SECONDS)

    assert served.is_set()
    assert entries.count("entry") == 0
