"""The names of types: as people write them, brought to those that PostgreSQL itself writes."""

import re
from functools import lru_cache

_ARRAY = re.compile(r"(?:\s*\[\d*\])+$")
_BRACKETS = re.compile(r"\s*\(\s*(\d+(?:\s*,\s*-?\d+)?)\s*\)")
_CLOCK = re.compile(r"(timestamp|time)(\(\d+\))?( with time zone| without time zone)?")
_ALIASES = {
    "bool": "boolean",
    "bpchar": "character",
    "char": "character",
    "decimal": "numeric",
    "float4": "real",
    "float8": "double precision",
    "int": "integer",
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "varbit": "bit varying",
    "varchar": "character varying",
    "timestamptz": "timestamp with time zone",
    "timetz": "time with time zone",
}
SERIALS = {"smallserial": "smallint", "serial": "integer", "bigserial": "bigint"}


@lru_cache(maxsize=1_024)
def type_name(written: str) -> str:
    """Return a type as `format_type` writes it, in lower case and without quotes; arrays have one dimension to it."""
    text = written.replace('"', "").strip().lower()
    base = _ARRAY.sub("", text)
    suffix = "[]" if base != text else ""
    modifier = ""
    if found := _BRACKETS.search(base):
        modifier = f"({found[1].replace(' ', '')})"
        base = f"{base[: found.start()]}{base[found.end() :]}"
    base = " ".join(base.split())
    return f"{_with_modifier(_ALIASES.get(base, base), modifier)}{suffix}"


def _with_modifier(base: str, modifier: str) -> str:
    if clock := _CLOCK.fullmatch(base):
        return f"{clock[1]}{modifier}{clock[3] or ' without time zone'}"
    if base == "numeric" and modifier and "," not in modifier:
        return f"numeric{modifier[:-1]},0)"
    if base == "character" and not modifier:
        return "character(1)"
    return f"{base}{modifier}"
