"""Where a repository's parts lie, read from its files: no git program is asked, which might run what it configures."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PARTS = ("HEAD", "objects", "refs")
"""What every git directory has."""
IN_THE_MIDST = {
    "MERGE_HEAD": "a merge",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase",
}
_SUBMODULE = re.compile(rb"(?m)^\s*path\s*=")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A repository on disk."""

    top: Path
    """Where its files are; of a bare one the git directory."""
    git_dir: Path
    """Where HEAD and the index are: of a worktree its own."""
    common_dir: Path
    """Where commits are."""

    @property
    def is_bare(self) -> bool:
        return self.top == self.git_dir

    @property
    def boundary(self) -> frozenset[str]:
        """The commits of a shallow clone whose parents it does not have; empty for a whole one."""
        shallow = self.common_dir / "shallow"
        return frozenset(shallow.read_text().split()) if shallow.is_file() else frozenset()

    @property
    def head(self) -> str | None:
        """The commit that is checked out; None on a branch that has none yet."""
        named, found, ref = (self.git_dir / "HEAD").read_text().strip().partition("ref: ")
        if named or not found:
            return named or None
        loose, packed = self.common_dir / ref, self.common_dir / "packed-refs"
        if loose.is_file():
            return loose.read_text().strip()
        lines = packed.read_text().splitlines() if packed.is_file() else []
        return next((line.partition(" ")[0] for line in lines if line.endswith(f" {ref}")), None)

    @property
    def operation(self) -> str | None:
        """What git is in the midst of, in words."""
        return next((words for name, words in IN_THE_MIDST.items() if (self.git_dir / name).exists()), None)

    def index(self, environ: Mapping[str, str]) -> Path:
        """Return where the index is; for a hook git may name another, of `commit -a` and `commit FILE`."""
        return self.top / environ.get("GIT_INDEX_FILE", self.git_dir / "index")


def find_layout(path: Path) -> Layout | None:
    """Return the repository that a folder is in, or is; None where there is none."""
    start = path.resolve()
    for folder in (start, *start.parents):
        if _is_git_dir(folder):
            return Layout(top=folder.parent if folder.name == ".git" else folder, git_dir=folder, common_dir=folder)
        git_dir = _git_dir_of(folder / ".git")
        if git_dir is not None:
            return Layout(top=folder, git_dir=git_dir, common_dir=_common(git_dir))
    return None


def _git_dir_of(entry: Path) -> Path | None:
    """Return the git directory that `.git` is, or names where it is the file of a worktree or submodule."""
    if _is_git_dir(entry):
        return entry
    if not entry.is_file():
        return None
    _, found, named = entry.read_text().strip().partition("gitdir: ")
    git_dir = (entry.parent / named).resolve()
    return git_dir if found and git_dir.is_dir() else None


def _is_git_dir(folder: Path) -> bool:
    return all((folder / part).exists() for part in PARTS)


def _common(git_dir: Path) -> Path:
    named = git_dir / "commondir"
    return (git_dir / named.read_text().strip()).resolve() if named.is_file() else git_dir


def count_submodules(gitmodules: bytes) -> int:
    """Return how many submodules a `.gitmodules` names."""
    return len(_SUBMODULE.findall(gitmodules))
