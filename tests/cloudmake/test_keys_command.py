"""cath-dagster keys: a new key goes into a file and nowhere else, and what is under which key can be asked at any time."""

import json
import os
import pty
import stat
from pathlib import Path

import pytest

from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.keys import KEYS, OLD_KEY, OTHER_KEY, add_metadata, add_signing_key, add_stored, set_keys
from tests.support.command import call


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_new_key_is_in_its_file_alone_which_only_its_owner_reads(tmp_path: Path, form: tuple[str, ...]) -> None:
    path = tmp_path / "key"
    before = os.umask(0)
    try:
        done = call({}, "keys", "generate", "--out", str(path), *form)
    finally:
        os.umask(before)

    key = path.read_text()
    assert done.returncode == 0
    assert len(bytes.fromhex(key)) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key not in done.stdout + done.stderr
    assert str(path) in done.stdout


def test_two_keys_are_not_one(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("first", "second")]
    for path in paths:
        call({}, "keys", "generate", "--out", str(path))

    assert paths[0].read_text() != paths[1].read_text()


def test_nothing_that_is_there_is_written_to(tmp_path: Path) -> None:
    existing, link, target = tmp_path / "existing", tmp_path / "link", tmp_path / "target"
    existing.write_text("in use")
    link.symlink_to(target)
    leader, follower = pty.openpty()
    places = {
        "-": "not to standard output",
        "/dev/stdout": "a new file",
        "/dev/null": "is a terminal or another device",
        os.ttyname(follower): "is a terminal or another device",
        str(existing): "exists already",
        str(link): "exists already",
        str(tmp_path): "exists already",
        str(tmp_path / "missing" / "key"): "cannot be made",
    }

    done = {place: call({}, "keys", "generate", "--out", place) for place in places}

    os.close(leader)
    os.close(follower)
    assert {place: each.returncode for place, each in done.items()} == dict.fromkeys(places, 2)
    assert {place: says in each.stderr for (place, says), each in zip(places.items(), done.values(), strict=True)} == (
        dict.fromkeys(places, True)
    )
    assert "".join(each.stdout for each in done.values()) == ""
    assert existing.read_text() == "in use"
    assert not target.exists()


def test_a_key_that_was_made_is_taken_from_its_file(cloudmake: CloudMake, tmp_path: Path) -> None:
    set_keys(cloudmake, new=None)
    call({}, "keys", "generate", "--out", str(tmp_path / "key"))
    cloudmake.environ["CLOUDMAKE_MASTER_ENCRYPTION_KEY_FILE"] = str(tmp_path / "key")
    add_metadata(cloudmake)

    done = call(cloudmake.environ, "run", "master_key_rotation", "--set", "confirm=true")
    status = json.loads(call(cloudmake.environ, "keys", "status", "--json").stdout)

    assert done.returncode == 0, done.stderr
    assert status["tables"]["secrets_metadata"]["under_new"] == 1


def test_the_status_counts_by_table_and_key(cloudmake: CloudMake) -> None:
    set_keys(cloudmake)
    add_signing_key(cloudmake, days=1)
    add_metadata(cloudmake)
    add_stored(cloudmake, "new")

    done = call(cloudmake.environ, "keys", "status", "--json")
    words = call(cloudmake.environ, "keys", "status")

    found = json.loads(done.stdout)
    assert (found["new_key"], found["old_key"]) == (KEYS["new"].fingerprint, KEYS["old"].fingerprint)
    assert {name: list(each.values())[:3] for name, each in found["tables"].items()} == {
        "jwt_keys": [1, 0, 0],
        "secrets_metadata": [0, 1, 0],
        "stored_secret": [1, 0, 0],
        "wrapped_key": [0, 0, 0],
    }
    assert (done.returncode, words.returncode) == (0, 0)
    assert "1 values are to be brought under the new key" in words.stdout
    assert OLD_KEY not in done.stdout + words.stdout + words.stderr


def test_what_opens_under_neither_key_is_named_and_ends_with_one(cloudmake: CloudMake) -> None:
    set_keys(cloudmake, old=None)
    lost = add_metadata(cloudmake, OTHER_KEY)

    done = call(cloudmake.environ, "keys", "status")

    assert done.returncode == 1
    assert f"{lost} (it is under another key)" in done.stdout
    assert "MASTER_ENCRYPTION_KEY_OLD, and look again" in done.stdout


def test_without_a_key_the_variable_is_named(cloudmake: CloudMake) -> None:
    done = call(cloudmake.environ, "keys", "status")

    assert done.returncode == 2
    assert "CLOUDMAKE_MASTER_ENCRYPTION_KEY not set" in done.stderr
