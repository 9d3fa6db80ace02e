"""What a session of ours sets for itself, whatever the server, the database or the role has set for it.

Everything by which a statement of ours would mean something else, harm what is not ours or end before its time stands
here; what is not here a test names with the reason why it may be as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

SERVICE = "public"
"""The schema of the maintained tables."""


@dataclass(frozen=True, kw_only=True)
class Pin:
    """A setting and the value that it has for the length of a session; one that the server does not know is passed over."""

    name: str
    value: str
    why: str
    also: tuple[str, ...] = ()
    """Other values that serve as well, and are let be."""
    expression: str | None = None
    """How the server computes the value, where it depends on what is set."""
    is_privileged: bool = False
    """Whether only a superuser may set it: with another value the session is refused to anybody else."""


_FINDING_ROWS = "Without it a batch reads a table as a whole, and a purge as often as it has batches."
_UNASKED = "What a role's clients may take says nothing of a scan that every run begins and ends with."
_AS_TEXT = "The driver, and what is archived, know values in this form only."

# Of "$user" a schema named as the role stands before `public`; what a service's triggers and operators need further
# back, such as a schema of extensions, stays there.
_SEARCH_PATH = (
    "SELECT 'public' || coalesce(pg_catalog.string_agg(', ' || pg_catalog.quote_ident(name), '' ORDER BY place), '')"
    " || ', pg_temp' FROM pg_catalog.unnest(pg_catalog.current_schemas(false)) WITH ORDINALITY AS path (name, place)"
    " WHERE name NOT IN ('public', 'pg_catalog', current_user) AND name NOT LIKE 'pg\\_temp%'"
)

PINS: Sequence[Pin] = (
    # What a statement means.
    Pin(
        name="search_path",
        value="public, then what else is set but for the role's own schema, then pg_temp",
        why="A table in a schema named as the role must not be taken for the service's own.",
        expression=_SEARCH_PATH,
    ),
    Pin(
        name="row_security",
        value="off",
        why="The server refuses a statement from which a policy would hide rows, in place of hiding them.",
    ),
    Pin(
        name="default_transaction_isolation",
        value="read committed",
        why="A row that was rescued while a batch waited for its lock survives by being looked at anew.",
    ),
    Pin(
        name="default_transaction_read_only",
        value="off",
        why="Privileges say who may write; a default would stop every run, and stops nobody who sets it otherwise.",
    ),
    Pin(
        name="default_transaction_deferrable",
        value="off",
        why="A serializable look would wait for as long as others write.",
    ),
    Pin(
        name="session_replication_role",
        value="origin",
        why="As a replica the server skips foreign keys and triggers: children would stay, and audits be empty.",
        is_privileged=True,
    ),
    Pin(
        name="zero_damaged_pages",
        value="off",
        why="A damaged page is the administrator's to look at, and not for a purge to wipe.",
        is_privileged=True,
    ),
    Pin(
        name="ignore_checksum_failure",
        value="off",
        why="What is read from a damaged page decides what is deleted.",
        is_privileged=True,
    ),
    Pin(
        name="composite_type_mismatch",
        value="error",
        why="A row type that was altered is read as garbage otherwise, and might be archived as that.",
        is_privileged=True,
    ),
    Pin(
        name="transform_null_equals", value="off", why="`= NULL` finds nothing; with it on it finds what IS NULL does."
    ),
    Pin(
        name="gin_fuzzy_search_limit", value="0", why="Above a limit an index answers with some of the rows, at random."
    ),
    Pin(name="array_nulls", value="on", why="Off, a NULL in an array that we pass becomes the word."),
    Pin(
        name="restrict_nonsystem_relation_kind",
        value="",
        why="It may refuse the views in which the ledger and the reports are read.",
    ),
    # What values look like on their way.
    Pin(
        name="client_encoding",
        value="UTF8",
        why="Text that comes as bytes, or in letters of another alphabet, is no text.",
    ),
    Pin(
        name="TimeZone",
        value="UTC",
        why="Defaults such as CURRENT_TIMESTAMP go into naive columns by the session's time zone.",
    ),
    Pin(name="DateStyle", value="ISO, YMD", why=_AS_TEXT),
    Pin(name="IntervalStyle", value="postgres", why=_AS_TEXT),
    Pin(name="bytea_output", value="hex", why=_AS_TEXT),
    Pin(
        name="extra_float_digits",
        value="1",
        also=("2", "3"),
        why="With fewer digits a float comes back as another number.",
    ),
    Pin(name="xmloption", value="content", why="As documents, fragments of XML could not be put back."),
    Pin(
        name="standard_conforming_strings",
        value="on",
        why="A backslash in a text of ours would be read as an escape, and a quote after it as the text's end.",
    ),
    Pin(name="quote_all_identifiers", value="off", why="What the catalogue writes is compared with what we write."),
    # What ends work that nobody asked to end, and what must end.
    Pin(name="statement_timeout", value="0", why=_UNASKED),
    Pin(name="transaction_timeout", value="0", why=_UNASKED),
    Pin(
        name="idle_session_timeout",
        value="0",
        why="While mails go out the session waits, and holds the lock by which a second run is kept away.",
    ),
    Pin(
        name="exit_on_error",
        value="off",
        why="A batch that a deadlock ends is tried again; with the session the lock goes.",
    ),
    Pin(
        name="lock_timeout",
        value="5s",
        why="A batch that waits longer stands in somebody's way as well: it is rolled back and tried again.",
    ),
    Pin(
        name="idle_in_transaction_session_timeout",
        value="60s",
        why="A worker that lost its network must not hold row locks for ever.",
    ),
    Pin(
        name="client_connection_check_interval",
        value="2s",
        why="The server notices in the midst of a statement that its client is gone.",
    ),
    Pin(
        name="synchronous_commit",
        value="on",
        also=("local", "remote_write", "remote_apply"),
        why="A claim must outlive a crash before its mail goes; only batches, which flush, do without.",
    ),
    # What makes the work as long as the table times the table.
    Pin(name="enable_tidscan", value="on", why=_FINDING_ROWS),
    Pin(name="enable_indexscan", value="on", why=_FINDING_ROWS),
    Pin(name="enable_bitmapscan", value="on", why=_FINDING_ROWS),
    Pin(name="enable_nestloop", value="on", why=_FINDING_ROWS),
    Pin(name="enable_hashjoin", value="on", why="Without it the rows without a partner are sought pair by pair."),
    Pin(name="enable_partition_pruning", value="on", why="The planner says which partitions a purge need not walk."),
    # What our own tables are made of.
    Pin(
        name="default_table_access_method",
        value="heap",
        why="In a store made for columns our tables could not be changed row by row.",
    ),
)

UNKNOWN_ENCODING = "SQL_ASCII"
"""A database of this encoding takes any bytes for text, and knows of none what letter it is."""
