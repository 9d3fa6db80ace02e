"""What `explain` foretells of Hay's rows, and what it knows of those that are gone."""

from datetime import UTC, datetime, timedelta

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.core.inspection.explain import Explanation, explain
from cath_dagster.core.run.spec import load_specs
from tests.hay.hay import Hay


def foretold(hay: Hay, table: str, key: object) -> Explanation:
    with EnvironmentBackends(hay.location.prefix, hay.environ).database("test") as database:
        specs = load_specs(hay.location)
        return explain(database, specs, table, str(key), now=hay.as_of, environ=hay.environ)


def test_says_when_a_message_goes_or_what_keeps_it(hay: Hay) -> None:
    tenant = hay.add_tenant(30)
    soon = hay.add_message(hay.add_conversation(tenant, closed_at=hay.ago(days=29)))
    held = hay.add_message(hay.add_conversation(tenant, legal_hold=True))

    goes, stays = (foretold(hay, "messages", key) for key in (soon, held))

    # The day after the tick at which it is just as old as its tenant keeps it.
    assert [each.at for each in goes.forecasts] == [datetime(2026, 11, 20, 3, 0, tzinfo=UTC)]
    assert [each.unmet for each in stays.forecasts] == [("no legal hold is on its conversation",)]


def test_finds_an_audit_row_that_is_gone_in_the_archive(hay: Hay) -> None:
    gone = hay.add("audit_logs", action="user.login", created_at=hay.ago(days=120))
    run = hay.run("cleanup_old_audit_logs")
    young = hay.add("audit_logs", action="user.login", created_at=hay.ago(days=90) + timedelta(hours=1))

    found, next_ = foretold(hay, "audit_logs", gone), foretold(hay, "audit_logs", young)

    assert ([each.run_id for each in found.deletions], found.is_certain) == ([run.run_id], True)
    assert next_.forecasts[0].at == datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
