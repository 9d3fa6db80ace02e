"""A folder of the service's migrations, written as drizzle-kit writes it."""

import json
from dataclasses import dataclass, field
from pathlib import Path

BREAKPOINT = "--> statement-breakpoint"
FIRST_WHEN = 1_700_000_000_000


@dataclass
class MigrationFolder:
    """A folder and the entries of its journal."""

    path: Path
    entries: list[dict[str, object]] = field(default_factory=list)

    def add(self, tag: str, *parts: str, when: int | None = None, ends: str = "\n") -> int:
        """Write a migration of some parts, and its entry; return its `when`."""
        at = FIRST_WHEN + 1_000 * len(self.entries) if when is None else when
        self.write(tag, f"{BREAKPOINT}\n".join(f"{part}\n" for part in parts).replace("\n", ends).encode())
        self.entries.append({"idx": len(self.entries), "version": "7", "when": at, "tag": tag, "breakpoints": True})
        self.write_journal()
        return at

    def write(self, tag: str, content: bytes) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / f"{tag}.sql").write_bytes(content)

    def write_journal(self, **others: object) -> None:
        (self.path / "meta").mkdir(parents=True, exist_ok=True)
        journal = {"version": "7", "dialect": "postgresql", "entries": self.entries, **others}
        (self.path / "meta" / "_journal.json").write_text(json.dumps(journal))
