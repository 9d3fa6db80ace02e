"""A copy of the tree that mutants may change; the working tree is only read."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path

from benchmarks.mutations.mutant import Mutant

LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "node_modules", ".local", "__pycache__", ".*_cache", ".hypothesis")


@dataclass(frozen=True)
class Tree:
    """A copy in a folder of its own."""

    folder: Path

    def read(self, path: str) -> str:
        """Return a file's text, "" where there is none."""
        file = self.folder / path
        return file.read_text(encoding="utf-8") if file.is_file() else ""

    @contextmanager
    def changed(self, mutant: Mutant) -> Iterator[None]:
        """Let a file be as a mutant has it, and put it back; raise `TextNotFoundError` where that cannot be."""
        before = self.read(mutant.path)
        self._write(mutant.path, mutant.change(before))
        try:
            yield
        finally:
            self._write(mutant.path, before)

    def _write(self, path: str, text: str) -> None:
        file = self.folder / path
        file.write_text(text, encoding="utf-8")
        # What was compiled is known by the second and the size, in which two mutants of a file may agree.
        Path(cache_from_source(str(file))).unlink(missing_ok=True)


@contextmanager
def copy_of(folder: Path) -> Iterator[Tree]:
    """Yield a copy that is removed in the end."""
    with tempfile.TemporaryDirectory(prefix="cath-dagster-mutants-") as home:
        # The server of a run as root has another user, who must come to its own folder.
        Path(home).chmod(0o711)
        copy = Path(home) / "tree"
        shutil.copytree(folder, copy, ignore=LEFT_OUT, symlinks=True)
        yield Tree(copy)
