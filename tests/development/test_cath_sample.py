"""The CaTH sample: the service's schema as it is, and rows on both sides of every cutoff but near none."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from cath_dagster.development.samples.cath.sample import SampleSummary, fill

# A Friday: the current week has days on both sides.
AS_OF = datetime(2026, 11, 20, 10, 30, tzinfo=UTC)
SMALL = 0.02
SMALLEST = 0.01


# What the jobs' rules make of every user, written apart from the jobs: provenance, role, idle days, days since the
# warning about this period, thresholds.
STANDING = """
CREATE TEMP VIEW standing AS
WITH rule (user_provenance, warn, remove) AS (
    VALUES ('B2C_IDAM', 350, 365), ('PI_AAD', 350, 365), ('CFT_IDAM', 118, 132), ('CRIME_IDAM', 180, 208),
           ('SSO', 90, 90)
), active AS (
    SELECT *, lower(email) AS address, user_provenance IN ('B2C_IDAM', 'PI_AAD') AS is_media,
        COALESCE(last_signed_in_date, created_date) AS own_activity
    FROM "user"
), newest AS (
    SELECT *, CASE WHEN is_media THEN max(own_activity) OVER (PARTITION BY is_media, address) ELSE own_activity END
        AS last_activity, count(*) OVER (PARTITION BY is_media, address) AS rows_of_address
    FROM active
)
SELECT newest.*, warn, remove, date '2026-11-20' - last_activity::date AS idle,
    date '2026-11-20' - (sent_at AT TIME ZONE 'UTC')::date AS warned
FROM newest LEFT JOIN rule USING (user_provenance)
LEFT JOIN maintenance.sent_notice ON subject_id = user_id::text AND period_start = last_activity::date;
"""

STATES = """
SELECT user_provenance, CASE
    WHEN warn IS NULL THEN 'no rule'
    WHEN idle < warn THEN 'active'
    WHEN warn = remove THEN 'delete'
    WHEN idle < remove AND warned IS NULL THEN 'warn'
    WHEN idle < remove THEN 'wait'
    WHEN warned IS NULL THEN 'warn late'
    WHEN warned < remove - warn THEN 'wait late'
    ELSE 'delete' END
