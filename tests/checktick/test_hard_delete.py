"""The deletion of surveys for good: what goes, what stays, what is left of it, and what stands in the way."""

from dataclasses import replace

import psycopg
import pytest

from cath_dagster.adapters import postgres
from cath_dagster.checktick.deletion import POLICY
from cath_dagster.core.model.outcome import RunResult, Status
from cath_dagster.core.purge import blast_radius
from tests.checktick.checktick import DEPENDENT, PLACE_HOLD, RESPOND, CheckTick
from tests.support.maintained import outcome
from tests.support.waiting import FOR_EVER_SECONDS, wait_until

REFUSE_ONE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'not this one'; END $$;
CREATE TRIGGER refuse BEFORE DELETE ON surveys_surveyresponse FOR EACH ROW WHEN (OLD.survey_id = {})
EXECUTE FUNCTION refuse();
"""
KEYS = (
    *("encrypted_kek_password", "encrypted_kek_recovery", "encrypted_kek_oidc", "encrypted_kek_org"),
    *("key_salt", "key_hash"),
)
CATCH_KEYS = f"""
CREATE TABLE caught AS SELECT id, {", ".join(KEYS)} FROM surveys_survey WHERE false;
CREATE FUNCTION catch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO caught SELECT OLD.id, {", ".join(f"OLD.{key}" for key in KEYS)}; RETURN OLD; END $$;
CREATE TRIGGER catch BEFORE DELETE ON surveys_survey FOR EACH ROW EXECUTE FUNCTION catch();
"""
NEW_TABLE = """
CREATE TABLE surveys_reminder (
    id bigint PRIMARY KEY, survey_id bigint NOT NULL REFERENCES surveys_survey DEFERRABLE INITIALLY DEFERRED
)
"""


def queued(checktick: CheckTick) -> list[str]:
    return [path for (path,) in checktick.rows("SELECT path FROM maintenance.file_outbox ORDER BY path")]


def files_left(checktick: CheckTick) -> list[str]:
    return sorted(str(file.relative_to(checktick.media)) for file in checktick.media.rglob("*") if file.is_file())


def add_many_doomed(checktick: CheckTick, count: int) -> None:
    """Add doomed surveys with a response each, fast."""
    first = checktick.add_doomed()
    columns = "slug, name, description, created_at, owner_id, style, captcha_required, no_patient_data_ack, status, "
    columns += "visibility, recovery_code_hint, closed_at, deleted_at, deletion_date, hard_deletion_date, "
    columns += "retention_months, allow_any_authenticated, is_original, language, require_passphrase_for_patient_data, "
    columns += "dsr_warning_message, has_pending_dsr, suspended_reason"
    checktick.connection.execute(
        f"INSERT INTO surveys_survey ({columns}) SELECT 'many-' || n, {columns.removeprefix('slug, ')}"
        " FROM surveys_survey, generate_series(2, %s) AS n WHERE id = %s",
        (count, first),
    )
    checktick.connection.execute(
        "INSERT INTO surveys_surveyresponse (answers, submitted_at, survey_id, frozen_reason, is_frozen, freeze_source)"
        " SELECT '{}', now(), id, '', false, '' FROM surveys_survey"
    )


def test_clears_every_table_that_holds_something_of_the_survey(checktick: CheckTick) -> None:
    checktick.add_everything(checktick.add_doomed())
    assert min(checktick.rows_of_every_table().values()) > 0

    result = checktick.govern()

    assert (result.status, result.error) == (Status.SUCCESS, None)
    assert checktick.survey_ids() == []
    assert checktick.rows_of_every_table() == {table: int(table == "surveys_auditlog") for table in DEPENDENT}
    assert outcome(result, "surveys_survey").deleted == 1


def test_leaves_everything_of_another_survey_alone(checktick: CheckTick) -> None:
    other = checktick.add_survey()
    checktick.add_everything(other)
    before = {table: checktick.rows(f"SELECT * FROM {table} ORDER BY id") for table in DEPENDENT}
    survey = checktick.rows("SELECT * FROM surveys_survey")
    checktick.add_everything(checktick.add_doomed())

    checktick.govern()

    after = {table: checktick.rows(f"SELECT * FROM {table} ORDER BY id") for table in DEPENDENT}
    after["surveys_auditlog"] = after["surveys_auditlog"][:1]
    assert after == before
    assert checktick.rows("SELECT * FROM surveys_survey") == survey


def test_what_survives_the_service_s_own_deletion_survives_ours(checktick: CheckTick) -> None:
    checktick.add_everything(checktick.add_doomed())
    security = checktick.add_audit(None, scope="security", action="login_failed")

    checktick.govern()

    assert checktick.count("surveys_questiongroup") == 1
    assert checktick.count("surveys_auditlog", f"id = {security}") == 1


def test_what_other_surveys_refer_to_is_cut_off_or_goes_along(checktick: CheckTick) -> None:
    doomed, other = checktick.add_doomed(), checktick.add_survey()
    checktick.connection.execute("UPDATE surveys_survey SET translated_from_id = %s WHERE id = %s", (doomed, other))
    token = checktick.add_token(doomed)
    response = checktick.add_response(other, access_token_id=token)
    progress = checktick.add_progress(other, access_token_id=token)
    request = checktick.add_request(other, checktick.add_response(doomed))
    log = checktick.add_freeze_log(response, checktick.add_request(doomed))
    checktick.add_condition(checktick.add_question(other), checktick.add_question(doomed))
    checktick.add_collection_item(checktick.add_collection(other, checktick.add_collection(doomed)))

    result = checktick.govern()

    assert (result.status, result.error) == (Status.SUCCESS, None)
    assert checktick.survey(other, "translated_from_id") == (None,)
    for table, column, key in (
        ("surveys_surveyresponse", "access_token_id", response),
        ("surveys_surveyprogress", "access_token_id", progress),
        ("surveys_datasubjectrequest", "response_id", request),
        ("surveys_responsefreezelog", "data_subject_request_id", log),
    ):
        assert checktick.rows(f"SELECT {column} FROM {table} WHERE id = %s", key) == [(None,)], table
    for table in ("surveys_surveyquestioncondition", "surveys_collectiondefinition", "surveys_collectionitem"):
        assert checktick.count(table) == 0, table


def test_takes_collections_however_deeply_they_are_nested(checktick: CheckTick) -> None:
    doomed, other = checktick.add_doomed(), checktick.add_survey()
    nested = checktick.add_collection(doomed)
    for _ in range(5):
        nested = checktick.add_collection(other, nested)

    assert checktick.govern().status is Status.SUCCESS
    assert checktick.count("surveys_collectiondefinition") == 0


def test_deletes_at_the_date_itself_and_not_a_moment_before(checktick: CheckTick) -> None:
    checktick.add_doomed(hard_deletion_date=checktick.as_of)
    later = checktick.add_doomed(hard_deletion_date=checktick.ahead(microseconds=1))

    checktick.govern()

    assert checktick.survey_ids() == [later]


def test_deletes_thirty_days_after_the_soft_deletion_of_its_own_runs(checktick: CheckTick) -> None:
    survey_id = checktick.add_due()
    checktick.govern()

    checktick.govern(as_of=checktick.ahead(days=29))
    assert checktick.survey_ids() == [survey_id]

    checktick.govern(as_of=checktick.ahead(days=30))
    assert checktick.survey_ids() == []


def test_surveys_that_no_rule_takes_are_counted_and_named(checktick: CheckTick) -> None:
    republished = checktick.add_doomed(status="published")
    undated = checktick.add_doomed(hard_deletion_date=None)

    result = checktick.govern()

    assert result.status is Status.SUCCESS
    assert checktick.survey_ids() == [republished, undated]
    details = outcome(result, "surveys_survey").details
    assert details["hard_republished_ids"] == [str(republished)]
    assert details["hard_undated_ids"] == [str(undated)]


def test_a_frozen_response_and_an_open_request_are_counted_and_stop_nothing(checktick: CheckTick) -> None:
    survey_id = checktick.add_doomed()
    checktick.add_request(survey_id)
    checktick.add_response(survey_id, is_frozen=True)

    found = outcome(checktick.govern(), "surveys_survey")

    assert found.deleted == 1
    assert (found.details["hard_with_frozen_response"], found.details["hard_with_open_request"]) == (1, 1)


def test_dry_run_run_and_record_agree_on_which_requests_are_open(checktick: CheckTick) -> None:
    is_open = dict.fromkeys(("received", "referred", "responded", "escalated", "frozen"), 1)
    is_open |= dict.fromkeys(("resolved", "rejected"), 0)
    doomed = {}
    for status in is_open:
        checktick.add_request(checktick.add_due(), status=status, resolved_at=None)
        doomed[status] = checktick.add_doomed(has_pending_dsr=True)
        checktick.add_request(doomed[status], status=status, resolved_at=None)
    names = ("soft_with_open_request", "hard_with_open_request")

    foreseen = outcome(checktick.govern(dry_run=True), "surveys_survey").details
    done = outcome(checktick.govern(), "surveys_survey").details

    assert [foreseen[name] for name in names] == [done[name] for name in names] == [5, 5]
    found = {record["survey_id"]: record["open_requests"] for record in checktick.records()}
    assert found == {survey_id: is_open[status] for status, survey_id in doomed.items()}


def test_an_active_hold_stops_it_with_all_that_belongs_to_it(checktick: CheckTick) -> None:
    survey_id = checktick.add_doomed()
    checktick.add_everything(survey_id)
    checktick.connection.execute("UPDATE surveys_legalhold SET removed_at = NULL")
    before = checktick.rows_of_every_table()

    result = checktick.govern()

    assert checktick.rows_of_every_table() == before
    assert outcome(result, "surveys_survey").details["hard_held_ids"] == [str(survey_id)]
    assert len(files_left(checktick)) == 2


def test_a_hold_placed_while_the_run_waits_is_seen(checktick: CheckTick) -> None:
    survey_id = checktick.add_doomed()
    lock = ("SELECT 1 FROM surveys_survey WHERE id = %s FOR UPDATE", [survey_id])
    place = (PLACE_HOLD, [survey_id])

    result = checktick.run_beside("data_governance", lock, then=[place])

    assert result.status is Status.SUCCESS
    assert checktick.survey_ids() == [survey_id]


def test_a_hold_placed_anew_while_the_run_waits_is_seen(checktick: CheckTick) -> None:
    survey_id = checktick.add_doomed()
    checktick.add_hold(survey_id, removed_at=checktick.ago(days=1))
    again = ("UPDATE surveys_legalhold SET removed_at = NULL WHERE survey_id = %s", [survey_id])

    checktick.run_beside("data_governance", again)

    assert checktick.survey_ids() == [survey_id]


def test_a_hold_that_is_placed_too_late_is_told_so(checktick: CheckTick) -> None:
    survey_id = checktick.add_doomed()
    with psycopg.connect(checktick.url) as other:
        # The foreign key is deferred: the database looks for the survey when the hold is committed.
        other.execute(PLACE_HOLD, [survey_id])

        result = checktick.govern()

        assert (result.status, checktick.survey_ids()) == (Status.SUCCESS, [])
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            other.commit()


def test_a_survey_brought_back_while_the_run_waits_stays(checktick: CheckTick) -> None:
    survey_id = checktick.add_doomed()
    bring_back = (
        "UPDATE surveys_survey SET deleted_at = NULL, hard_deletion_date = NULL, deletion_date = NULL WHERE id = %s",
        [survey_id],
    )

    checktick.run_beside("data_governance", bring_back)

    assert checktick.survey_ids() == [survey_id]


def test_a_response_that_comes_while_the_run_waits_goes_along(checktick: CheckTick) -> None:
    survey_id = checktick.add_doomed()
    lock = ("SELECT 1 FROM surveys_survey WHERE id = %s FOR UPDATE", [survey_id])
    respond = (RESPOND, [survey_id])

    result = checktick.run_beside("data_governance", lock, then=[respond])

    assert (result.status, checktick.survey_ids()) == (Status.SUCCESS, [])
    assert checktick.count("surveys_surveyresponse") == 0


def test_every_key_is_overwritten_with_bytes_of_its_own_before_it_goes(checktick: CheckTick) -> None:
    for _ in range(3):
        checktick.add_doomed(**dict.fromkeys(KEYS, b"a key"))
    without = checktick.add_doomed(encrypted_kek_org=b"a key")
    checktick.connection.execute(CATCH_KEYS)

    checktick.govern()

    caught = checktick.rows(f"SELECT id, {', '.join(KEYS)} FROM caught ORDER BY id")
    values = [value for row in caught for value in row[1:] if value is not None]
    assert len(values) == 3 * 6 + 1
    assert all(len(value) == 64 for value in values)
    assert len(set(values)) == len(values)
    (last,) = [row for row in caught if row[0] == without]
    assert [name for name, value in zip(KEYS, last[1:], strict=True) if value is not None] == ["encrypted_kek_org"]


def test_a_key_that_was_overwritten_is_there_again_where_the_deletion_fails(checktick: CheckTick) -> None:
    survey_id = checktick.add_doomed(encrypted_kek_org=b"a key")
    checktick.add_response(survey_id)
    checktick.connection.execute(REFUSE_ONE.format(survey_id))

    checktick.govern()

    assert checktick.survey(survey_id, "encrypted_kek_org") == (b"a key",)


def test_leaves_a_record_that_outlives_the_survey(checktick: CheckTick) -> None:
    survey_id = checktick.add_doomed(name="Secret ward", slug="secret-ward", encrypted_kek_password=b"a key")
    checktick.add_everything(survey_id)

    checktick.govern(run_id="the-run")
    checktick.govern()

    (record,) = checktick.records()
    expected = {
        "survey_id": survey_id,
        "slug": "secret-ward",
        "owner_id": checktick.owner_id,
        "run_id": "the-run",
        "responses": 1,
        "frozen_responses": 1,
        "questions": 2,
        "exports": 1,
        "open_requests": 1,
        "keys_erased": ["encrypted_kek_password"],
        "deletion_date": checktick.ago(days=31).isoformat(),
        "vault_paths_to_purge": [
            f"surveys/{survey_id}/kek",
            f"users/{checktick.owner_id}/surveys/{survey_id}/recovery-kek",
            f"recovery/{survey_id}",
        ],
    }
    assert {name: record[name] for name in expected} == expected
    assert record["released_holds"][0]["authority"] == "High Court"
    row = checktick.rows("SELECT scope, survey_id, organization_id, actor_id, created_at FROM surveys_auditlog")
    assert row == [("data_governance", None, None, None, checktick.as_of)]
    assert "Secret ward" not in str(record)


def test_the_record_tells_which_warnings_the_owner_had(checktick: CheckTick) -> None:
    survey_id = checktick.add_survey(deletion_date=checktick.ahead(days=1))
    checktick.govern()
    checktick.govern(as_of=checktick.ahead(days=1))

    checktick.govern(as_of=checktick.ahead(days=31))

    (record,) = checktick.records()
    assert (record["survey_id"], record["warnings"]) == (survey_id, ["deletion_warning_1"])


def test_files_of_the_survey_are_deleted_and_others_stay(checktick: CheckTick) -> None:
    checktick.add_everything(checktick.add_doomed())
    other = checktick.add_survey()
    checktick.add_image(checktick.add_question(other), "question_images/other/1/two.png")

    result = checktick.govern()

    assert files_left(checktick) == ["question_images/other/1/two.png"]
    assert queued(checktick) == []
    assert outcome(result, "files").deleted == 2


def test_an_image_that_another_survey_shows_as_well_stays_until_that_goes_too(checktick: CheckTick) -> None:
    path = "question_images/shared/1/one.png"
    checktick.add_image(checktick.add_question(checktick.add_doomed()), path)
    other = checktick.add_survey()
    checktick.add_image(checktick.add_question(other), path)

    checktick.govern()
    assert files_left(checktick) == [path]

    checktick.connection.execute(
        "UPDATE surveys_survey SET deleted_at = now(), hard_deletion_date = %s WHERE id = %s",
        (checktick.as_of, other),
    )
    checktick.govern()
    assert files_left(checktick) == []


def test_an_image_that_two_doomed_surveys_show_goes_with_them(checktick: CheckTick) -> None:
    path = "question_images/shared/1/one.png"
    for _ in range(2):
        checktick.add_image(checktick.add_question(checktick.add_doomed()), path)

    assert checktick.govern().status is Status.SUCCESS
    assert files_left(checktick) == []


def test_a_file_that_cannot_be_deleted_fails_the_run_and_stays_queued(checktick: CheckTick) -> None:
    checktick.add_image(checktick.add_question(checktick.add_doomed()), "question_images/one.png")
    checktick.environ["CHECKTICK_MEDIA_URL"] = (checktick.media / "gone").as_uri()

    failed = checktick.govern()

    assert failed.status is Status.FAILED
    assert "1 files could not be deleted" in (failed.error or "")
    assert (checktick.survey_ids(), queued(checktick)) == ([], ["question_images/one.png"])

    checktick.environ["CHECKTICK_MEDIA_URL"] = checktick.media.as_uri()
    assert checktick.govern().status is Status.SUCCESS
    assert (queued(checktick), files_left(checktick)) == ([], [])


def test_the_policy_names_every_foreign_key_of_the_service(checktick: CheckTick) -> None:
    assert checktick.govern(dry_run=True).would_refuse is None
    assert len(POLICY) == len(set(map(str, POLICY)))


def test_a_table_that_appeared_later_is_named_before_anything_is_done(checktick: CheckTick) -> None:
    due, doomed = checktick.add_due(), checktick.add_doomed()
    checktick.add_survey(deletion_date=checktick.ahead(days=7))
    checktick.connection.execute(NEW_TABLE)

    result = checktick.govern()

    assert result.status is Status.REFUSED
    assert "surveys_reminder.survey_id to surveys_survey" in (result.error or "")
    assert checktick.smtp.sent == []
    assert checktick.survey(due, "deleted_at") == (None,)
    assert doomed in checktick.survey_ids()


def test_a_table_below_a_table_that_appeared_later_is_named_as_well(checktick: CheckTick) -> None:
    checktick.connection.execute(
        "CREATE TABLE surveys_note (id bigint PRIMARY KEY, response_id bigint REFERENCES surveys_surveyresponse)"
    )

    result = checktick.govern(dry_run=True)

    assert result.status is Status.SUCCESS
    assert "surveys_note.response_id to surveys_surveyresponse" in (result.would_refuse or "")


def test_a_foreign_key_that_is_not_there_is_named_too(checktick: CheckTick) -> None:
    checktick.connection.execute("DROP TABLE surveys_responsefreezelog")

    result = checktick.govern()

    assert result.status is Status.REFUSED
    assert "surveys_responsefreezelog.response_id to surveys_surveyresponse" in (result.error or "")


def test_a_foreign_key_from_another_schema_is_named_with_it(checktick: CheckTick) -> None:
    checktick.connection.execute("CREATE SCHEMA extra")
    checktick.connection.execute(NEW_TABLE.replace("surveys_reminder", "extra.reminder"))

    assert "extra.reminder.survey_id to surveys_survey" in (checktick.govern().error or "")


def test_one_that_fails_is_named_and_the_others_are_done(checktick: CheckTick) -> None:
    surveys = [checktick.add_doomed() for _ in range(4)]
    for survey_id in surveys:
        checktick.add_everything(survey_id)
    checktick.connection.execute(REFUSE_ONE.format(surveys[2]))

    result = checktick.govern()

    assert result.status is Status.FAILED
    assert f"1 surveys could not be hard-deleted ({surveys[2]}: " in (result.error or "")
    assert checktick.survey_ids() == [surveys[2]]
    assert checktick.count("surveys_surveyresponse") == 1
    assert len(checktick.records()) == 3
    found = outcome(result, "surveys_survey")
    assert (found.deleted, found.failed, found.details["not_hard_deleted_ids"]) == (3, 1, [str(surveys[2])])


def test_a_row_that_a_deferred_constraint_holds_fails_its_survey_only(checktick: CheckTick) -> None:
    first, second = checktick.add_doomed(), checktick.add_doomed()
    # A constraint trigger, as a foreign key's own, speaks at commit.
    checktick.connection.execute(
        f"""
        CREATE FUNCTION hold_back() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE foreign_key_violation; END $$;
        CREATE CONSTRAINT TRIGGER hold_back AFTER DELETE ON surveys_survey DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW WHEN (OLD.id = {first}) EXECUTE FUNCTION hold_back();
        """
    )

    result = checktick.govern()

    assert result.status is Status.FAILED
    assert checktick.survey_ids() == [first]
    assert [record["survey_id"] for record in checktick.records()] == [second]


def test_a_survey_that_somebody_keeps_locked_holds_back_no_other(
    checktick: CheckTick, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = replace(postgres.SESSION_SETTINGS["lock_timeout"], value="50ms")
    monkeypatch.setitem(postgres.SESSION_SETTINGS, "lock_timeout", pin)
    monkeypatch.setattr("cath_dagster.core.postgres.database.FIRST_PAUSE_SECONDS", 0.001)
    locked, free = checktick.add_doomed(), checktick.add_doomed()
    with psycopg.connect(checktick.url) as other:
        other.execute("SELECT 1 FROM surveys_survey WHERE id = %s FOR UPDATE", [locked])

        result = checktick.govern()

    assert result.status is Status.FAILED
    assert checktick.survey_ids() == [locked]
    assert free not in checktick.survey_ids()
    assert outcome(result, "surveys_survey").details["not_hard_deleted_ids"] == [str(locked)]


def test_many_are_done_in_groups_of_fifty(checktick: CheckTick) -> None:
    add_many_doomed(checktick, 120)

    result = checktick.govern()

    query = "SELECT deleted FROM maintenance.ledger_event WHERE kind = 'batch' AND table_name = 'surveys_survey'"
    assert checktick.rows(f"{query} ORDER BY event_id") == [(50,), (50,), (20,)]
    assert outcome(result, "surveys_surveyresponse").deleted == 120
    assert len(checktick.records()) == 120


def test_surveys_with_many_responses_are_done_in_smaller_groups(
    checktick: CheckTick, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cath_dagster.checktick.survey_batches.MAX_RESPONSES", 3)
    for _ in range(3):
        survey_id = checktick.add_doomed()
        for _ in range(2):
            checktick.add_response(survey_id)

    result = checktick.govern()

    assert outcome(result, "surveys_survey").batches == 3
    assert checktick.survey_ids() == []


def test_the_size_of_a_group_is_a_setting_of_at_most_fifty(checktick: CheckTick) -> None:
    add_many_doomed(checktick, 6)

    refused = checktick.govern(surveys_per_transaction=51)
    result = checktick.govern(surveys_per_transaction=2)

    assert refused.status is Status.FAILED
    assert outcome(result, "surveys_survey").batches == 3


def test_a_second_run_changes_nothing(checktick: CheckTick) -> None:
    checktick.add_everything(checktick.add_doomed())
    checktick.govern()
    before = checktick.rows("SELECT * FROM surveys_auditlog")

    again = checktick.govern()

    assert {each.target: each.changed for each in again.outcomes if each.changed} == {}
    assert checktick.rows("SELECT * FROM surveys_auditlog") == before


def test_a_dry_run_counts_by_table_what_the_run_then_deletes(checktick: CheckTick) -> None:
    for _ in range(3):
        checktick.add_everything(checktick.add_doomed())
    checktick.add_everything(checktick.add_survey())
    before = checktick.rows_of_every_table()

    preview = checktick.govern(dry_run=True)
    assert checktick.rows_of_every_table() == before
    assert len(files_left(checktick)) == 8
    result = checktick.govern()

    def counted(run: RunResult, name: str) -> dict[str, int]:
        return {each.target: getattr(each, name) for each in run.outcomes if each.target != "mail"}

    assert counted(preview, "matched") == counted(result, "deleted")
    assert sum(counted(result, "deleted").values()) > 60


def test_a_dry_run_previews_all_three_parts(checktick: CheckTick) -> None:
    checktick.add_survey(deletion_date=checktick.ahead(days=7))
    checktick.add_due()
    checktick.add_doomed()

    result = checktick.govern(dry_run=True)

    found = outcome(result, "surveys_survey")
    assert outcome(result, "mail").matched == 1
    assert (found.details["would_soft_delete"], found.details["would_hard_delete"]) == (1, 1)
    assert found.changed == 0


def test_more_than_half_of_the_surveys_is_refused_before_a_mail_goes(checktick: CheckTick) -> None:
    add_many_doomed(checktick, 10_001)
    checktick.add_survey(deletion_date=checktick.ahead(days=7))

    result = checktick.govern()

    assert result.status is Status.REFUSED
    assert "10,001 of 10,002 rows of surveys_survey" in (result.error or "")
    assert checktick.smtp.sent == []
    assert checktick.count("surveys_survey") == 10_002
    ends = checktick.rows("SELECT DISTINCT step, outcome FROM maintenance.ledger_event WHERE kind = 'finished'")
    assert ends == [("send_warnings", "refused")]


def test_a_large_deletion_is_allowed_for_one_run(checktick: CheckTick, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blast_radius, "MIN_ROWS", 500)
    add_many_doomed(checktick, 501)

    refused = checktick.govern()
    allowed = checktick.govern(allow_large=True)

    assert (refused.status, allowed.status) == (Status.REFUSED, Status.SUCCESS)
    assert checktick.survey_ids() == []


def test_another_run_of_the_job_is_refused_while_one_goes_on(checktick: CheckTick) -> None:
    doomed = checktick.add_doomed()
    lock = ("SELECT pg_advisory_lock(hashtextextended('checktick/data_governance', 0))", ())
    with psycopg.connect(checktick.url, application_name="data_governance:other") as other:
        other.execute(*lock)
        result = checktick.govern()

    assert result.status is Status.REFUSED
    assert "data_governance:other" in (result.error or "")
    assert checktick.survey_ids() == [doomed]


@pytest.mark.stack
def test_a_run_killed_midway_leaves_whole_surveys_and_the_next_one_finishes(checktick: CheckTick) -> None:
    add_many_doomed(checktick, 300)
    checktick.connection.execute(
        "CREATE SEQUENCE gone;"
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF nextval('gone') > 150 THEN PERFORM pg_sleep({FOR_EVER_SECONDS}); END IF; RETURN OLD; END $$;"
        "CREATE TRIGGER dawdle BEFORE DELETE ON surveys_surveyresponse FOR EACH ROW EXECUTE FUNCTION dawdle()"
    )
    with checktick.child_running("data_governance") as child:
        wait_until(lambda: checktick.records() or child.poll() is not None, "the run never came to a deletion")
        assert child.poll() is None, "the run ended before it could be killed"
        child.kill()
        child.wait()

    left = len(checktick.survey_ids())
    assert 0 < left < 300
    assert left % 50 == 0
    assert checktick.count("surveys_surveyresponse") == left
    assert len(checktick.records()) == 300 - left
    assert checktick.value("SELECT sum(deleted) FROM maintenance.purge_ledger WHERE table_name = 'surveys_survey'") == (
        300 - left
    )
    checktick.connection.execute("DROP TRIGGER dawdle ON surveys_surveyresponse")
    wait_until(lambda: not checktick.count("pg_stat_activity", "application_name LIKE 'data_governance:%'"))

    result = checktick.govern()

    assert result.status is Status.SUCCESS
    assert checktick.survey_ids() == []
    records = [record["survey_id"] for record in checktick.records()]
    assert len(records) == len(set(records)) == 300


def test_files_queued_by_a_run_that_was_killed_are_deleted_by_the_next(checktick: CheckTick) -> None:
    checktick.add_file("question_images/left.png")
    checktick.insert("maintenance.file_outbox", job="data_governance", path="question_images/left.png", run_id="killed")

    checktick.govern()

    assert (queued(checktick), files_left(checktick)) == ([], [])


def test_the_keys_of_surveys_are_always_written_down(checktick: CheckTick) -> None:
    survey_id = checktick.add_doomed()

    checktick.govern(run_id="the-run")

    query = "SELECT run_id, table_name, key FROM maintenance.deleted_key"
    assert checktick.rows(query) == [("the-run", "surveys_survey", str(survey_id))]


def test_the_media_store_must_be_named(checktick: CheckTick) -> None:
    del checktick.environ["CHECKTICK_MEDIA_URL"]

    result = checktick.govern()

    assert result.status is Status.FAILED
    assert "CHECKTICK_MEDIA_URL" in (result.error or "")


def test_an_empty_database_is_no_failure(checktick: CheckTick) -> None:
    result = checktick.govern()

    assert result.status is Status.SUCCESS
    assert all(each.changed == 0 for each in result.outcomes)
