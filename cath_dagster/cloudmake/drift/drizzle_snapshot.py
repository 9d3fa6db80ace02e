"""The declared schema: the newest snapshot that drizzle-kit wrote beside its migrations, version 7."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cath_dagster.cloudmake.drift.expressions import canonical
from cath_dagster.cloudmake.drift.schema_facts import YES, Kind, SchemaFacts, Written, cut, flag, listed, shown
from cath_dagster.cloudmake.drift.source import UnreadableError
from cath_dagster.cloudmake.drift.types import SERIALS, type_name
from cath_dagster.core.postgres.session import SERVICE
from cath_dagster.core.untrusted_json import parse_json

VERSION = "7"
DIALECT = "postgresql"
_SNAPSHOT = re.compile(r"(\d+)_snapshot\.json")
_IDENTITIES = {"always": "always", "byDefault": "by default"}
_WHOEVER_ASKS = frozenset({"current_user", "current_role", "session_user"})
"""Roles of which the server writes down who it was."""


@dataclass(frozen=True)
class Snapshot:
    """What a snapshot declares, and which schemas it speaks of."""

    name: str
    document: Mapping[str, Any]

    @property
    def schemas(self) -> frozenset[str]:
        # A view that Drizzle only reads is somebody else's, and so is its schema.
        kinds = ("tables", "enums", "sequences", "views")
        items = (item for kind in kinds for item in self._items(kind) if not item.get("isExisting"))
        return frozenset({SERVICE, *map(_schema, items), *self.document.get("schemas", {}).values()})

    def facts(self, default_classes: Collection[str]) -> SchemaFacts:
        """Return it as things; an index's operator class that is its type's own goes without saying."""
        facts = SchemaFacts()
        for name in self.document.get("schemas", {}).values():
            facts.others[f"schema {name}"] = {}
        for item in self._items("enums"):
            facts.others[f"enum {shown(_schema(item), item['name'])}"] = {"values": json.dumps(item["values"])}
        for item in self._items("sequences"):
            facts.others[f"sequence {shown(_schema(item), cut(item['name']))}"] = {}
        for item in filter(lambda item: _schema(item) in self.schemas, self._items("views")):
            kind = "materialized view" if item.get("materialized") else "view"
            facts.others[f"{kind} {shown(_schema(item), item['name'])}"] = {}
        for item in self._items("tables"):
            _Table(item, facts, default_classes).add()
        return facts

    def _items(self, kind: str) -> Iterator[Mapping[str, Any]]:
        return iter(self.document.get(kind, {}).values())


def read_newest_snapshot(path: Path, variable: str) -> Snapshot:
    """Return the snapshot of the highest number; raise `UnreadableError` where there is none that can be read."""
    numbered = [(int(found[1]), file) for file in _files(path / "meta") if (found := _SNAPSHOT.fullmatch(file.name))]
    if not numbered:
        raise UnreadableError(f"{variable}: {path / 'meta'} has no NNNN_snapshot.json; drizzle-kit generate writes it")
    _, newest = max(numbered)
    try:
        document = parse_json(newest.read_bytes())
    except (OSError, ValueError):
        raise UnreadableError(f"{variable}: {newest.name} is no JSON that can be read; restore it") from None
    version = document.get("version") if isinstance(document, dict) else None
    if version != VERSION or document.get("dialect") != DIALECT or not isinstance(document.get("tables"), dict):
        said = (
            f"version {version!r}, dialect {document.get('dialect')!r}" if isinstance(document, dict) else "no object"
        )
        raise UnreadableError(
            f"{variable}: {newest.name} is of {said}; version {VERSION} of {DIALECT} is read: drizzle-kit up writes it anew"
        )
    return Snapshot(newest.name, document)


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _schema(item: Mapping[str, Any]) -> str:
    return item.get("schema") or SERVICE


@dataclass(frozen=True)
class _Table:
    """One table of a snapshot, on its way to the facts."""

    item: Mapping[str, Any]
    facts: SchemaFacts
    default_classes: Collection[str]

    @property
    def name(self) -> str:
        return shown(_schema(self.item), self.item["name"])

    def add(self) -> None:
        policies = self._parts("policies")
        # drizzle-kit enables it wherever there is a policy.
        self.facts.tables[self.name] = {
            "row-level security": flag(self.item.get("isRLSEnabled") or policies),
        }
        for column in self._parts("columns"):
            self._add("column", column["name"], self._column(column))
            self._note("column", column["name"], "default", Kind.DEFAULT, column.get("default"), column["name"])
        self._add_keys()
        for each in self._parts("foreignKeys"):
            self._add_foreign_key(each)
        for each in self._parts("indexes"):
            self._add("index", cut(each["name"]), self._index(each))
            self._note("index", cut(each["name"]), "predicate", Kind.PREDICATE, each.get("where"))
            for aspect, text in _expressions(each).items():
                self._note("index", cut(each["name"]), aspect, Kind.INDEX, text)
        for each in self._parts("checkConstraints"):
            self._add("check", cut(each["name"]), {"expression": self._canonical(each["value"])})
            self._note("check", cut(each["name"]), "expression", Kind.CHECK, each["value"])
        for each in policies:
            self._add("policy", cut(each["name"]), self._policy(each))
            self._note("policy", cut(each["name"]), "using", Kind.USING, each.get("using"))
            self._note("policy", cut(each["name"]), "with check", Kind.WITH_CHECK, each.get("withCheck"))

    def _parts(self, kind: str) -> list[Mapping[str, Any]]:
        return list((self.item.get(kind) or {}).values())

    def _add(self, kind: str, name: str, aspects: Mapping[str, str]) -> None:
        self.facts.add(self.name, f"{kind} {self.name}.{name}", aspects)

    def _note(self, kind: str, name: str, aspect: str, where: Kind, text: object, column: str = "") -> None:
        """Keep an expression that a person wrote, so that the server can be asked what it means."""
        if isinstance(text, str):
            self.facts.written[f"{kind} {self.name}.{name}", aspect] = Written(
                schema=_schema(self.item), table=self.item["name"], kind=where, text=text, column=column
            )

    def _canonical(self, text: object) -> str:
        written = str(text).lower() if isinstance(text, bool) else str(text)
        return canonical(written, qualifiers=(self.item["name"], _schema(self.item)))

    def _column(self, column: Mapping[str, Any]) -> dict[str, str]:
        written = column["type"]
        generated, identity = column.get("generated"), column.get("identity")
        aspects = {
            "type": _type(SERIALS.get(written, written), column.get("typeSchema")),
            "nullability": flag(not column.get("notNull") and not column.get("primaryKey")),
            "identity": _IDENTITIES.get(str((identity or {}).get("type")), ""),
            "generated": self._canonical(generated["as"]) if generated else "",
        }
        return {**aspects, "default": "its sequence" if written in SERIALS else self._default(column)}

    def _default(self, column: Mapping[str, Any]) -> str:
        return self._canonical(column["default"]) if column.get("default") is not None else ""

    def _add_keys(self) -> None:
        primary = [column["name"] for column in self._parts("columns") if column.get("primaryKey")]
        for each in self._parts("compositePrimaryKeys"):
            primary = each["columns"]
        if primary:
            self.facts.add(self.name, f"primary key {self.name}", {"columns": listed(primary)})
        for each in self._parts("uniqueConstraints"):
            aspects = {"name": cut(each["name"]), "nulls": flag(each.get("nullsNotDistinct"))}
            self.facts.add(self.name, f"unique {self.name} ({listed(each['columns'])})", aspects)

    def _add_foreign_key(self, key: Mapping[str, Any]) -> None:
        target = shown(key.get("schemaTo") or SERVICE, key["tableTo"])
        self.facts.add(
            self.name,
            f"foreign key {self.name} ({listed(key['columnsFrom'])}) to {target} ({listed(key['columnsTo'])})",
            {
                "name": cut(key["name"]),
                "on delete": (key.get("onDelete") or "no action").lower(),
                "on update": (key.get("onUpdate") or "no action").lower(),
            },
        )

    def _index(self, index: Mapping[str, Any]) -> dict[str, str]:
        where = index.get("where")
        return {
            "columns": json.dumps([self._index_column(each) for each in index["columns"]]),
            **{aspect: self._canonical(text) for aspect, text in _expressions(index).items()},
            "method": index.get("method") or "btree",
            "unique": flag(index.get("isUnique")),
            "predicate": self._canonical(where) if where else "",
            "validity": YES,
            "parameters": listed(sorted(f"{name}={value}" for name, value in (index.get("with") or {}).items())),
        }

    def _index_column(self, column: Mapping[str, Any]) -> list[str]:
        operator_class = column.get("opclass") or ""
        return [
            "" if column.get("isExpression") else column["expression"],
            "" if column.get("asc", True) else "desc",
            "nulls first" if column.get("nulls") == "first" else "",
            "" if operator_class in self.default_classes else operator_class,
        ]

    def _policy(self, policy: Mapping[str, Any]) -> dict[str, str]:
        aspects = {
            "kind": (policy.get("as") or "permissive").lower(),
            "command": (policy.get("for") or "all").lower(),
            "using": self._canonical(policy["using"]) if policy.get("using") else "",
            "with check": self._canonical(policy["withCheck"]) if policy.get("withCheck") else "",
        }
        roles = policy.get("to") or ["public"]
        return aspects if _WHOEVER_ASKS & set(roles) else {**aspects, "roles": listed(sorted(roles))}


def _expressions(index: Mapping[str, Any]) -> dict[str, str]:
    """Return the expressions of an index, by what each is told as."""
    return {
        f"expression {place}": column["expression"]
        for place, column in enumerate(index["columns"], start=1)
        if column.get("isExpression")
    }


def _type(written: str, schema: str | None) -> str:
    named = type_name(written)
    return named if schema in (None, "", SERVICE) else f"{schema.lower()}.{named}"