FROM standing
"""

# Moments that a purge compares with its cutoff.
CUTOFFS: dict[str, tuple[LiteralString, timedelta]] = {
    "notification_audit_log": ("SELECT created_at FROM notification_audit_log", timedelta(days=90)),
    "audit_log": ('SELECT "timestamp" FROM audit_log', timedelta(days=90)),
    "ingestion_log": ('SELECT "timestamp" FROM ingestion_log', timedelta(days=90)),
    "expired artefact": ("SELECT display_to FROM artefact", timedelta()),
    "no-match artefact": ("SELECT last_received_date FROM artefact WHERE no_match", timedelta(days=7)),
    "location": ("SELECT deleted_at FROM location WHERE deleted_at IS NOT NULL", timedelta(days=30)),
    "list type": ("SELECT deleted_at FROM list_types WHERE deleted_at IS NOT NULL", timedelta(days=30)),
}

ARTEFACTS: dict[str, LiteralString] = {
    "current": "display_to >= %(now)s AND NOT no_match",
    "expired": "display_to < %(now)s AND NOT no_match",
    "no-match expired": "display_to < %(now)s AND no_match",
    "no-match old": "display_to >= %(now)s AND no_match AND is_old AND NOT is_known",
    "no-match recent": "no_match AND NOT is_old AND NOT is_known",
    "no-match old at a known location": "no_match AND is_old AND is_known",
    "no-match recent at a known location": "no_match AND NOT is_old AND is_known",
    "from a file": "is_flat_file",
    "without a source": "source_artefact_id IS NULL",
    "source .pdf": "source_artefact_id LIKE 'list-%%.pdf'",
    "source .html": "source_artefact_id LIKE '%%.html'",
    "source .json": "source_artefact_id LIKE '%%.json'",
    "source .xlsx": "source_artefact_id LIKE '%%.xlsx'",
    "source without extension": "source_artefact_id = 'no-extension'",
    "source outside the folder": "source_artefact_id = '../../x.pdf' AND display_to < %(now)s",
}

SUBSCRIPTIONS: dict[str, LiteralString] = {
    "sound": "search_value ~ '^[1-9]' AND location_id IS NOT NULL AND deleted_at IS NULL",
    "sound with blanks": "search_value ~ '^ \\d+ $' AND location_id IS NOT NULL AND deleted_at IS NULL",
    "sound with zeros": "search_value ~ '^0' AND location_id IS NOT NULL AND deleted_at IS NULL",
    "recently deleted location": "deleted_at >= %(now)s - interval '30 days'",
    "deleted location": "deleted_at < %(now)s - interval '30 days'",
    "no such location": "search_value ~ '^\\s*\\d+\\s*$' AND location_id IS NULL",
    "no number": "search_type = 'LOCATION_ID' AND search_value !~ '^\\s*\\d+\\s*$'",
    "case number": "search_type = 'CASE_NUMBER' AND case_number = search_value",
    "case name": "search_type = 'CASE_NAME' AND case_name = search_value",
}

FOREIGN_KEYS = {
    ("subscription.user_id", "user", "CASCADE"),
    ("subscription_list_type.user_id", "user", "CASCADE"),
    ("notification_audit_log.subscription_id", "subscription", "CASCADE"),
    ("ingestion_log.artefact_id", "artefact", "SET NULL"),
    ("artefact_search.artefact_id", "artefact", "CASCADE"),
    ("artefact.list_type_id", "list_types", "RESTRICT"),
    ("legacy_third_party_subscription.user_id", "legacy_third_party_user", "CASCADE"),
    ("third_party_subscription.third_party_user_id", "third_party_user", "CASCADE"),
    ("location_reference.location_id", "location", "CASCADE"),
    ("location_metadata.location_id", "location", "CASCADE"),
    ("location_region.location_id", "location", "CASCADE"),
    ("location_region.region_id", "region", "RESTRICT"),
    ("location_sub_jurisdiction.location_id", "location", "CASCADE"),
    ("location_sub_jurisdiction.sub_jurisdiction_id", "sub_jurisdiction", "RESTRICT"),
    ("list_types_sub_jurisdictions.list_type_id", "list_types", "CASCADE"),
    ("list_types_sub_jurisdictions.sub_jurisdiction_id", "sub_jurisdiction", "RESTRICT"),
    ("sub_jurisdiction.jurisdiction_id", "jurisdiction", "RESTRICT"),
}

FOREIGN_KEYS_WITHOUT_INDEX = {
    "notification_audit_log.subscription_id",
    "ingestion_log.artefact_id",
    "artefact.list_type_id",
    "location_reference.location_id",
    "location_region.region_id",
    "location_sub_jurisdiction.sub_jurisdiction_id",
    "list_types_sub_jurisdictions.sub_jurisdiction_id",
    "sub_jurisdiction.jurisdiction_id",
}

CUTOFF_COLUMNS_WITHOUT_INDEX = {
    *("artefact.display_to", "artefact.display_from", "artefact.no_match", "artefact.content_date"),
    *("artefact.location_id", "notification_audit_log.created_at", "user.last_signed_in_date", "user.created_date"),
    *("media_application.status", "media_application.applied_date", "legacy_third_party_push_log.created_at"),
}


@pytest.fixture
def service(cath_url: str) -> Iterator[psycopg.Connection]:
    """The service's schema, and our own tables beside it."""
    with psycopg.connect(cath_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def sample(service: psycopg.Connection) -> psycopg.Connection:
    fill(service, as_of=AS_OF, scale=SMALL)
    return service


def test_declares_every_foreign_key_with_its_on_delete(service: psycopg.Connection) -> None:
    found = service.execute("""
        SELECT c.relname || '.' || a.attname, p.relname,
            CASE confdeltype WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL' WHEN 'r' THEN 'RESTRICT' END
        FROM pg_constraint JOIN pg_class AS c ON c.oid = conrelid JOIN pg_class AS p ON p.oid = confrelid
        JOIN pg_attribute AS a ON a.attrelid = conrelid AND a.attnum = conkey[1]
        WHERE contype = 'f'""")
    assert set(found) == FOREIGN_KEYS


def test_leaves_out_the_indexes_that_the_service_lacks_on_foreign_keys(service: psycopg.Connection) -> None:
    columns = {column for column, _, _ in FOREIGN_KEYS}
    assert columns - indexed_columns(service) == FOREIGN_KEYS_WITHOUT_INDEX


def test_leaves_out_the_indexes_that_the_service_lacks_on_cutoff_columns(service: psycopg.Connection) -> None:
    assert CUTOFF_COLUMNS_WITHOUT_INDEX & indexed_columns(service) == set()


def test_indexes_the_time_of_the_two_logs_that_have_it(service: psycopg.Connection) -> None:
    assert {"audit_log.timestamp", "ingestion_log.timestamp"} <= indexed_columns(service)


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("user", "user_provenance_id"),
        ("subscription", "user_id, search_type, search_value"),
        ("subscription_list_type", "user_id"),
        ("location", "welsh_name"),
        ("list_types", "name"),
    ],
)
def test_keeps_the_unique_keys(service: psycopg.Connection, table: str, columns: str) -> None:
    found = service.execute(
        "SELECT 1 FROM pg_indexes WHERE tablename = %s AND indexdef LIKE 'CREATE UNIQUE INDEX %%(' || %s || ')'",
        [table, columns],
    )
    assert found.fetchone() is not None


