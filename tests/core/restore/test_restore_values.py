"""Values of every type that a table can have come back bit for bit, and so do rows of every shape."""

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
import sqlalchemy as sa

from cath_dagster.core.archive.obstacles import PERSONAL
from cath_dagster.core.model.outcome import Status
from cath_dagster.core.model.purge import Child, Purge
from tests.support.undo_database import OLD_THINGS, UndoDatabase

ALONE = replace(OLD_THINGS, children=())
OWN_TYPES = """
CREATE TYPE mood AS ENUM ('sad', 'it''s "ok"', 'ö,{}');
CREATE TYPE pair AS (number int, word text);
CREATE TYPE nest AS (first pair, many pair[], span int4range, at timestamptz);
CREATE DOMAIN short AS varchar(5) CHECK (VALUE <> '');
CREATE DOMAIN shorter AS short CHECK (length(VALUE) < 4);
CREATE DOMAIN many AS int[] CHECK (array_length(VALUE, 1) < 9);
CREATE DOMAIN whole AS pair CHECK ((VALUE).number > 0);
CREATE TYPE floatrange AS RANGE (subtype = float8, subtype_diff = float8mi, multirange_type_name = floatmultirange);
CREATE TYPE textrange AS RANGE (subtype = text, collation = "C");
"""
VALUES: dict[str, tuple[str, ...]] = {
    "smallint": ("-32768", "32767"),
    "integer": ("-2147483648", "0"),
    "bigint": ("9223372036854775807", "-9223372036854775808"),
    "numeric": ("-0.000000000000000000000000000001", "NaN", "-Infinity", "1" * 200),
    "numeric(10, 2)": ("12.30", "-0.01"),
    "numeric(3, -2)": ("12300", "-99900"),
    "real": ("0.1", "16777217", "-0", "NaN"),
    "double precision": ("0.1", "-0", "5e-324", "1.7976931348623157e308", "-Infinity"),
    "money": ("1234.56", "-92233720368547758.08"),
    "text": ("", "null", "two\nlines\ttab \x01 \\ %s %(x)s :name 'q' \"q\"", "żółć 🙂 \u2028 e\u0301"),
    "varchar": ("ab   ", " "),
    "varchar(5)": ("ab   ", "abcde"),
    "char(5)": ("ab", ""),
    "bpchar": ("ab   ", " "),
    '"char"': ("x",),
    "name": ("a name", "select"),
    "bytea": ("\\x", "\\x00ff275c"),
    "boolean": ("t", "f"),
    "bit(3)": ("101", "000"),
    "bit varying": ("1", "10101010101"),
    "date": ("2026-02-28", "infinity", "0044-03-15 BC", "20265-01-01"),
    "time": ("23:59:59.999999", "24:00:00"),
    "time(3)": ("12:00:00.123",),
    "timetz": ("12:00:00+05:30", "24:00:00-15:59:59"),
    "timestamp": ("2026-03-29 02:30:00.123456", "-infinity", "20265-01-01", "0001-01-01 BC"),
    "timestamp(3)": ("2026-03-29 02:30:00.123",),
    "timestamptz": ("2026-10-25 02:30:00+02", "2026-10-25 02:30:00+01", "infinity", "0001-01-01 00:00:00+00 BC"),
    "interval": ("1 year -2 mons +3 days -04:05:06.7", "-1 day", "infinity"),
    "interval year to month": ("3 years 2 mons",),
    "uuid": ("6d1f2e0a-7a6e-4b56-9a5b-0c7f3b1f9c11",),
    "json": ("null", '{"b": 1, "a": [1, 2.50, "\\u00e9"], "b": 2}', " [1 ] "),
    "jsonb": ("null", '"null"', '{"a": {"b": null}}', "12345678901234567890.1230"),
    "jsonpath": ("$.a[*] ? (@.b > 1)", "strict $"),
    "xml": ("<a b='c'>text</a>", "words <b/> only"),
    "inet": ("10.0.0.1", "10.0.0.0/8", "::1/64"),
    "cidr": ("10.0.0.0/8", "2001:db8::/32"),
    "macaddr": ("08:00:2b:01:02:03",),
    "macaddr8": ("08:00:2b:01:02:03:04:05",),
    "point": ("(0.1,-2)", "(Infinity,NaN)"),
    "line": ("{1,-1,0.1}",),
    "lseg": ("[(0,0.1),(1,1)]",),
    "box": ("(1,1),(0,0.1)",),
    "path": ("[(0,0),(1,0.1)]", "((0,0),(1,1))"),
    "polygon": ("((0,0),(1,0.1),(1,1))",),
    "circle": ("<(0,0.1),2>",),
    "tsvector": ("'a':1A 'cat':5 'it''s':2B,3",),
    "tsquery": ("'a' & !'b' <2> 'c':*A",),
    "pg_lsn": ("16/B374D848",),
    "pg_snapshot": ("10:20:10,14,15",),
    "txid_snapshot": ("10:20:10,14,15",),
    "xid": ("4294967295",),
    "xid8": ("18446744073709551615",),
    "cid": ("7",),
    "tid": ("(42,7)",),
    "oid": ("4294967295",),
    "oidvector": ("1 2 3", ""),
    "int2vector": ("1 2 3",),
    "regclass": ("pg_class", "987654321"),
    "regtype": ("integer", "timestamp with time zone"),
    "regproc": ("now",),
    "regprocedure": ("abs(integer)",),
    "regoper": ("|/",),
    "regoperator": ("+(integer,integer)",),
    "regrole": ("pg_monitor",),
    "regnamespace": ("public",),
    "regcollation": ('"C"',),
    "regconfig": ("english",),
    "regdictionary": ("simple",),
    "refcursor": ("a cursor",),
    "int4range": ("[1,5)", "empty", "(,)"),
    "int8range": ("(,9223372036854775807)",),
    "numrange": ("(0.10,0.2]",),
    "daterange": ("[2026-01-01,infinity)",),
    "tsrange": ('["2026-01-01 00:00:00.1",)',),
    "tstzrange": ('("0001-01-01 00:00:00+00 BC",infinity]',),
    "floatrange": ("[0.1,0.3)",),
    "textrange": ('["a,b","c\\"d")',),
    "int4multirange": ("{[1,2),[5,9)}", "{}"),
    "int8multirange": ("{(,5)}",),
    "nummultirange": ("{[0.1,0.10]}",),
    "datemultirange": ("{[2026-01-01,2026-01-02)}",),
    "tsmultirange": ("{[2026-01-01,2026-01-02]}",),
    "tstzmultirange": ("{[2026-01-01 00:00+00,)}",),
    "floatmultirange": ("{[0.1,0.3),[1,2]}",),
    "mood": ("sad", 'it\'s "ok"'),
    "pair": ('(1,"a,b")', "(,)", '(,"")'),
    "nest": ('("(1,""x y"")","{""(2,)"",""(,)""}","[1,2)","infinity")', "(,,,)"),
    "short": ("abc", "x "),
    "shorter": ("ab ",),
    "many": ("{1,NULL}",),
    "whole": ('(1,"w")',),
    "integer[]": ("{}", "{1,NULL,3}", "{{1,2},{3,4}}", "[0:1]={5,6}"),
    "text[]": (r'{NULL,"NULL","","a,b","x\\y","\"quoted\""}',),
    "varchar(3)[]": ('{"a  ",b}',),
    "bpchar[]": ('{"a  ",b}',),
    "numeric[]": ("{1.10,NaN}",),
    "double precision[]": ("{0.1,-0,NaN}",),
    "boolean[]": ("{t,NULL,f}",),
    "uuid[]": ("{6d1f2e0a-7a6e-4b56-9a5b-0c7f3b1f9c11}",),
    "date[]": ("{-infinity,2026-01-01}",),
    "timestamptz[]": ('{"2026-10-25 02:30:00+02"}',),
    "interval[]": ('{"1 mon -1 day"}',),
    "bytea[]": (r'{"\\x00ff"}',),
    "jsonb[]": (r'{"{\"a\": null}"}',),
    "json[]": (r'{" {\"a\" :1}"}',),
    "inet[]": ("{10.0.0.1,::1}",),
    "point[]": ('{"(0.1,2)"}',),
    "box[]": ("{(1,1),(0,0);(2,2),(1,1)}",),
    "money[]": ('{"1.10"}',),
    "int4range[]": ('{"[1,2)",empty}',),
    "int4multirange[]": ('{"{[1,2),[3,4)}"}',),
    "tsvector[]": (r"""{"'a':1"}""",),
    "mood[]": ('{sad,"ö,{}"}',),
    "pair[]": (r'{"(1,\"a,b\")",NULL,"(,)"}',),
    "short[]": ("{abc}",),
    "nest[]": (r'{"(,\"{\"\"(2,)\"\"}\",empty,)"}',),
}
EXTENSIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "citext": {"citext": ("MiXed", "")},
    "hstore": {"hstore": ('"a"=>NULL, "b c"=>"\\"d\\""', "")},
    "ltree": {"ltree": ("a.b.c",), "lquery": ("*.b{,2}",)},
    "cube": {"cube": ("(1,2),(3,4)",)},
    "isn": {"isbn13": ("978-0-306-40615-7",)},
    "seg": {"seg": ("1.5(+-)0.2",)},
}


