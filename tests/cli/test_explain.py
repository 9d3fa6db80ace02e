"""`cath-dagster explain`: what became of a row, and what will."""

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cath_dagster.cath import CATH
from cath_dagster.core.run.spec import load_specs
from tests.support.cli import run
from tests.support.command import Done, call
from tests.support.service import Service

WITH_KEYS = ("--set", "ledger_keys=true")


def explain(service: Service, table: str, key: object, **environ: str) -> dict[str, Any]:
    done = call({**service.environ, **environ}, "explain", table, str(key), "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def add_entry(service: Service, days: float) -> uuid.UUID:
    """Add an ingestion log row so many days old by the clock, which is what `explain` goes by."""
    entry: uuid.UUID = service.insert(
        "ingestion_log",
        id=uuid.uuid4(),
        timestamp=datetime.now(UTC).replace(tzinfo=None) - timedelta(days=days),
        source_system="SNL",
        court_id="1",
        status="SUCCESS",
    )
    return entry


def purge(service: Service, *arguments: str) -> str:
    """Run the purge of the logs as of now and return its run id."""
    done = call(service.environ, "run", "clear_audit", "--json", *arguments)
    return str(json.loads(done.stdout)["run_id"])


def forecast(found: dict[str, Any], job: str) -> dict[str, Any]:
    (item,) = [item for item in found["forecasts"] if item["job"] == job]
    assert isinstance(item, dict)
    return item


# A row that is gone


def test_names_the_run_that_deleted_a_row_whose_key_was_kept(service: Service) -> None:
    entry = add_entry(service, 91)
    run_id = purge(service, *WITH_KEYS)

    found = explain(service, "ingestion_log", entry)

    assert (found["exists"], found["is_certain"]) == (False, True)
    (deletion,) = found["deletions"]
    assert (deletion["run_id"], deletion["job"]) == (run_id, "clear_audit")
    assert deletion["rule"] == "ingestion_log rows older than 90 days"
    cutoff = datetime.fromisoformat(deletion["cutoff"])
    assert timedelta(days=90) < datetime.now(UTC) - cutoff < timedelta(days=90, minutes=5)


def test_finds_a_kept_key_however_it_is_written(service: Service) -> None:
    entry = add_entry(service, 91)
    purge(service, *WITH_KEYS)

    assert explain(service, "ingestion_log", str(entry).upper())["is_certain"] is True


def test_keeps_the_key_of_a_row_that_takes_others_along(service: Service) -> None:
    artefact = service.add_artefact(display_to=service.days_ago(1))
    result = json.loads(run(service, "expired_artefacts", *WITH_KEYS, "--json").stdout)

    found = explain(service, "artefact", artefact)

    assert found["deletions"][0]["run_id"] == result["run_id"]
    assert service.rows("SELECT table_name, key FROM maintenance.deleted_key") == [("artefact", str(artefact))]


def test_infers_from_rule_and_cutoff_where_no_key_was_kept_and_says_so(service: Service) -> None:
    entry = add_entry(service, 91)
    run_id = purge(service)

    found = explain(service, "ingestion_log", entry)

    assert found["is_certain"] is False
    assert "not kept" in found["says"]
    assert [(item["run_id"], item["rows"]) for item in found["deletions"]] == [(run_id, 1)]
    assert "An inference" in call(service.environ, "explain", "ingestion_log", str(entry)).stdout


def test_does_not_suspect_a_run_that_kept_its_keys(service: Service) -> None:
    add_entry(service, 91)
    purge(service, *WITH_KEYS)

    found = explain(service, "ingestion_log", uuid.uuid4())

    assert (found["exists"], found["deletions"]) == (False, [])


def test_keeps_no_keys_unless_told(service: Service) -> None:
    add_entry(service, 91)
    purge(service)

    assert service.count("maintenance.deleted_key") == 0


def test_keeps_no_keys_in_a_dry_run(service: Service) -> None:
    add_entry(service, 91)
    purge(service, *WITH_KEYS, "--dry-run")

    assert service.count("maintenance.deleted_key") == 0


def test_keeps_one_key_a_deleted_row(service: Service) -> None:
    for days in (91, 92, 1):
        add_entry(service, days)
    purge(service, *WITH_KEYS)

    deleted = service.value("SELECT deleted FROM maintenance.purge_ledger WHERE table_name = 'ingestion_log'")
    assert (deleted, service.count("maintenance.deleted_key"), service.count("ingestion_log")) == (2, 2, 1)


def test_names_the_run_of_a_row_of_which_a_copy_was_kept(service: Service) -> None:
    artefact = service.add_artefact(display_to=service.days_ago(1))
    result = json.loads(run(service, "expired_artefacts", "--json").stdout)

    found = explain(service, "artefact", str(artefact).upper())

    (deletion,) = found["deletions"]
    assert (found["is_certain"], deletion["run_id"], deletion["job"]) == (True, result["run_id"], "expired_artefacts")
    assert "not kept" not in found["says"]


def test_names_the_run_of_a_row_that_can_be_brought_back_and_of_those_that_went_along(service: Service) -> None:
    subscription = service.add_subscription(service.add_user(), search_type="LOCATION_ID", search_value="99")
    notification = service.add_notification(subscription)
    stays = service.add_subscription(service.add_user(), search_type="CASE_NUMBER", search_value="1")
    result = json.loads(run(service, "subscriptions", "--json").stdout)

    for table, key in (("subscription", subscription), ("notification_audit_log", notification)):
        found = explain(service, table, key)
        assert found["is_certain"] is True
        assert [item["run_id"] for item in found["deletions"]] == [result["run_id"]]
        assert "to no location" in found["deletions"][0]["rule"]
    service.connection.execute("DELETE FROM subscription WHERE subscription_id = %s", (stays,))
    assert explain(service, "subscription", stays)["is_certain"] is False


def test_names_the_run_of_a_row_whose_files_are_queued_still(service: Service) -> None:
    artefact = service.add_artefact(display_to=service.days_ago(1))
    run_id = str(uuid.uuid4())
    service.run("expired_artefacts", run_id=run_id)
    service.connection.execute("DELETE FROM maintenance.artefact_archive")
    service.connection.execute(
        "INSERT INTO maintenance.file_outbox (job, path, table_name, row_key, run_id)"
        " VALUES ('expired_artefacts', 'a/b', 'artefact', %s, %s)",
        (str(artefact), run_id),
    )

    assert [item["run_id"] for item in explain(service, "artefact", artefact)["deletions"]] == [run_id]


def test_tells_of_a_row_that_was_put_back_which_restore_did_and_how_long_it_is_left_alone(service: Service) -> None:
    subscription = service.add_subscription(service.add_user(), search_type="LOCATION_ID", search_value="99")
    deleted = json.loads(call(service.environ, "run", "subscriptions", "--json").stdout)["run_id"]
    restored = json.loads(call(service.environ, "restore", deleted, "--json").stdout)["run_id"]

    found = explain(service, "subscription", subscription)

    (back,) = found["restorations"]
    assert (found["exists"], back["run_id"], back["restored_by"]) == (True, deleted, restored)
    shown = call(service.environ, "explain", "subscription", str(subscription)).stdout
    assert f"put back by restore {restored}" in shown.replace("\n", " ")


# A row that is there


def test_says_when_a_rule_takes_a_row_at_the_earliest(service: Service) -> None:
    entry = add_entry(service, 80)

    item = forecast(explain(service, "ingestion_log", entry), "clear_audit")

    expires = datetime.now(UTC) + timedelta(days=10)
    assert (item["rule"], item["matches_now"]) == ("ingestion_log rows older than 90 days", False)
    assert expires - timedelta(minutes=5) < datetime.fromisoformat(item["at"]) <= expires + timedelta(days=1)
    assert datetime.fromisoformat(item["at"]).hour == 1


def test_a_run_at_the_instant_foretold_takes_the_row_and_the_one_before_does_not(service: Service) -> None:
    entry = add_entry(service, 80)
    at = datetime.fromisoformat(forecast(explain(service, "ingestion_log", entry), "clear_audit")["at"])

    service.run("clear_audit", as_of=at - timedelta(days=1))
    before = service.count("ingestion_log")
    service.run("clear_audit", as_of=at)

    assert (before, service.count("ingestion_log")) == (1, 0)


def test_says_that_the_next_run_takes_a_row_that_matches_now(service: Service) -> None:
    entry = add_entry(service, 91)

    found = explain(service, "ingestion_log", entry)

    item = forecast(found, "clear_audit")
    assert item["matches_now"] is True
    assert datetime.fromisoformat(item["at"]) <= datetime.now(UTC) + timedelta(days=1)
    assert "next run" in found["says"]


def test_goes_by_the_settings_of_the_environment(service: Service) -> None:
    entry = add_entry(service, 80)

    found = explain(service, "ingestion_log", entry, CATH_CLEAR_AUDIT_INGESTION_LOG_RETENTION_DAYS="30")

    assert forecast(found, "clear_audit")["matches_now"] is True


def test_says_that_the_rule_is_switched_off(service: Service) -> None:
    entry = add_entry(service, 91)

    found = explain(service, "ingestion_log", entry, CATH_CLEAR_AUDIT_INGESTION_LOG_ENABLED="false")

    assert (found["forecasts"], found["switched_off"]) == ([], ["clear_audit"])


def test_says_by_which_condition_a_row_is_kept(service: Service) -> None:
    service.add_location(1)
    artefact = service.add_artefact(no_match=True, location_id="1", display_to=datetime(2100, 1, 1))

    item = forecast(explain(service, "artefact", artefact), "no_match_artefacts")

    assert (item["at"], item["unmet"]) == (None, ["its location id is no existing location's"])


def test_says_that_a_user_is_kept_who_was_not_warned(service: Service) -> None:
    user = service.add_user("CFT_IDAM", last_signed_in_date=service.days_ago(140))

    item = forecast(explain(service, "user", user), "inactive_verification")

    assert item["at"] is None
    assert ["warned in time" in words for words in item["unmet"]] == [True]


def test_tells_every_rule_that_takes_a_row_along_with_another(service: Service) -> None:
    user = service.add_user("SSO", role="INTERNAL_ADMIN_CTSC", last_signed_in_date=service.days_ago(200))
    subscription = service.add_subscription(user)

    found = explain(service, "subscription", subscription)

    assert forecast(found, "inactive_verification")["rule"].startswith("along with user: ")
    assert all(item["matches_now"] for item in found["forecasts"])


def test_says_which_job_cannot_be_foreseen(service: Service) -> None:
    application = service.add_application()

    found = explain(service, "media_application", application)

    assert (found["is_certain"], found["not_foreseen"]) == (False, ["media_reporting"])


def test_finds_every_row_that_any_rule_may_take(service: Service) -> None:
    user = service.add_user()
    subscription = service.add_subscription(user)
    rows = {
        "user": user,
        "subscription": subscription,
        "notification_audit_log": service.add_notification(subscription),
        "subscription_list_type": service.insert(
            "subscription_list_type", subscription_list_type_id=uuid.uuid4(), user_id=user, list_type_ids=[1],
            list_language=["ENGLISH"],
        ),
        "artefact": service.add_artefact(),
    }  # fmt: skip

    assert all(explain(service, table, key)["exists"] for table, key in rows.items())


# Wrong usage


def says_wrong_usage(done: Done, *words: str) -> bool:
    return done.returncode == 2 and all(word in done.stderr for word in words) and "Traceback" not in done.stderr


def test_refuses_a_table_that_no_job_purges_and_names_those_they_do(service: Service) -> None:
    done = call(service.environ, "explain", "ingestion_logs", str(uuid.uuid4()))

    assert says_wrong_usage(done, "'ingestion_logs'", "ingestion_log,")


def test_refuses_a_key_that_cannot_be_one_of_the_table(service: Service) -> None:
    done = call(service.environ, "explain", "ingestion_log", "7; DROP TABLE ingestion_log")

    assert says_wrong_usage(done, "no key of ingestion_log", "UUID")
    assert service.count("ingestion_log") == 0


def test_explains_to_people_in_a_sentence(service: Service) -> None:
    entry = add_entry(service, 80)

    done = call(service.environ, "explain", "ingestion_log", str(entry))

    assert "takes it, as things stand" in done.stdout
    assert done.returncode == 0


def test_of_a_job_without_a_schedule_it_says_that_somebody_has_to_run_it(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand = [replace(spec, schedule=None) for spec in load_specs(CATH)]
    monkeypatch.setattr("cath_dagster.cli.ledger.load_specs", lambda location: by_hand)
    due, young = add_entry(service, 91), add_entry(service, 1)

    found, not_due = explain(service, "ingestion_log", due), explain(service, "ingestion_log", young)
    shown = call(service.environ, "explain", "ingestion_log", str(due)).stdout

    assert "clear_audit (ingestion_log rows older than 90 days) has no schedule, and takes it once" in found["says"]
    assert (forecast(found, "clear_audit")["at"], forecast(found, "clear_audit")["has_schedule"]) == (None, False)
    assert "no rule takes it" in not_due["says"]
    assert "  no schedule  clear_audit" in shown
