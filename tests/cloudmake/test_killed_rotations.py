"""Rotations that are killed anywhere: one key signs, every value is readable, and the next run goes on."""

import itertools
import json
from datetime import timedelta
from pathlib import Path

import pytest

from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.keys import OLD_KEY, add_metadata, add_signing_key, add_stored, add_wrapped, opens, set_keys
from tests.support.kills import kill_at

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("emergency", [False, True])
def test_a_rotation_of_signing_keys_leaves_one_that_signs(
    cloudmake: CloudMake, tmp_path: Path, *, emergency: bool
) -> None:
    set_keys(cloudmake, old=None)
    cloudmake.environ["CLOUDMAKE_JWKS_URL"] = tmp_path.as_uri()
    config = {"emergency": emergency, "confirm": emergency}
    seen = set()
    for place in itertools.count(1):
        cloudmake.connection.execute("DELETE FROM jwt_keys; DELETE FROM maintenance.jwks; DELETE FROM admin_audit_logs")
        before = add_signing_key(cloudmake, days=90)
        add_signing_key(cloudmake, days=200, retired_days=8)

        is_killed = kill_at(cloudmake, "jwt_key_rotation", place, **config)

        rows = cloudmake.rows("SELECT kid FROM jwt_keys WHERE active")
        assert len(rows) == 1
        opens(cloudmake)
        seen.add(rows == [(before,)])
        # The next run is the next day's, by the rule: what an emergency has begun needs no consent to be ended.
        cloudmake.as_of += timedelta(days=1)
        assert cloudmake.run("jwt_key_rotation").status == "success"
        cloudmake.as_of -= timedelta(days=1)
        left = dict(cloudmake.rows("SELECT kid, active FROM jwt_keys"))
        shown = [key["kid"] for key in json.loads((tmp_path / "jwks.json").read_bytes())["keys"]]
        assert sorted(shown) == sorted(left)
        assert list(left.values()).count(True) == 1
        assert len(left) == (1 if emergency and rows != [(before,)] else 2)
        if not is_killed:
            break
    assert seen == {True, False}
    assert place > 3


def test_a_rotation_of_the_master_key_leaves_every_value_readable_and_goes_on(cloudmake: CloudMake) -> None:
    set_keys(cloudmake)
    seen = set()
    # The first three write nothing but that the run has begun.
    for place in itertools.count(4):
        cloudmake.connection.execute(
            "DELETE FROM jwt_keys; DELETE FROM secrets_metadata; DELETE FROM maintenance.stored_secret;"
            "DELETE FROM maintenance.wrapped_key; DELETE FROM maintenance.master_key_rotation; DELETE FROM admin_audit_logs"
        )
        add_signing_key(cloudmake, days=1, key=OLD_KEY)
        for _ in range(3):
            add_metadata(cloudmake)
        add_stored(cloudmake)
        add_wrapped(cloudmake)
        contents = sorted(content for _, content in opens(cloudmake))

        is_killed = kill_at(cloudmake, "master_key_rotation", place, confirm=True, batch=2)

        found = opens(cloudmake)
        assert sorted(content for _, content in found) == contents
        seen.add([key for key, _ in found].count("new"))
        assert cloudmake.run("master_key_rotation", confirm=True).status == "success"
        assert {key for key, _ in opens(cloudmake)} == {"new"}
        assert [action for action, _ in cloudmake.audit()] == ["master_key_rotation_began", "master_key_rotation"]
        assert cloudmake.count("maintenance.master_key_rotation", "verified_at IS NOT NULL") == 1
        if not is_killed:
            break
    assert seen == {0, 1, 3, 4, 5, 6}