@pytest.fixture
def undoable(cath_url: str) -> Iterator[UndoDatabase]:
    with UndoDatabase.open(cath_url) as opened:
        yield opened


def undo(undoable: UndoDatabase, *tables: str, purge: Purge) -> None:
    queries = [f"SELECT record_send({table}) FROM {table} ORDER BY 1" for table in tables]
    before = [undoable.rows(query) for query in queries]
    undoable.purge(purge)
    assert [undoable.rows(query) for query in queries] != before

    result = undoable.restore()

    assert (result.status, result.error) == (Status.SUCCESS, None)
    assert [undoable.rows(query) for query in queries] == before


def add_columns(undoable: UndoDatabase, kinds: dict[str, tuple[str, ...]]) -> None:
    """Give `thing` a column of each type, and as many rows as a type has values; the last row has none."""
    columns = {f"c{number}": kind for number, kind in enumerate(kinds)}
    undoable.sql.execute(
        f"ALTER TABLE thing {', '.join(f'ADD COLUMN {name} {kind}' for name, kind in columns.items())}"
    )
    for row in range(max(map(len, kinds.values())) + 1):
        given = {name: kinds[kind][row] for name, kind in columns.items() if row < len(kinds[kind])}
        names = ", ".join(["id", *given])
        values = ", ".join([str(row + 1), *(f"CAST(%s AS {columns[name]})" for name in given)])
        undoable.sql.execute(f"INSERT INTO thing ({names}) VALUES ({values})", list(given.values()))


