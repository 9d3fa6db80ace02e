"""The one comparison: things by name, and of each what is said of it, by aspect."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Aspects = Mapping[str, str]
"""What is said of a thing: of a column its type, its default."""
Things = Mapping[str, Aspects]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Where what is there differs from what is declared: names alone, sorted, and of what changed the aspects."""

    added: tuple[str, ...] = ()
    """There, and not declared."""
    removed: tuple[str, ...] = ()
    """Declared, and not there."""
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def __len__(self) -> int:
        return len(self.added) + len(self.removed) + len(self.changed)

    @property
    def counts(self) -> dict[str, int]:
        return {name: len(names) for name, names in self.as_json().items()}

    def as_json(self) -> dict[str, list[str]]:
        return {"added": list(self.added), "removed": list(self.removed), "changed": list(self.changed)}


def compare(declared: Things, real: Things) -> Difference:
    """Return how what is there differs; an aspect of which the declaration says nothing may be as it is."""
    return Difference(
        added=tuple(map(_storable, sorted(real.keys() - declared.keys()))),
        removed=tuple(map(_storable, sorted(declared.keys() - real.keys()))),
        changed=tuple(map(_storable, _changed(declared, real))),
    )


def _changed(declared: Things, real: Things) -> Iterator[str]:
    for name in sorted(declared.keys() & real.keys()):
        aspects = [aspect for aspect, value in declared[name].items() if real[name].get(aspect) != value]
        if aspects:
            yield f"{name} ({', '.join(sorted(aspects))})"


def _storable(name: str) -> str:
    """Return a name without what PostgreSQL keeps in no text: a document may have anything in a name."""
    return name.encode(errors="replace").decode().replace("\0", "?")


def digest(value: object) -> str:
    """Return a SHA-256 of JSON, with its keys sorted at every depth; equal numbers are equal, however written."""
    text = json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