def test_has_no_views_triggers_checks_or_enums_of_its_own(service: psycopg.Connection) -> None:
    found = service.execute("""
        SELECT relname::text FROM pg_class WHERE relkind IN ('v', 'm') AND relnamespace = 'public'::regnamespace
        UNION ALL SELECT tgname::text FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL SELECT conname::text FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace
        UNION ALL SELECT typname::text FROM pg_type WHERE typtype = 'e'""")
    assert found.fetchall() == []


def test_keeps_every_instant_in_milliseconds_without_time_zone(service: psycopg.Connection) -> None:
    found = service.execute("""
        SELECT table_name, column_name FROM information_schema.columns
        WHERE table_schema = 'public' AND table_name <> '_prisma_migrations' AND data_type LIKE 'timestamp%'
            AND (data_type, datetime_precision) <> ('timestamp without time zone', 3)""")
    assert found.fetchall() == []


def test_has_no_default_for_uuids(service: psycopg.Connection) -> None:
    found = service.execute("""
        SELECT table_name FROM information_schema.columns
        WHERE table_schema = 'public' AND data_type = 'uuid' AND column_default IS NOT NULL""")
    assert found.fetchall() == []


def test_carries_the_column_that_only_deployed_databases_have(service: psycopg.Connection) -> None:
    found = service.execute("""
        SELECT is_nullable, character_maximum_length FROM information_schema.columns
        WHERE (table_name, column_name) = ('artefact', 'file_extension')""")
    assert found.fetchall() == [("YES", 10)]


def test_gives_equal_rows_for_equal_arguments(service: psycopg.Connection) -> None:
    assert filled_checksums(service, AS_OF) == filled_checksums(service, AS_OF)


def test_takes_an_instant_in_another_zone_for_the_same_instant(service: psycopg.Connection) -> None:
    elsewhere = AS_OF.astimezone(timezone(timedelta(hours=9)))
    assert filled_checksums(service, elsewhere) == filled_checksums(service, AS_OF)


def test_takes_a_naive_instant_for_utc(service: psycopg.Connection) -> None:
    assert filled_checksums(service, AS_OF.replace(tzinfo=None)) == filled_checksums(service, AS_OF)


def test_does_not_depend_on_the_time_zone_of_the_session(service: psycopg.Connection) -> None:
    expected = filled_checksums(service, AS_OF)
    service.execute("SET TimeZone = 'Pacific/Auckland'")
    assert filled_checksums(service, AS_OF, reset_time_zone=True) == expected


def test_fills_about_two_hundred_thousand_rows_at_scale_one(service: psycopg.Connection) -> None:
    assert 180_000 <= fill(service, as_of=AS_OF).total <= 230_000


