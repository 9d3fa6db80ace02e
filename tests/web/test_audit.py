"""The audit log: each row linked to the one before it, whatever was altered found."""

import threading

import psycopg
import pytest

from cath_dagster.web import audit
from cath_dagster.web.audit import Fault, Head
from cath_dagster.web.rights import Action
from tests.web.world import ROOT, World

REHASHED = (
    "UPDATE operations.audit_log AS a SET actor = 'eve' WHERE sequence = 3;"
    " UPDATE operations.audit_log AS a SET hash = encode(sha256(convert_to(operations.audit_text(a), 'UTF8')), 'hex')"
    " WHERE sequence = 3"
)
"""With its own hash as it should be; the next row does not follow then."""


def fill(world: World, count: int = 5) -> None:
    with world.console.engine.begin() as connection:
        for number in range(count):
            audit.append(
                connection,
                ROOT,
                Action.RUN,
                audit.Subject("cath", "clear_audit", f"run {number}"),
                reason=None if number % 2 else "wörter, 1:2",
                parameters={"b": number, "a": [1.50, None]},
            )


def verified(world: World, kept: Head | None = None) -> Fault | None:
    with world.console.engine.connect() as connection:
        return audit.verify(connection, kept)


def tamper(world: World, statement: str) -> None:
    """Do what only the tables' owner can, and by intent alone."""
    world.instance.connection.execute(
        f"SET session_replication_role = replica; {statement}; RESET session_replication_role"
    )


def test_an_untouched_log_has_no_fault_and_its_head_is_in_it(world: World) -> None:
    assert verified(world) is None
    fill(world)

    with world.console.engine.connect() as connection:
        head = audit.read_head(connection)

    assert head.sequence == 5
    assert verified(world, head) is None


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE operations.audit_log SET actor = 'eve' WHERE sequence = 3", 3),
        ("UPDATE operations.audit_log SET reason = '' WHERE sequence = 2", 2),
        ("UPDATE operations.audit_log SET parameters = '{}' WHERE sequence = 4", 4),
        ("UPDATE operations.audit_log SET at = at + interval '1 microsecond' WHERE sequence = 1", 1),
        ("UPDATE operations.audit_log SET location = 'cathclear', job = '_audit' WHERE sequence = 2", 2),
        ("DELETE FROM operations.audit_log WHERE sequence = 3", 3),
        ("DELETE FROM operations.audit_log WHERE sequence = 1", 1),
        (REHASHED, 4),
    ],
)
def test_the_first_row_that_was_altered_or_is_missing_is_found(world: World, statement: str, fault: int) -> None:
    fill(world)

    tamper(world, statement)

    found = verified(world)
    assert found is not None
    assert found.sequence == fault


def test_rows_cut_off_at_the_end_are_found_by_the_head_that_was_kept(world: World) -> None:
    fill(world)
    with world.console.engine.connect() as connection:
        head = audit.read_head(connection)

    tamper(world, "DELETE FROM operations.audit_log WHERE sequence > 3")

    assert verified(world) is None
    assert verified(world, head) == Fault(4, "is missing: there were 5 rows when the head was kept")


def test_nobody_changes_it_by_mistake_not_even_its_owner(world: World) -> None:
    fill(world)

    for statement in ("UPDATE operations.audit_log SET actor = 'eve'", "TRUNCATE operations.audit_log"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="can only be added to"):
            world.instance.connection.execute(statement)


def test_whoever_adds_a_row_chooses_neither_its_place_nor_its_instant(world: World) -> None:
    fill(world, 2)

    world.instance.connection.execute(
        "INSERT INTO operations.audit_log (sequence, at, actor, origin, action, result, previous_hash, hash)"
        " VALUES (99, '2000-01-01', 'eve', '', 'run', 'done', 'x', 'y')"
    )

    assert verified(world) is None
    assert world.instance.value("SELECT max(sequence) FROM operations.audit_log") == 3
    assert world.instance.count("operations.audit_log", "at < '2020-01-01'") == 0


def test_two_who_write_at_once_are_written_one_after_the_other(world: World) -> None:
    barrier = threading.Barrier(4)

    def write() -> None:
        barrier.wait()
        for _ in range(5):
            fill(world, 1)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert verified(world) is None
    assert world.instance.count("operations.audit_log") == 20
