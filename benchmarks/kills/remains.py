"""What a run leaves: rows, files and mails, in a form in which two runs can be held against each other."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from cath_dagster.core.maintenance.tables import SCHEMA
from cath_dagster.development.simulators.outside import Outside

Row = tuple[str | None, ...]
RUN, NEW = "<run>", "<new>"
OURS: Mapping[str, LiteralString] = {
    # What a run says of itself differs from run to run; what it did to the rows may not.
    "ledger": """
        SELECT job, table_name, rule, sum(deleted), sum(archived), sum(updated) FROM maintenance.ledger_event
        WHERE kind = 'batch' AND NOT dry_run GROUP BY 1, 2, 3 HAVING sum(deleted + archived + updated) > 0""",
    "deleted_key": "SELECT table_name, key FROM maintenance.deleted_key",
    "file_outbox": "SELECT job, path, table_name, row_key, due_at FROM maintenance.file_outbox",
    "archived_rows": """
        SELECT job, table_name, rule, keep_until, columns::text, reference::text, each::text
        FROM maintenance.archived_rows, json_array_elements(rows) AS each""",
    "restored_row": "SELECT job, table_name, key FROM maintenance.restored_row",
    "sent_notice": "SELECT job, subject_id, kind, period_start, status FROM maintenance.sent_notice",
    "view_state": "SELECT view_name, definition, row_count FROM maintenance.view_state",
}
LEFT_OUT = ("ledger_event", "purge_ledger", "alembic_version", *OURS)


@dataclass(frozen=True)
class Table:
    """The rows of one table, as text, by the names of its columns."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Mail:
    """One message as its recipient may see it; by `message_id` a mail program knows one that came before."""

    recipient: str
    content: str
    message_id: str


@dataclass(frozen=True)
class Remains:
    """All that is left after a job was run, or run again until it was done."""

    tables: Mapping[str, Table]
    files: Mapping[str, str]
    mails: tuple[Mail, ...]


@dataclass(frozen=True)
class Volatile:
    """What differs between two undisturbed runs: columns, such as the instant of a deletion, and files that name it."""

    columns: Mapping[str, frozenset[str]] = field(default_factory=dict)
    files: frozenset[str] = frozenset()

    def files_of(self, remains: Remains) -> Counter[Row]:
        """Return every file that is left, with its content's digest unless that differs by itself."""
        return Counter((path, None if path in self.files else digest) for path, digest in remains.files.items())

    def rows_of(self, remains: Remains, name: str) -> Counter[Row]:
        """Return a table's rows without the columns that differ by themselves."""
        table = remains.tables[name]
        hidden = self.columns.get(name, frozenset())
        kept = [place for place, column in enumerate(table.columns) if column not in hidden]
        return Counter(tuple(row[place] for place in kept) for row in table.rows)


def read_tables(url: str, run_ids: Sequence[str], newest: Mapping[str, int]) -> dict[str, Table]:
    """Return every table, view and account of ours; run ids and keys from a sequence are made alike.

    `newest` holds by table the last key of its sequence before the run.
    """
    found: dict[str, Table] = {}
    with psycopg.connect(url) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        for schema, name in _relations(connection):
            query = sql.SQL("SELECT * FROM {}").format(sql.Identifier(schema, name))
            found[f"{schema}.{name}"] = _read(connection, query)
        for name, text in OURS.items() if any(name.startswith(f"{SCHEMA}.") for name in found) else ():
            found[f"{SCHEMA}.{name}"] = _read(connection, sql.SQL(text))
    serial = {name: column for name, (column, _) in _serials(url).items()}
    return {name: _alike(table, run_ids, serial.get(name), newest.get(name, 0)) for name, table in found.items()}


def read_newest(url: str) -> dict[str, int]:
    """Return by table the last key that its sequence has given."""
    return {name: last for name, (_, last) in _serials(url).items()}