def test_reports_the_rows_that_each_table_got(service: psycopg.Connection) -> None:
    summary = fill(service, as_of=AS_OF, scale=SMALL)
    assert summary.rows == {table: count_rows(service, table) for table in summary.rows}


def test_grows_in_proportion_to_the_scale(service: psycopg.Connection) -> None:
    small, large = (filled_summary(service, scale) for scale in (0.1, 0.2))
    for table in ("notification_audit_log", "audit_log", "ingestion_log", "artefact_search", "subscription", "user"):
        assert large.rows[table] / small.rows[table] == pytest.approx(2, rel=0.06), table


def test_names_each_step_before_it_and_the_end(service: psycopg.Connection) -> None:
    heard: list[tuple[str, int, int]] = []
    fill(service, as_of=AS_OF, scale=SMALLEST, progress=lambda *step: heard.append(step))
    assert [done for _, done, _ in heard] == list(range(len(heard)))
    assert heard[-1] == ("", len(heard) - 1, len(heard) - 1)


def test_leaves_nothing_behind_in_the_session(sample: psycopg.Connection) -> None:
    found = sample.execute("SELECT proname FROM pg_proc WHERE pronamespace = pg_my_temp_schema()")
    assert found.fetchall() == []


@pytest.mark.parametrize("situation", CUTOFFS)
def test_keeps_every_row_a_day_away_from_a_cutoff_for_a_day(sample: psycopg.Connection, situation: str) -> None:
    query, retention = CUTOFFS[situation]
    cutoff = naive(AS_OF) - retention
    near = [at for (at,) in sample.execute(query) if cutoff - timedelta(days=1) < at < cutoff + timedelta(days=2)]
    assert near == []


@pytest.mark.parametrize("situation", CUTOFFS)
def test_has_rows_on_both_sides_of_a_cutoff(sample: psycopg.Connection, situation: str) -> None:
    query, retention = CUTOFFS[situation]
    cutoff = naive(AS_OF) - retention
    assert {at < cutoff for (at,) in sample.execute(query)} == {True, False}


@pytest.mark.parametrize("table", ["notification_audit_log", "audit_log", "ingestion_log"])
def test_expires_between_a_fifth_and_under_half_of_each_log(service: psycopg.Connection, table: str) -> None:
    fill(service, as_of=AS_OF, scale=0.1)
    query, retention = CUTOFFS[table]
    expired = [at < naive(AS_OF) - retention for (at,) in service.execute(query)]
    assert 0.2 <= sum(expired) / len(expired) <= 0.45


def test_keeps_every_user_two_whole_days_away_from_a_threshold(sample: psycopg.Connection) -> None:
    sample.execute(STANDING)
    near = sample.execute("""
        SELECT user_provenance, idle, warned FROM standing
        WHERE idle BETWEEN warn - 2 AND warn + 2 OR idle BETWEEN remove - 2 AND remove + 2
            OR (warn < remove AND warned BETWEEN remove - warn - 2 AND remove - warn + 2)""")
    assert near.fetchall() == []


def test_warned_nobody_before_the_warning_was_due(sample: psycopg.Connection) -> None:
    sample.execute(STANDING)
    assert sample.execute("SELECT * FROM standing WHERE idle - warned < warn").fetchall() == []


@pytest.mark.parametrize("scale", [SMALLEST, SMALL])
def test_holds_users_of_every_provenance_in_every_state(service: psycopg.Connection, scale: float) -> None:
    fill(service, as_of=AS_OF, scale=scale)
    service.execute(STANDING)
    states = set(service.execute(STATES))
    warned = {"active", "warn", "warn late", "wait", "wait late", "delete"}
    expected = {(name, state) for name in ("B2C_IDAM", "PI_AAD", "CFT_IDAM", "CRIME_IDAM") for state in warned}
    assert states == expected | {("SSO", "active"), ("SSO", "delete"), ("LEGACY_X", "no rule")}


def test_warns_some_forty_addresses_and_deletes_some_three_hundred_users(service: psycopg.Connection) -> None:
    fill(service, as_of=AS_OF)
    service.execute(STANDING)
    states = Counter(state for _, state in service.execute(STATES))
    row = service.execute("""
        SELECT count(DISTINCT (is_media, address)) FROM standing WHERE idle >= warn AND warned IS NULL
            AND warn < remove""").fetchone()
    assert row is not None
    assert row[0] == pytest.approx(40, abs=5)
    assert states["delete"] == pytest.approx(300, abs=20)


