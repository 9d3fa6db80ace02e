"""The rotations under the one role that `roles sql` gives what they need."""

from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.keys import OLD_KEY, add_metadata, add_signing_key, add_stored, add_wrapped, set_keys, under
from tests.support.command import call
from tests.support.roles import role_in


def test_both_rotations_do_their_work_by_what_their_role_is_given(cloudmake: CloudMake) -> None:
    set_keys(cloudmake)
    add_signing_key(cloudmake, days=90, key=OLD_KEY)
    add_signing_key(cloudmake, days=200, retired_days=9, key=OLD_KEY)
    add_metadata(cloudmake)
    add_stored(cloudmake)
    add_wrapped(cloudmake)
    with role_in(cloudmake.url, cloudmake.connection) as role:
        given = call(cloudmake.environ, "roles", "sql", "cloudmake", "--role", role.name)
        cloudmake.connection.execute(given.stdout)
        cloudmake.environ["CLOUDMAKE_DATABASE_URL"] = role.url

        master = cloudmake.run("master_key_rotation", confirm=True)
        signing = cloudmake.run("jwt_key_rotation")
        status = call(cloudmake.environ, "keys", "status")

    assert (master.error, signing.error, status.returncode) == (None, None, 0)
    assert under(cloudmake) == ["new"] * 5