def read_files(folders: Iterable[Path], run_ids: Sequence[str]) -> dict[str, str]:
    """Return the digest of every file by its path."""
    return {
        _without(run_ids, f"{folder.name}/{path.relative_to(folder)}"): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read_mails(outside: Outside, run_ids: Sequence[str]) -> tuple[Mail, ...]:
    """Return the messages that the mail provider and the mail server took."""
    by_notify = (
        Mail(
            mail.email_address,
            f"{mail.template_id} {sorted((k, str(v)) for k, v in mail.personalisation.items() if k != 'link_to_file')}",
            f"{mail.reference} {mail.id}",
        )
        for mail in outside.notify.sent
    )
    by_smtp = (Mail(mail.recipient, f"{mail.subject} {mail.text}", mail.message_id) for mail in outside.smtp.sent)
    return tuple(
        Mail(mail.recipient, _without(run_ids, mail.content), _without(run_ids, mail.message_id))
        for mail in (*by_notify, *by_smtp)
    )


def find_volatile(one: Remains, other: Remains) -> Volatile:
    """Return what two undisturbed runs differ in."""
    differing: dict[str, frozenset[str]] = {}
    for name, table in one.tables.items():
        beside = other.tables[name]
        columns = {
            column
            for place, column in enumerate(table.columns)
            if Counter(row[place] for row in table.rows) != Counter(row[place] for row in beside.rows)
        }
        differing[name] = frozenset(columns)
    files = frozenset(path for path, digest in one.files.items() if other.files.get(path) != digest)
    return Volatile(differing, files)


def _relations(connection: psycopg.Connection[Row]) -> list[tuple[str, str]]:
    rows = connection.execute(
        """
        SELECT nspname, relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE nspname IN ('public', %s) AND relkind IN ('r', 'm', 'p') AND NOT relispartition ORDER BY 1, 2
        """,
        [SCHEMA],
    ).fetchall()
    return [(str(schema), str(name)) for schema, name in rows if schema != SCHEMA or name not in LEFT_OUT]


def _serials(url: str) -> dict[str, tuple[str, int]]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            """
            SELECT nspname || '.' || relname, attname, coalesce(pg_sequence_last_value(sequence.oid), 0)
            FROM pg_class AS relation JOIN pg_namespace ON pg_namespace.oid = relnamespace
            JOIN pg_attribute ON attrelid = relation.oid AND attnum > 0 AND NOT attisdropped
            CROSS JOIN LATERAL (
                SELECT to_regclass(pg_get_serial_sequence(format('%I.%I', nspname, relname), attname))::oid AS oid
            ) AS sequence
            WHERE nspname IN ('public', 'maintenance') AND relkind IN ('r', 'p') AND sequence.oid IS NOT NULL
            """
        ).fetchall()
    return {name: (column, last) for name, column, last in rows}


def _read(connection: psycopg.Connection[Row], query: sql.Composable) -> Table:
    cursor = connection.cursor()
    inner = sql.SQL("SELECT (SELECT array_agg(value) FROM json_each_text(row_to_json(q))) FROM ({}) AS q")
    names = [column.name for column in cursor.execute(sql.SQL("{} LIMIT 0").format(query)).description or ()]
    rows = cursor.execute(inner.format(query)).fetchall()
    return Table(tuple(names), tuple(tuple(values or ()) for (values,) in rows))


def _alike(table: Table, run_ids: Sequence[str], serial: str | None, newest: int) -> Table:
    place = table.columns.index(serial) if serial in table.columns else None

    def change(at: int, value: str | None) -> str | None:
        if value is None:
            return None
        return NEW if at == place and int(value) > newest else _without(run_ids, value)

    return Table(table.columns, tuple(tuple(change(at, value) for at, value in enumerate(row)) for row in table.rows))


def _without(run_ids: Sequence[str], text: str) -> str:
    for run_id in run_ids:
        text = text.replace(run_id, RUN)
    return text