def test_has_every_role_active_and_idle(sample: psycopg.Connection) -> None:
    sample.execute(STANDING)
    found = set(sample.execute("SELECT role, idle >= remove FROM standing WHERE user_provenance = 'SSO'"))
    roles = ("SYSTEM_ADMIN", "INTERNAL_ADMIN_CTSC", "INTERNAL_ADMIN_LOCAL")
    assert found == {(role, idle) for role in roles for idle in (True, False)}
    assert sample.execute("SELECT 1 FROM standing WHERE role = 'VERIFIED'").fetchone() is not None


def test_has_users_to_delete_who_never_signed_in(sample: psycopg.Connection) -> None:
    sample.execute(STANDING)
    found = sample.execute(
        "SELECT 1 FROM standing WHERE last_signed_in_date IS NULL AND rows_of_address = 1 AND warned > 15"
    )
    assert found.fetchone() is not None


def test_has_media_twins_in_two_spellings_active_idle_and_warned(sample: psycopg.Connection) -> None:
    sample.execute(STANDING)
    found = sample.execute("""
        SELECT bool_and(own_activity < timestamp '2026-11-20' - interval '365 days'), bool_and(warned > 15)
        FROM standing WHERE rows_of_address = 2 AND is_media
        GROUP BY address
        HAVING count(DISTINCT email) = 2 AND count(DISTINCT user_provenance) = 2 AND count(DISTINCT idle) = 1""")
    assert set(found) >= {(True, True), (False, None)}


def test_has_users_who_came_back_after_a_warning(sample: psycopg.Connection) -> None:
    found = sample.execute("""
        SELECT 1 FROM "user" JOIN maintenance.sent_notice ON subject_id = user_id::text
        WHERE last_signed_in_date > sent_at AT TIME ZONE 'UTC' AND period_start < last_signed_in_date::date""")
    assert found.fetchone() is not None


def test_gives_users_to_delete_subscriptions_and_notifications(sample: psycopg.Connection) -> None:
    sample.execute(STANDING)
    found = sample.execute("""
        SELECT bool_or(l.user_id IS NOT NULL), bool_and(n.user_id IS NOT NULL)
        FROM standing AS s JOIN subscription USING (user_id)
        LEFT JOIN notification_audit_log AS n USING (subscription_id)
        LEFT JOIN subscription_list_type AS l ON l.user_id = s.user_id
        WHERE idle >= remove AND (warned >= remove - warn OR s.user_provenance = 'SSO')""")
    assert found.fetchone() == (True, True)


@pytest.mark.parametrize("scale", [SMALLEST, SMALL])
def test_holds_artefacts_in_every_situation(service: psycopg.Connection, scale: float) -> None:
    fill(service, as_of=AS_OF, scale=scale)
    service.execute("""
        CREATE TEMP VIEW seen AS SELECT *,
            last_received_date < timestamp '2026-11-20 10:30' - interval '7 days' AS is_old,
            location_id IN (SELECT location_id::text FROM location) AS is_known
        FROM artefact""")
    assert absent(service, "SELECT 1 FROM seen WHERE ", ARTEFACTS) == []


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("provenance", {"MANUAL_UPLOAD", "SNL", "COMMON_PLATFORM", "CP_CATH", "PDDA"}),
        ("language", {"ENGLISH", "WELSH", "BILINGUAL"}),
        ("sensitivity", {"PUBLIC", "PRIVATE", "CLASSIFIED"}),
    ],
)
def test_holds_artefacts_of_every_kind(sample: psycopg.Connection, column: str, values: set[str]) -> None:
    found = sample.execute(sql.SQL("SELECT {} FROM artefact").format(sql.Identifier(column)))
    assert {value for (value,) in found} == values


def test_ends_manual_uploads_at_midnight(sample: psycopg.Connection) -> None:
    found = sample.execute("""
        SELECT 1 FROM artefact WHERE provenance = 'MANUAL_UPLOAD' AND display_to <> date_trunc('day', display_to)""")
    assert found.fetchone() is None