def has_xml(undoable: UndoDatabase) -> bool:
    """Return whether the server was built with XML."""
    try:
        undoable.sql.execute("SELECT xml '<a/>'")
    except psycopg.errors.FeatureNotSupported:
        return False
    return True


def test_brings_back_the_values_of_a_hundred_types_bit_for_bit(undoable: UndoDatabase) -> None:
    undoable.sql.execute(OWN_TYPES)
    kinds = {kind: values for kind, values in VALUES.items() if kind != "xml" or has_xml(undoable)}
    assert len(kinds) >= 100
    add_columns(undoable, kinds)

    undo(undoable, "thing", purge=ALONE)


def test_brings_back_the_values_of_the_types_that_extensions_have(undoable: UndoDatabase) -> None:
    there = {name for (name,) in undoable.rows("SELECT name FROM pg_available_extensions")}
    usable = [name for name in EXTENSIONS if name in there]
    if not usable:
        pytest.skip("this server has no extensions with types")
    for name in usable:
        undoable.sql.execute(f"CREATE EXTENSION {name}")
    add_columns(undoable, {kind: values for name in usable for kind, values in EXTENSIONS[name].items()})

    queries = "SELECT thing::text FROM thing ORDER BY id"
    before = undoable.rows(queries)
    undoable.purge(ALONE)
    undoable.restore()

    assert undoable.rows(queries) == before


