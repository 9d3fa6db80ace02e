"""What a scan of a repository's history sees: wherever a secret was put, and however it went away again."""

from pathlib import Path

import pytest

from cath_dagster.cloudmake.scan.request import What
from cath_dagster.core.errors import ConfigurationError, RefusedError
from tests.cloudmake.planted import Repository, github_token
from tests.cloudmake.scanning import looked, places, scan

TOKEN = github_token()


@pytest.fixture(autouse=True)
def no_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the index that git names where the suite itself runs in a hook."""
    monkeypatch.delenv("GIT_INDEX_FILE", raising=False)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.make(tmp_path / "repository")


def test_finds_what_any_commit_of_any_ref_has_brought_and_says_which(repository: Repository) -> None:
    repository.commit(**{"README": "nothing here\n", ".gitignore": "ignored.txt\n"})
    line = f"first line\ntoken {TOKEN}\n"
    brought = {
        name: repository.commit(**{name: line})
        for name in (
            "removed.txt",
            "before.txt",
            ".hidden/settings",
            ".github/workflows/build.yml",
            "packages/dist/bundle.js",
            "build/output.txt",
            "node_modules/library/index.js",
            "package-lock.json",
            "picture.svg",
            "ignored.txt",
            "Ünïcode name.txt",
            "tests/test_something.py",
            ".git-credentials",
        )
    }
    (repository.path / "removed.txt").unlink()
    repository.git("mv", "before.txt", "after.txt")
    brought["after.txt"] = repository.commit()
    repository.git("checkout", "-q", "-b", "side")
    brought["side.txt"] = repository.commit(**{"side.txt": line})
    repository.git("checkout", "-q", "main")
    repository.commit(other="nothing\n")
    repository.git("merge", "-q", "--no-commit", "--no-ff", "side")
    brought["in-the-merge.txt"] = repository.commit(**{"in-the-merge.txt": line})
    repository.git("checkout", "-q", "-b", "unmerged")
    brought["unmerged.txt"] = repository.commit(**{"unmerged.txt": line})
    repository.git("checkout", "-q", "main")
    repository.git("checkout", "-q", "--detach")
    brought["tagged.txt"] = repository.commit(**{"tagged.txt": line})
    repository.git("tag", "v1")
    repository.git("checkout", "-q", "main")

    report = scan(repository.path)

    assert {path: found.commit for path, found in places(report).items()} == brought
    assert {found.line for found in report.found} == {2}
    gone = {path for path, found in places(report).items() if not found.is_present}
    assert gone == {"removed.txt", "before.txt", "unmerged.txt", "tagged.txt"}
    assert report.unread == ()


def test_tells_a_value_once_a_file_at_its_first_commit_and_at_its_line_in_the_newest_tree(
    repository: Repository,
) -> None:
    first = repository.commit(settings=f"{TOKEN}\n")
    repository.commit(settings=f"one line more\n{TOKEN}\n")

    (found,) = scan(repository.path).found

    assert (found.commit, found.line, found.is_present) == (first, 2, True)


def test_tells_different_values_of_one_line_apart(repository: Repository) -> None:
    repository.commit(settings=f"{TOKEN} {github_token(8)} {TOKEN}\n")

    report = scan(repository.path)

    assert len(report.found) == len({each.fingerprint for each in report.found}) == 2


def test_looks_at_what_the_commits_of_a_range_brought_and_at_no_other(repository: Repository) -> None:
    repository.commit(before=f"{TOKEN}\n")
    since = repository.git("rev-parse", "HEAD")
    repository.commit(removed=f"{TOKEN}\n")
    (repository.path / "removed").unlink()
    repository.commit(kept=f"{TOKEN}\n")
    until = repository.git("rev-parse", "HEAD")
    repository.commit(after=f"{TOKEN}\n")

    report = scan(repository.path, what=What.RANGE, since=since, until=until)

    assert {path: found.is_present for path, found in places(report).items()} == {"removed": False, "kept": True}
    assert set(places(scan(repository.path, what=What.RANGE, since="", until=since))) == {"before"}
    assert set(places(scan(repository.path, what=What.RANGE, since="HEAD~1"))) == {"after"}


def test_a_range_that_cannot_be_read_is_an_error_and_not_clean(repository: Repository) -> None:
    repository.commit(kept="nothing\n")

    with pytest.raises(RefusedError, match=r"the range not-a-commit\.\.HEAD cannot be read"):
        scan(repository.path, what=What.RANGE, since="not-a-commit")


def test_looks_at_the_index_and_not_at_the_working_tree(repository: Repository) -> None:
    repository.write("staged", f"{TOKEN}\n")
    repository.git("add", "staged")
    repository.write("staged", "taken out, but not in the index\n")
    repository.write("not-staged", f"{TOKEN}\n")
    unborn = scan(repository.path, what=What.STAGED)
    repository.git("commit", "-q", "-m", "change")
    repository.write("staged", "changed\n")
    repository.write("secret.bin", f"\0\1{TOKEN}\0")
    repository.git("add", "secret.bin")

    later = scan(repository.path, what=What.STAGED)

    assert {path: found.commit for path, found in places(unborn).items()} == {"staged": "staged"}
    assert set(places(later)) == {"secret.bin"}


def test_nothing_is_staged_in_a_repository_without_an_index_and_in_a_bare_one_never(tmp_path: Path) -> None:
    assert scan(Repository.make(tmp_path / "new").path, what=What.STAGED).is_clean
    with pytest.raises(ConfigurationError, match="bare repository: it has no index"):
        scan(Repository.make(tmp_path / "bare", "--bare").path, what=What.STAGED)


def test_refuses_to_look_at_what_is_staged_with_conflicts_and_looks_once_they_are_resolved(
    repository: Repository,
) -> None:
    repository.commit(file="base\n")
    repository.git("checkout", "-q", "-b", "side")
    repository.commit(file="theirs\n")
    repository.git("checkout", "-q", "main")
    repository.commit(file="ours\n")
    repository.git("merge", "side", check=False)

    with pytest.raises(RefusedError, match="in the midst of a merge: resolve and add what conflicts"):
        scan(repository.path, what=What.STAGED)

    repository.write("file", f"{TOKEN}\n")
    repository.git("add", "file")
    assert set(places(scan(repository.path, what=What.STAGED))) == {"file"}
    assert scan(repository.path).is_clean


def test_refuses_a_sparse_index_with_what_helps(repository: Repository) -> None:
    repository.commit(**{"inside/file": "nothing\n", "outside/file": "nothing\n"})
    repository.git("sparse-checkout", "init", "--cone", "--sparse-index")
    repository.git("sparse-checkout", "set", "inside")
    repository.write("inside/staged", f"{TOKEN}\n")
    repository.git("add", "inside/staged")

    with pytest.raises(RefusedError, match="git sparse-checkout reapply --no-sparse-index"):
        scan(repository.path, what=What.STAGED)

    repository.git("sparse-checkout", "reapply", "--no-sparse-index")
    assert set(places(scan(repository.path, what=What.STAGED))) == {"inside/staged"}


def test_works_in_a_worktree_on_a_detached_head_and_in_a_bare_repository(
    repository: Repository, tmp_path: Path
) -> None:
    repository.commit(file=f"{TOKEN}\n")
    repository.git("worktree", "add", "-q", "--detach", str(tmp_path / "worktree"))
    worktree = Repository(tmp_path / "worktree")
    worktree.write("staged", f"{TOKEN}\n")
    worktree.git("add", "staged")
    bare = repository.clone(tmp_path / "bare.git", "--bare")

    assert set(places(scan(worktree.path))) == {"file"}
    assert set(places(scan(worktree.path, what=What.STAGED))) == {"staged"}
    assert set(places(scan(bare.path))) == {"file"}
    assert set(places(scan(repository.path / ".git"))) == {"file"}


def test_says_of_a_repository_without_a_commit_that_it_has_none(repository: Repository) -> None:
    report = scan(repository.path)

    assert report.is_clean
    assert report.notes == (f"{repository.path} has no file in any commit yet",)


def test_looks_at_the_whole_repository_from_any_folder_in_it(repository: Repository) -> None:
    repository.commit(**{"above": f"{TOKEN}\n", "folder/file": "nothing\n"})

    assert set(places(scan(repository.path / "folder"))) == {"above"}


def test_looks_at_files_that_are_in_no_repository_hidden_ones_too(tmp_path: Path) -> None:
    for name in (".env", "folder/.hidden/file", "plain"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{TOKEN}\n")
    (tmp_path / "link").symlink_to("plain")

    report = scan(tmp_path)

    assert set(places(report)) == {".env", "folder/.hidden/file", "plain"}
    assert report.skipped == {"no regular file": 1}
    assert set(places(scan(tmp_path / ".env"))) == {".env"}
    with pytest.raises(ConfigurationError, match="in no git repository"):
        scan(tmp_path, what=What.STAGED)
    with pytest.raises(ConfigurationError, match="does not exist"):
        scan(tmp_path / "nowhere")


# What could not be read is never "no secret"


def test_a_file_that_cannot_be_read_is_no_clean_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "forbidden").write_text("nothing\n")
    (tmp_path / "found").write_text(f"{TOKEN}\n")
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "forbidden":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)

    report = scan(tmp_path)

    assert set(places(report)) == {"found"}
    assert report.unread == (f"{tmp_path / 'forbidden'} (Permission denied)",)


@pytest.mark.parametrize("content", ["gitdir: nowhere\n", "no repository's\n"])
def test_a_git_file_that_leads_nowhere_is_no_repository(tmp_path: Path, content: str) -> None:
    (tmp_path / ".git").write_text(content)

    with pytest.raises(ConfigurationError, match="in no git repository"):
        scan(tmp_path, what=What.ALL)


def test_a_repository_of_another_hash_is_not_clean(tmp_path: Path) -> None:
    repository = Repository.make(tmp_path / "sha256", "--object-format=sha256")
    repository.commit(file=f"{TOKEN}\n")

    assert not scan(repository.path).is_clean


def test_a_shallow_clone_is_not_clean_for_its_history_and_for_a_range_only_within_it(
    repository: Repository, tmp_path: Path
) -> None:
    for number in range(4):
        repository.commit(file=f"{number}\n")
    shallow = repository.clone(tmp_path / "shallow", "--depth", "2").path

    report = scan(shallow)

    assert not report.is_clean
    assert report.unread == ("the history before this shallow clone; git fetch --unshallow",)
    assert scan(shallow, what=What.RANGE, since="HEAD~1").is_clean
    assert not scan(shallow, what=What.RANGE, since="").is_clean
    assert scan(shallow, what=What.STAGED).is_clean


def test_a_partial_clone_is_not_clean(repository: Repository, tmp_path: Path) -> None:
    repository.commit(file="nothing\n")
    repository.git("config", "uploadpack.allowFilter", "true")
    partial = repository.clone(tmp_path / "partial", "--filter=blob:none", "--no-checkout")

    report = scan(partial.path)

    assert len(report.unread) == 1
    assert report.unread[0].endswith("not in this clone, which is a partial one; clone it whole")


def test_a_damaged_repository_is_not_clean_and_what_can_be_read_is_told(repository: Repository) -> None:
    repository.commit(found=f"{TOKEN}\n")
    repository.write("lost", "soon gone\n")
    lost = repository.git("hash-object", "-w", "lost")
    repository.commit()
    damaged = repository.path / ".git/objects" / lost[:2] / lost[2:]
    damaged.chmod(0o644)
    damaged.write_bytes(b"no object")

    report = scan(repository.path)

    assert not report.is_clean
    assert all("the rest of the" in each for each in report.unread)


def test_a_file_larger_than_the_limit_is_not_clean(repository: Repository) -> None:
    repository.commit(large="a" * 2_000)

    assert scan(repository.path, max_bytes=2_000).is_clean
    (unread,) = scan(repository.path, max_bytes=1_999).unread
    assert unread.endswith("larger than the limit; raise max_file_mb")


def test_counts_what_is_not_looked_into_by_why(repository: Repository, tmp_path: Path) -> None:
    other = Repository.make(tmp_path / "other")
    other.commit(file=f"{TOKEN}\n")
    repository.git("submodule", "--quiet", "add", other.path.as_uri(), "inside")
    (repository.path / "link").symlink_to("inside")
    repository.commit(
        archive=b"PK\x03\x04 and more", binary=b"\0\1\2", large=b"version https://git-lfs.github.com/spec/v1\n"
    )

    report = scan(repository.path)

    assert report.is_clean
    assert report.skipped == {
        "archive, not opened": 1,
        "binary, looked at as its bytes are": 1,
        "kept in Git LFS, not here": 1,
        "submodule, a repository of its own": 1,
    }


# The last clean scan


def test_looks_only_at_what_is_new_since_the_last_clean_scan(repository: Repository, tmp_path: Path) -> None:
    memory = tmp_path / "state"
    clean = repository.commit(file="nothing\n")
    first = looked(repository.path, memory=memory)
    first.remember()
    repository.commit(new=f"{TOKEN}\n")
    (repository.path / "new").unlink()
    repository.commit()

    second = looked(repository.path, memory=memory)
    second.remember()
    third = looked(repository.path, memory=memory)

    assert first.report.looked_at == "the whole history, and the newest tree"
    assert second.report.looked_at == third.report.looked_at == f"the history since {clean[:12]}, and the newest tree"
    assert set(places(third.report)) == {"new"}


@pytest.mark.parametrize(
    "spoil", ["forged", "damaged", "gone", "another baseline", "rewritten", "another commit", "a folder"]
)
def test_looks_at_everything_where_what_is_remembered_does_not_hold(
    repository: Repository, tmp_path: Path, spoil: str
) -> None:
    memory = tmp_path / "state"
    repository.commit(file="nothing\n")
    looked(repository.path, memory=memory).remember()
    (tmp_path / "kept").write_text(memory.read_text())
    secret = repository.commit(new=f"{TOKEN}\n")
    (repository.path / "new").unlink()
    repository.commit()
    if spoil == "forged":
        memory.write_text(f'{{"commit": "{secret}", "signature": "{"0" * 64}"}}')
    elif spoil == "damaged":
        memory.write_text("{")
    elif spoil == "another baseline":
        repository.write(".secrets-baseline", '{"baseline": 1, "key_check": "00000000"}\n')
    elif spoil == "another commit":
        memory.write_text(memory.read_text().replace(repository.git("rev-parse", "HEAD~2"), secret))
    elif spoil == "rewritten":
        repository.git("checkout", "-q", "--orphan", "fresh")
        repository.commit()
        repository.git("branch", "-q", "-D", "main")
        repository.git("reflog", "expire", "--expire=now", "--all")
        repository.git("gc", "-q", "--prune=now")
        repository.commit(again=f"{TOKEN}\n")
    else:
        memory.unlink()
    if spoil == "a folder":
        memory.mkdir()

    report = scan(repository.path, memory=memory)

    assert report.looked_at == "the whole history, and the newest tree"
    assert not report.is_clean


def test_remembers_no_scan_that_found_something_or_could_not_read_all(repository: Repository, tmp_path: Path) -> None:
    memory = tmp_path / "state"
    repository.commit(file=f"{TOKEN}\n")
    looked(repository.path, memory=memory).remember()
    repository.git("rm", "-q", "file")
    repository.git("commit", "-q", "--amend", "--allow-empty", "-m", "change")
    repository.git("reflog", "expire", "--expire=now", "--all")
    repository.commit(large="a" * 2_000)
    looked(repository.path, memory=memory, max_bytes=1_000).remember()

    assert not memory.exists()


def test_says_that_what_is_clean_could_not_be_remembered(repository: Repository, tmp_path: Path) -> None:
    repository.commit(file="nothing\n")

    said = looked(repository.path, memory=tmp_path / "nowhere/state").remember()

    assert said is not None
    assert said.endswith("so that the next scan looks at the whole history")