def test_expires_some_fifteen_hundred_artefacts_with_search_and_log_rows(service: psycopg.Connection) -> None:
    fill(service, as_of=AS_OF)
    row = service.execute(
        """
        SELECT count(DISTINCT a.artefact_id), bool_and(i.id IS NOT NULL), bool_and(s.id IS NOT NULL OR a.no_match)
        FROM artefact AS a LEFT JOIN ingestion_log AS i USING (artefact_id)
        LEFT JOIN artefact_search AS s USING (artefact_id)
        WHERE display_to < %s""",
        [naive(AS_OF)],
    ).fetchone()
    assert row is not None
    assert row[0] == pytest.approx(1_500, abs=50)
    assert row[1:] == (True, True)


@pytest.mark.parametrize("scale", [SMALLEST, SMALL])
def test_holds_subscriptions_in_every_situation(service: psycopg.Connection, scale: float) -> None:
    fill(service, as_of=AS_OF, scale=scale)
    service.execute("""
        CREATE TEMP VIEW wanted AS SELECT subscription.*, location.location_id, deleted_at
        FROM subscription LEFT JOIN location
            ON search_type = 'LOCATION_ID' AND ltrim(btrim(search_value), '0') = location_id::text""")
    assert absent(service, "SELECT 1 FROM wanted WHERE ", SUBSCRIPTIONS) == []


def test_orphans_some_four_hundred_subscriptions(service: psycopg.Connection) -> None:
    fill(service, as_of=AS_OF)
    row = service.execute("""
        SELECT count(*) FROM subscription WHERE search_type = 'LOCATION_ID' AND NOT EXISTS (
            SELECT 1 FROM location WHERE ltrim(btrim(search_value), '0') = location_id::text
                AND (deleted_at IS NULL OR deleted_at > timestamp '2026-11-20' - interval '30 days'))""").fetchone()
    assert row is not None
    assert row[0] == pytest.approx(400, abs=20)


@pytest.mark.parametrize("scale", [SMALLEST, SMALL])
def test_mixes_live_deleted_and_unknown_list_types(service: psycopg.Connection, scale: float) -> None:
    fill(service, as_of=AS_OF, scale=scale)
    found = service.execute("""
        SELECT DISTINCT bool_or(kept), bool_or(NOT kept), bool_or(deleted_at IS NOT NULL AND kept)
        FROM (SELECT subscription_list_type_id, deleted_at,
                  id IS NOT NULL AND COALESCE(deleted_at > timestamp '2026-11-20' - interval '30 days', true) AS kept
              FROM subscription_list_type, unnest(list_type_ids) AS wanted
              LEFT JOIN list_types ON id = wanted) AS entry
        GROUP BY subscription_list_type_id""")
    all_fine, mixed, none_left, recently_deleted = (
        *((True, False, False), (True, True, False)),
        *((False, True, False), (True, False, True)),
    )
    assert set(found) == {all_fine, mixed, none_left, recently_deleted}


def test_spreads_applications_over_twelve_ended_weeks_and_the_current_one(service: psycopg.Connection) -> None:
    fill(service, as_of=AS_OF)
    found = service.execute("""
        SELECT (date '2026-11-16' - date_trunc('week', applied_date)::date) / 7, count(*)
        FROM media_application GROUP BY 1""").fetchall()
    assert {week for week, _ in found} == set(range(13))
    assert all(5 <= count <= 40 for _, count in found)


@pytest.mark.parametrize(
    "as_of", [AS_OF, datetime(2026, 11, 16, tzinfo=UTC), datetime(2026, 11, 22, 23, 59, tzinfo=UTC)]
)
def test_keeps_applications_of_ended_weeks_a_day_away_from_mondays(
    service: psycopg.Connection, as_of: datetime
) -> None:
    fill(service, as_of=as_of, scale=SMALL)
    found = service.execute(
        """
        SELECT applied_date FROM media_application, LATERAL (SELECT date_trunc('week', applied_date) AS monday) AS week
        WHERE applied_date > %(now)s OR (monday < date_trunc('week', %(now)s) AND
            applied_date NOT BETWEEN monday + interval '1 day' AND monday + interval '6 days')""",
        {"now": naive(as_of)},
    )
    assert found.fetchall() == []