def test_brings_back_a_row_of_as_many_columns_as_a_table_can_have(undoable: UndoDatabase) -> None:
    undoable.sql.execute("ALTER TABLE thing " + ", ".join(f"ADD COLUMN c{number} int2" for number in range(1587)))
    undoable.sql.execute("INSERT INTO thing (id, c0, c1586) VALUES (1, 5, 6)")

    undo(undoable, "thing", purge=ALONE)


def test_brings_back_rows_of_megabytes(undoable: UndoDatabase) -> None:
    undoable.sql.execute(
        "INSERT INTO thing (id, note) SELECT n, repeat(md5(n::text), 100000) FROM generate_series(1, 3) AS n"
    )

    undo(undoable, "thing", purge=ALONE)


def test_brings_back_identities_and_computes_generated_columns(undoable: UndoDatabase) -> None:
    undoable.sql.execute(
        "CREATE TABLE stamp (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, is_old boolean DEFAULT true,"
        " twice int GENERATED ALWAYS AS (number * 2) STORED, number int GENERATED BY DEFAULT AS IDENTITY,"
        " at timestamptz DEFAULT clock_timestamp())"
    )
    undoable.sql.execute("INSERT INTO stamp (number) SELECT generate_series(5, 9)")
    stamp = sa.Table(
        "stamp", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("is_old", sa.Boolean)
    )

    undo(undoable, "stamp", purge=replace(ALONE, table=stamp, predicate=stamp.c.is_old))


def test_brings_back_what_went_by_a_cascade_of_four_levels(undoable: UndoDatabase) -> None:
    undoable.sql.execute("CREATE TABLE dust (id int PRIMARY KEY, crumb_id int REFERENCES crumb ON DELETE CASCADE)")
    undoable.fill(3)
    undoable.sql.execute("INSERT INTO dust SELECT id, id FROM crumb")
    dust = sa.Table(
        "dust",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("crumb_id", sa.Integer),
        info={PERSONAL: ()},
    )
    (pieces,) = OLD_THINGS.children
    (crumbs,) = pieces.children
    deep = replace(crumbs, children=(Child(dust, dust.c.crumb_id),))

    undo(
        undoable,
        "thing",
        "piece",
        "crumb",
        "dust",
        "mention",
        purge=replace(OLD_THINGS, children=(replace(pieces, children=(deep,)),)),
    )


@pytest.mark.parametrize(
    "change",
    [
        'ALTER TABLE thing ALTER COLUMN note TYPE text COLLATE "C"',
        """
        CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
        ALTER TABLE thing ALTER COLUMN note TYPE text COLLATE loose;
        CREATE UNIQUE INDEX ON thing (note)
        """,
        "CREATE UNIQUE INDEX ON thing (note DESC NULLS LAST) INCLUDE (is_old)",
        "CREATE UNIQUE INDEX ON thing (note) WHERE NOT is_old",
        "CREATE UNIQUE INDEX ON thing (lower(note)); CREATE INDEX ON thing USING brin (id)",
        "CREATE UNIQUE INDEX ON thing (note) NULLS NOT DISTINCT",
        "ALTER TABLE thing ADD EXCLUDE USING btree (note WITH =)",
        "ALTER TABLE thing SET (fillfactor = 50); ALTER TABLE thing ALTER COLUMN note SET STORAGE EXTERNAL",
    ],
)
def test_brings_rows_back_whatever_collations_and_indexes_the_table_has(undoable: UndoDatabase, change: str) -> None:
    try:
        undoable.sql.execute(change)
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("this server was built without ICU")
    undoable.fill(3)
    undoable.sql.execute("INSERT INTO thing (id, note) VALUES (9, NULL)")

    undo(undoable, "thing", "piece", "crumb", "mention", purge=OLD_THINGS)
