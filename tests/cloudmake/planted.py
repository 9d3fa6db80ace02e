"""Repositories with planted secrets: real ones of git, and values that are made up and put together here alone."""

import itertools
import os
import random
import string
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

LETTERS = string.ascii_letters + string.digits
UPPER = string.ascii_uppercase + "234567"
FIRST_COMMIT_AT = 1_700_000_000


def made_up(prefix: str, length: int, *, alphabet: str = LETTERS, seed: int = 7) -> str:
    """Return a value like a provider's: no text of this repository has it."""
    chosen = random.Random(f"{prefix}{length}{seed}")
    return prefix + "".join(chosen.choice(alphabet) for _ in range(length))


def github_token(seed: int = 7) -> str:
    return made_up("gh" + "p_", 36, seed=seed)


@dataclass
class Repository:
    """A git repository whose commits are a minute apart."""

    path: Path
    _minutes: Iterator[int] = field(default_factory=itertools.count)

    @classmethod
    def make(cls, path: Path, *options: str) -> "Repository":
        path.mkdir(parents=True)
        made = cls(path)
        made.git("init", "-q", "-b", "main", *options)
        return made

    def git(self, *arguments: str, check: bool = True, variables: Mapping[str, str] | None = None) -> str:
        """Run git with nothing of the user's own settings; without `check` return the exit code and all that it said."""
        at = f"{FIRST_COMMIT_AT + 60 * next(self._minutes)} +0000"
        settings = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            "GIT_AUTHOR_NAME": "Somebody",
            "GIT_AUTHOR_EMAIL": "somebody@example.org",
            "GIT_COMMITTER_NAME": "Somebody",
            "GIT_COMMITTER_EMAIL": "somebody@example.org",
            "GIT_AUTHOR_DATE": at,
            "GIT_COMMITTER_DATE": at,
            **(variables or {}),
        }
        command = ["git", "-c", "protocol.file.allow=always", "-c", "advice.detachedHead=false", *arguments]
        done = subprocess.run(command, cwd=self.path, env=settings, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise AssertionError(f"git {' '.join(arguments)}: {done.stderr}")
        return done.stdout.strip() if check else f"{done.returncode} {done.stdout}{done.stderr}"

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def commit(self, **files: str | bytes) -> str:
        """Commit files by their names, ignored ones too, and return the commit."""
        for name, content in files.items():
            self.write(name, content)
        self.git("add", "--all", "--force")
        self.git("commit", "-q", "--allow-empty", "-m", "change")
        return self.git("rev-parse", "HEAD")

    def clone(self, path: Path, *options: str) -> "Repository":
        self.git("clone", "-q", *options, self.path.as_uri(), str(path))
        return Repository(path)