def test_names_applicants_so_that_spreadsheets_and_quoting_are_tried(sample: psycopg.Connection) -> None:
    names = "\n".join(name for (name,) in sample.execute("SELECT name FROM media_application"))
    assert {mark for mark in '=+@-",éŴ' if mark in names} == set('=+@-",éŴ')


def test_gives_applications_every_status_and_sort_of_proof(sample: psycopg.Connection) -> None:
    found = set(sample.execute("SELECT status, right(proof_of_id_path, 4) FROM media_application"))
    assert {status for status, _ in found} == {"PENDING", "APPROVED", "REJECTED"}
    assert {proof for _, proof in found} == {None, ".pdf", ".jpg"}


def test_uses_no_address_outside_the_example_domains(sample: psycopg.Connection) -> None:
    found = sample.execute("""
        SELECT email FROM (SELECT email FROM "user" UNION ALL SELECT email FROM media_application
            UNION ALL SELECT email FROM location UNION ALL SELECT user_email FROM audit_log) AS every
        WHERE email !~* '@example\\.(com|org)$'""")
    assert found.fetchall() == []


def test_writes_a_payload_for_every_artefact_to_remove(service: psycopg.Connection, tmp_path: Path) -> None:
    fill(service, as_of=AS_OF, scale=SMALL, blob_root=tmp_path)
    payloads = {path.name.partition(".")[0] for path in (tmp_path / "artefact").iterdir()}
    doomed = service.execute("SELECT artefact_id FROM artefact WHERE display_to < %s OR no_match", [naive(AS_OF)])
    assert {str(artefact_id) for (artefact_id,) in doomed} <= payloads


def test_writes_blobs_of_every_sort_into_the_three_containers(service: psycopg.Connection, tmp_path: Path) -> None:
    summary = fill(service, as_of=AS_OF, scale=SMALL, blob_root=tmp_path)
    files = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == summary.blob_files
    assert {(path.parts[0], path.suffix) for path in files} == {
        *(("artefact", ""), ("artefact", ".json"), ("artefact", ".pdf")),
        *(("publications", ".pdf"), ("publications", ".xlsx"), ("files", ".pdf"), ("files", ".jpg")),
    }


def naive(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(tzinfo=None)


def indexed_columns(connection: psycopg.Connection) -> set[str]:
    found = connection.execute("""
        SELECT relname || '.' || attname FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
        JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
        WHERE relnamespace = 'public'::regnamespace""")
    return {column for (column,) in found}


def absent(connection: psycopg.Connection, query: LiteralString, situations: dict[str, LiteralString]) -> list[str]:
    """Return the situations that no row is in."""
    values: dict[str, Any] = {"now": naive(AS_OF)}
    return [name for name, rule in situations.items() if connection.execute(query + rule, values).fetchone() is None]


def count_rows(connection: psycopg.Connection, table: str) -> int:
    query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(*table.split(".")))
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def filled_summary(connection: psycopg.Connection, scale: float) -> SampleSummary:
    """Fill and take everything back."""
    with connection.transaction(force_rollback=True):
        return fill(connection, as_of=AS_OF, scale=scale)


def filled_checksums(
    connection: psycopg.Connection, as_of: datetime, *, reset_time_zone: bool = False
) -> dict[str, str]:
    """Return a checksum of every table's rows, and take them back."""
    with connection.transaction(force_rollback=True):
        summary = fill(connection, as_of=as_of, scale=SMALL)
        if reset_time_zone:
            connection.execute("SET LOCAL TimeZone = 'UTC'")
        return {table: checksum(connection, table) for table in summary.rows}


def checksum(connection: psycopg.Connection, table: str) -> str:
    query = sql.SQL("SELECT md5(string_agg(t::text, ' ' ORDER BY t::text COLLATE \"C\")) FROM {} AS t")
    row = connection.execute(query.format(sql.Identifier(*table.split(".")))).fetchone()
    assert row is not None
    return str(row[0])
