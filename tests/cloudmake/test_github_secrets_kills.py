"""A synchronisation that is killed anywhere is finished by the next: nothing lost, nothing in conflict for ever, told once."""

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.dying import dying
from tests.cloudmake.secrets import JOB, Secrets
from tests.support.waiting import wait_until

pytestmark = pytest.mark.stack

STEPS = 400
"""More than a run has."""


@pytest.fixture
def secrets(cloudmake: CloudMake) -> Iterator[Secrets]:
    with Secrets.open(cloudmake) as opened:
        yield opened


def change(secrets: Secrets, number: int) -> None:
    """Change one secret, add another, and let the one of last time be gone."""
    secrets.github.pass_time(2)
    shop = secrets.cloudmake.value("SELECT id FROM projects WHERE slug = 'shop'")
    secrets.put(shop, "CHANGED_PROD", f"planted {number}")
    secrets.add(shop, f"NEW_{number}", "planted")
    name = f"NEW_{number - 1}"
    secrets.cloudmake.connection.execute("DELETE FROM secret_mappings WHERE secret_name = %s", [name])
    secrets.cloudmake.connection.execute("DELETE FROM maintenance.stored_secret WHERE name = %s", [name])


def assert_nobody_is_left(secrets: Secrets) -> None:
    query = f"SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '{JOB}%'"
    wait_until(lambda: not secrets.cloudmake.value(query), "the killed run's session is still there")


def test_a_kill_between_any_two_statements_or_requests_is_made_good_by_the_next_run(secrets: Secrets) -> None:
    secrets.map(secrets.add_project("shop", "production"), "CHANGED_PROD", "actions")
    as_of = secrets.cloudmake.as_of.isoformat()
    with dying(secrets.cloudmake.environ) as process:
        for number in range(1, STEPS):
            change(secrets, number)

            ended = process.run(JOB, as_of=as_of, dies_at=number)
            assert_nobody_is_left(secrets)
            result = secrets.sync()

            assert result.error is None, f"after a kill at {number}: {result.error}"
            assert secrets.values("shop") == {"CHANGED_PROD": f"planted {number}", f"NEW_{number}": "planted"}, number
            assert secrets.values("shop", "environment:production") == {"CHANGED": f"planted {number}"}, number
            assert set(secrets.states().values()) == {"written"}, number
            assert set(secrets.statuses().values()) == {"synced"}, number
            if ended:
                break
    assert ended
    assert number > 30
    told = Counter((operation, name) for operation, name, _, _ in secrets.events() if name is not None)
    expected = {("create", "CHANGED_PROD"): 1, ("update", "CHANGED_PROD"): number - 1}
    expected |= {("create", f"NEW_{each}"): 1 for each in range(1, number + 1)}
    expected |= {("delete", f"NEW_{each}"): 1 for each in range(1, number)}
    # A first write that was not confirmed is an update the second time.
    assert told.total() == sum(expected.values())
    assert {name for _, name in told} == {name for _, name in expected}
