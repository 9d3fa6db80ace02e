"""The one comparison, and the forms by which things are compared."""

import pytest

from cath_dagster.cloudmake.drift.comparison import Difference, compare, digest
from cath_dagster.cloudmake.drift.expressions import canonical
from cath_dagster.cloudmake.drift.types import type_name


def test_names_what_is_more_less_and_otherwise_sorted() -> None:
    declared = {"a": {"x": "1"}, "b": {"x": "1"}, "d": {"x": "1", "y": "1"}, "c": {}}
    real = {"z": {}, "y": {}, "b": {"x": "1", "more": "2"}, "d": {"x": "2"}, "c": {"x": "1"}}

    assert compare(declared, real) == Difference(added=("y", "z"), removed=("a",), changed=("d (x, y)",))
    assert not compare(declared, declared)


def test_a_name_that_no_table_could_keep_is_told_all_the_same() -> None:
    assert compare({}, {"a\0b": {}, "c\ud800": {}}).added == ("a?b", "c?")


def test_a_hash_is_of_the_keys_sorted_at_every_depth() -> None:
    assert digest({"a": [{"b": 1, "c": 2.0}]}) == digest({"a": [{"c": 2, "b": 1.0}]})
    assert digest({"a": [1, 2]}) != digest({"a": [2, 1]})
    assert digest({"colour": {"value": "#fff"}}) != digest({"colour": {"value": "#ffe"}})


@pytest.mark.parametrize(
    ("written", "real"),
    [
        ("numeric(5, 2)", "numeric(5,2)"),
        ("numeric(5)", "numeric(5,0)"),
        ("varchar(64)[]", "character varying(64)[]"),
        ("text[3][3]", "text[]"),
        ("char", "character(1)"),
        ("timestamp", "timestamp without time zone"),
        ("timestamp (3) with time zone", "timestamp(3) with time zone"),
        ("time(3)", "time(3) without time zone"),
        ("timestamptz", "timestamp with time zone"),
        ("MixedCase", '"MixedCase"'),
        ("vector(3)", "vector(3)"),
        ("double precision", "double precision"),
        ("interval day to second(3)", "interval day to second(3)"),
    ],
)
def test_types_are_the_same_as_people_and_as_postgresql_write_them(written: str, real: str) -> None:
    assert type_name(written) == type_name(real)


SAME = [
    ("'draft'", "'draft'::character varying"),
    ("'{}'", "'{}'::text[]"),
    ("-1", "'-1'::integer"),
    ("0", "'0'::numeric"),
    ("now()", "CURRENT_TIMESTAMP"),
    ("now() at time zone 'utc'", "(now() AT TIME ZONE 'utc'::text)"),
    ('"t"."a" > 0', "(a > 0)"),
    ("a in ('x','y')", "((a)::text = ANY ((ARRAY['x'::character varying, 'y'::character varying])::text[]))"),
    ("a not in (1, 2)", "(a <> ALL (ARRAY[1, 2]))"),
    ("a in (1)", "(a = 1)"),
    ("a between 1 and 5 and b", "(((a >= 1) AND (a <= 5)) AND b)"),
    ("a like 'x%' or a not like 'y'", "((a ~~ 'x%'::text) OR (a !~~ 'y'::text))"),
    ("a != 1", "(a <> 1)"),
    ("a and (b and c)", "((a AND b) AND c)"),
    ("not (a or b)", "(NOT (a OR b))"),
    ("lower(a)", "lower((a)::text)"),
    ("""'{"b":1,"a":[1,2]}'::jsonb""", """'{"a": [1, 2], "b": 1}'::jsonb"""),
    ("auth.uid() = id", "(auth.uid() = id)"),
    ("interval '1 day'", "'1 day'::interval"),
    ("public.f(a)", "f(a)"),
]
DIFFERENT = [
    ("a > 0", "a > 1"),
    ("'a'", "'A'"),
    ("(a or b) and c", "a or (b and c)"),
    ("not a or b", "not (a or b)"),
    ("a in (1, 2)", "a not in (1, 2)"),
    ("a between 1 and 5", "a between 1 and 6"),
    ("a.uid()", "b.uid()"),
    ('"A"', "a"),
]


@pytest.mark.parametrize(("left", "right"), SAME)
def test_expressions_of_one_meaning_have_one_form(left: str, right: str) -> None:
    assert canonical(left, qualifiers=("t", "public")) == canonical(right, qualifiers=("t", "public"))


@pytest.mark.parametrize(("left", "right"), DIFFERENT)
def test_expressions_of_two_meanings_have_two_forms(left: str, right: str) -> None:
    assert canonical(left) != canonical(right)
