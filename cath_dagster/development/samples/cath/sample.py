"""Fill a CaTH database with a deterministic sample in which every job finds work and something to leave alone.

Everything is measured against `as_of`. No row lies within a day of a cutoff or crosses one in the 24 hours after
`as_of`, so a second run on the same day finds nothing left to do. Rows at scale 1, about 208,000 in all; every table
but the reference data grows with the scale, and every kind below is present from scale 0.01 on.

| table                   | rows   | of which                                                                          |
| ----------------------- | ------ | --------------------------------------------------------------------------------- |
| notification_audit_log  | 60,000 | 35 % older than 90 days; two or more on every subscription                        |
| audit_log               | 42,000 | 36 % older than 90 days; by the system administrators                             |
| ingestion_log           | 30,000 | 33 % older than 90 days; one on every artefact, the others on none                |
| artefact                | 12,000 | 1,490 expired (50 of them no-match), 150 no-match to remove, 60 too recent,       |
|                         |        | 50 whose raw location id is by chance an existing location's                      |
| artefact_search         | 29,000 | on every artefact that matched a location                                         |
| user                    | 5,400  | 41 addresses to warn, 300 users to delete, 125 who wait (see `_USER_GROUPS`)      |
| subscription            | 25,000 | 400 orphans: no such location, no number, location deleted over 30 days ago       |
| subscription_list_type  | 2,000  | a fifth with deleted or unknown list types, mixed or none other; recent ones too  |
| media_application       | 280    | twelve ended weeks and the current one; names that spreadsheets take for formulas |
| third parties           | 70     | users, subscriptions and pushes                                                   |
| location                | 400    | 370 open, 15 soft-deleted recently, 15 over 30 days ago                           |
| list_types              | 28     | 24 in use, 2 soft-deleted over 30 days ago, 2 recently                            |
| maintenance.sent_notice | 390    | the warnings sent to those who wait or are to be deleted, and to 5 who came back  |

People, cases and addresses are made up; every address is at example.com or example.org.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from itertools import count
from math import sqrt
from pathlib import Path
from typing import Any, LiteralString
from uuid import NAMESPACE_URL, UUID, uuid5

import psycopg
from psycopg import sql

from cath_dagster.cath import CATH
from cath_dagster.development.sample import Filling, Sample

Progress = Callable[[str, int, int], None]
Row = Sequence[object]
Days = tuple[float, float]

MEDIA = ("B2C_IDAM", "PI_AAD")
WARNING_KIND = {
    "B2C_IDAM": "media_warning",
    "PI_AAD": "media_warning",
    "CFT_IDAM": "cft_warning",
    "CRIME_IDAM": "crime_warning",
}

# Locations and list types are numbered from 1: those in use, then deleted recently, then deleted long ago.
OPEN_LOCATIONS, RECENTLY_CLOSED_LOCATIONS, CLOSED_LOCATIONS = 370, 15, 15
LIVE_LIST_TYPES, RECENTLY_DELETED_LIST_TYPES, DELETED_LIST_TYPES = 24, 2, 2

ENDED_WEEKS = 12

# Files are written one by one: beyond scale 1 these caps grow with the square root of the scale only.
DOOMED_ARTEFACTS_WITH_FILES = 1_800
CURRENT_ARTEFACTS_WITH_FILES = 200


@dataclass(frozen=True)
class SampleSummary:
    """How many rows each table got, and how many blobs were written."""

    rows: Mapping[str, int]
    blob_files: int

    @property
    def total(self) -> int:
        return sum(self.rows.values())


@dataclass(frozen=True)
class _UserGroup:
    """Users in one situation: days since their last activity, and since they were warned of a deletion."""

    size: int
    provenances: tuple[str, ...]
    idle: tuple[int, int]
    warned: tuple[int, int] | None = None
    role: str = "VERIFIED"
    signs_in: bool = True
    # Days since an older B2C_IDAM row of the same address was created, in another spelling and never used.
    twin_created: tuple[int, int] | None = None


# Warned from / deleted from: media 350 / 365, CFT_IDAM 118 / 132, CRIME_IDAM 180 / 208, SSO never / 90 days.
# Rules count whole days, so each range stays three days away from a boundary. A warning's age is never such that
# it would have gone out before it was due.
_USER_GROUPS = (
    # active
    _UserGroup(2_700, MEDIA, idle=(1, 345)),
    _UserGroup(100, MEDIA, idle=(1, 300), signs_in=False),
    _UserGroup(1_000, ("CFT_IDAM",), idle=(1, 114)),
    _UserGroup(800, ("CRIME_IDAM",), idle=(1, 176)),
    _UserGroup(12, ("SSO",), idle=(1, 80), role="SYSTEM_ADMIN"),
    _UserGroup(120, ("SSO",), idle=(1, 86), role="INTERNAL_ADMIN_CTSC"),
    _UserGroup(150, ("SSO",), idle=(1, 86), role="INTERNAL_ADMIN_LOCAL"),
    _UserGroup(5, ("PI_AAD",), idle=(2, 10), warned=(20, 30)),  # came back after the warning
    _UserGroup(10, ("PI_AAD",), idle=(1, 200), twin_created=(500, 700)),  # one person with an unused row
    # idle past the warning and not warned yet
    _UserGroup(11, MEDIA, idle=(353, 361)),
    _UserGroup(4, MEDIA, idle=(353, 361), signs_in=False),
    _UserGroup(2, ("PI_AAD",), idle=(353, 361), twin_created=(500, 700)),
    _UserGroup(8, ("CFT_IDAM",), idle=(121, 128)),
    _UserGroup(6, ("CRIME_IDAM",), idle=(183, 204)),
    # idle past the deletion and never warned
    _UserGroup(4, MEDIA, idle=(369, 420)),
    _UserGroup(3, ("CFT_IDAM",), idle=(136, 160)),
    _UserGroup(3, ("CRIME_IDAM",), idle=(212, 240)),
    # warned, not idle enough for the deletion
    _UserGroup(30, MEDIA, idle=(356, 361), warned=(3, 5)),
    _UserGroup(20, ("CFT_IDAM",), idle=(123, 128), warned=(2, 4)),
    _UserGroup(15, ("CRIME_IDAM",), idle=(185, 204), warned=(2, 4)),
    # idle past the deletion, warned too recently
    _UserGroup(30, MEDIA, idle=(370, 400), warned=(3, 11)),
    _UserGroup(15, ("CFT_IDAM",), idle=(136, 150), warned=(3, 10)),
    _UserGroup(15, ("CRIME_IDAM",), idle=(212, 230), warned=(5, 20)),
    # to be deleted
    _UserGroup(100, MEDIA, idle=(385, 700), warned=(18, 30)),
    _UserGroup(10, MEDIA, idle=(385, 700), warned=(18, 30), signs_in=False),
    _UserGroup(10, ("PI_AAD",), idle=(385, 480), warned=(18, 30), twin_created=(500, 700)),
    _UserGroup(80, ("CFT_IDAM",), idle=(140, 300), warned=(17, 21)),
    _UserGroup(50, ("CRIME_IDAM",), idle=(216, 400), warned=(31, 35)),
    _UserGroup(4, ("SSO",), idle=(94, 300), role="SYSTEM_ADMIN"),
    _UserGroup(18, ("SSO",), idle=(94, 300), role="INTERNAL_ADMIN_CTSC"),
    _UserGroup(18, ("SSO",), idle=(94, 300), role="INTERNAL_ADMIN_LOCAL"),
    # of a provenance that no rule names
    _UserGroup(8, ("LEGACY_X",), idle=(500, 900)),
)


@dataclass(frozen=True)
class _ArtefactGroup:
    """Publications in one situation: days since received, days until no longer displayed."""

    name: str
    size: int
    received: Days
    displayed: Days
    no_match: bool = False
    known_location: bool = True


_ARTEFACT_GROUPS = (
    _ArtefactGroup("current", 10_250, received=(0.2, 60), displayed=(4, 90)),
    _ArtefactGroup("expired", 1_440, received=(62, 75), displayed=(-60, -2)),
    _ArtefactGroup("no-match-expired", 50, (62, 75), (-60, -2), no_match=True, known_location=False),
    _ArtefactGroup("no-match-old", 150, (9, 45), (4, 60), no_match=True, known_location=False),
    _ArtefactGroup("no-match-recent", 60, (0.2, 5), (4, 60), no_match=True, known_location=False),
    _ArtefactGroup("no-match-old-known", 30, (9, 45), (4, 60), no_match=True),
    _ArtefactGroup("no-match-recent-known", 20, (0.2, 5), (4, 60), no_match=True),
)

# Values are drawn by a hash of the row's number, so equal arguments give equal rows without a generator's state.
_CREATE_FUNCTIONS = """
CREATE OR REPLACE FUNCTION pg_temp.pick(n bigint, salt integer, size integer) RETURNS integer
LANGUAGE sql IMMUTABLE AS 'SELECT mod(hashint8extended(n, salt) & 9223372036854775807, size)::integer';
CREATE OR REPLACE FUNCTION pg_temp.days(n bigint, salt integer, low float8, high float8) RETURNS interval
LANGUAGE sql IMMUTABLE AS
'SELECT make_interval(secs => low * 86400 + pg_temp.pick(n, salt, ((high - low) * 86400)::integer))';
"""
_DROP_FUNCTIONS = """
DROP FUNCTION pg_temp.days(bigint, integer, float8, float8);
DROP FUNCTION pg_temp.pick(bigint, integer, integer);
"""

_INSERT_ARTEFACTS = r"""
INSERT INTO artefact (artefact_id, location_id, list_type_id, content_date, sensitivity, language, display_from,
    display_to, last_received_date, is_flat_file, provenance, superseded_count, no_match, type, source_artefact_id)
SELECT md5('artefact-' || %(name)s || n)::uuid,
    CASE WHEN %(known_location)s THEN (1 + mod(n * 7, %(open_locations)s))::text
         WHEN mod(n, 2) = 0 THEN 'UNKNOWN-' || n ELSE (90000 + n)::text END,
    1 + mod(n, %(live_list_types)s),
    date_trunc('day', received) + interval '1 day',
    (ARRAY['PUBLIC', 'PUBLIC', 'PUBLIC', 'PRIVATE', 'CLASSIFIED'])[1 + pg_temp.pick(n, 1, 5)],
    (ARRAY['ENGLISH', 'WELSH', 'BILINGUAL'])[1 + pg_temp.pick(n, 2, 3)],
    date_trunc('day', received),
    -- A manual upload names a date, which the service keeps as its midnight.
    CASE WHEN provenance = 'MANUAL_UPLOAD' THEN date_trunc('day', displayed) ELSE displayed END,
    received, COALESCE(source ~ '\.(pdf|html)$', false), provenance, pg_temp.pick(n, 3, 3), %(no_match)s, 'LIST', source
FROM generate_series(1, %(rows)s) AS n,
LATERAL (SELECT
    %(as_of)s::timestamp - pg_temp.days(n, 4, %(received_low)s, %(received_high)s) AS received,
    %(as_of)s::timestamp + pg_temp.days(n, 5, %(displayed_low)s, %(displayed_high)s) AS displayed,
    (ARRAY['MANUAL_UPLOAD', 'SNL', 'COMMON_PLATFORM', 'CP_CATH', 'PDDA'])[1 + mod(n, 5)] AS provenance,
    CASE WHEN mod(n, 97) = 1 THEN '../../x.pdf' WHEN mod(n, 97) = 2 THEN 'no-extension'
         ELSE 'list-' || n || (ARRAY['.json', '.pdf', '.html', '.xlsx', '.json', NULL])[1 + mod(n, 6)]
    END AS source) AS drawn
"""

_INSERT_ARTEFACT_SEARCH = """
INSERT INTO artefact_search (id, artefact_id, case_number, case_name, created_at)
SELECT md5('search-' || artefact_id || k)::uuid::text, artefact_id,
    CASE WHEN pg_temp.pick(n * 4 + k, 6, 10) > 0 THEN 'SAMPLE-' || lpad(mod(n * 3 + k, 30000)::text, 5, '0') END,
    CASE WHEN pg_temp.pick(n * 4 + k, 7, 10) > 1
         THEN format('Claimant %%s v Defendant %%s', mod(n, 5000), mod(n * 7 + k, 5000)) END,
    last_received_date
FROM (SELECT artefact_id, last_received_date, row_number() OVER (ORDER BY artefact_id) AS n
      FROM artefact WHERE NOT no_match) AS artefact,
LATERAL generate_series(1, 1 + pg_temp.pick(n, 8, 4)) AS k
"""

_INSERT_INGESTION_LOG_OF_ARTEFACTS = """
INSERT INTO ingestion_log (id, "timestamp", source_system, court_id, status, artefact_id)
SELECT md5('received-' || artefact_id)::uuid, last_received_date, provenance, location_id, 'SUCCESS', artefact_id
FROM artefact
"""

_INSERT_INGESTION_LOG = """
INSERT INTO ingestion_log (id, "timestamp", source_system, court_id, status, error_message)
SELECT md5('ingestion-' || n)::uuid,
    %(as_of)s::timestamp - CASE WHEN mod(n, 9) < 5 THEN pg_temp.days(n, 9, 92, 300)
                                ELSE pg_temp.days(n, 9, 0.1, 88) END,
    (ARRAY['SNL', 'COMMON_PLATFORM', 'CP_CATH', 'PDDA'])[1 + mod(n, 4)],
    (1 + mod(n, %(open_locations)s))::text, status,
    CASE status WHEN 'VALIDATION_ERROR' THEN 'content_date is missing' WHEN 'SYSTEM_ERROR' THEN 'upload failed' END
FROM generate_series(1, %(rows)s) AS n,
LATERAL (SELECT (ARRAY['SUCCESS', 'SUCCESS', 'VALIDATION_ERROR', 'SYSTEM_ERROR'])[1 + pg_temp.pick(n, 10, 4)]
         AS status) AS drawn
"""

# Five subscriptions for a user in good standing, two for administrators and those warned: a deletion is slow enough
# with two, each of them scanning notification_audit_log for want of an index.
_INSERT_SUBSCRIPTIONS = """
INSERT INTO subscription (subscription_id, user_id, search_type, search_value, case_name, case_number, date_added)
SELECT md5('subscription-' || user_id || k)::uuid, user_id, search_type, search_value,
    CASE search_type WHEN 'CASE_NAME' THEN search_value END,
    CASE search_type WHEN 'CASE_NUMBER' THEN search_value END,
    created_date + pg_temp.days(n, 11, 0.1, 0.9)
FROM (SELECT user_id, created_date, amount, row_number() OVER (PARTITION BY amount ORDER BY user_id) AS n
      FROM (SELECT user_id, created_date,
                CASE WHEN role <> 'VERIFIED' OR user_id::text IN (SELECT subject_id FROM maintenance.sent_notice)
                     THEN 2 ELSE 5 END AS amount
            FROM "user") AS standing) AS subscriber,
LATERAL generate_series(1, amount) AS k,
LATERAL (SELECT (1 + mod(n * 7 + k * 31, %(open_locations)s))::text AS location_id) AS open,
LATERAL (SELECT
    (ARRAY['LOCATION_ID', 'CASE_NUMBER', 'LOCATION_ID', 'CASE_NAME', 'LOCATION_ID'])[k] AS search_type,
    CASE k
        WHEN 2 THEN 'SAMPLE-' || lpad(mod(n * 3, 30000)::text, 5, '0')
        WHEN 3 THEN CASE mod(n, 4) WHEN 0 THEN ' ' || location_id || ' ' WHEN 1 THEN '0' || location_id
                                   ELSE location_id END
        WHEN 4 THEN format('Claimant %%s v Defendant %%s', mod(n, 5000), mod(n * 7, 5000))
        WHEN 5 THEN CASE mod(n, 36)
            WHEN 0 THEN (90000 + n)::text
            WHEN 12 THEN 'court ' || location_id
            WHEN 24 THEN (%(first_closed_location)s + mod(n, %(closed_locations)s))::text
            WHEN 6 THEN (%(open_locations)s + 1 + mod(n, %(recently_closed_locations)s))::text
            ELSE location_id END
        ELSE location_id
    END AS search_value) AS wanted
"""

_INSERT_SUBSCRIPTION_LIST_TYPES = """
INSERT INTO subscription_list_type (subscription_list_type_id, user_id, list_type_ids, list_language, date_added)
SELECT md5('list-types-' || user_id)::uuid, user_id,
    CASE mod(n, 20)
        WHEN 0 THEN ARRAY[3, %(deleted_list_type)s]
        WHEN 1 THEN ARRAY[9001, 4, 5]
        WHEN 2 THEN ARRAY[%(deleted_list_type)s, %(deleted_list_type)s + 1]
        WHEN 3 THEN ARRAY[9002]
        WHEN 4 THEN ARRAY[%(live_list_types)s + 1]
        WHEN 5 THEN ARRAY[6, %(live_list_types)s + 2]
        ELSE ARRAY[1 + mod(n, %(live_list_types)s), 1 + mod(n + 7, %(live_list_types)s)]
    END,
    CASE WHEN mod(n, 3) = 0 THEN ARRAY['ENGLISH', 'WELSH'] ELSE ARRAY['ENGLISH'] END,
    created_date + pg_temp.days(n, 12, 0.1, 0.9)
FROM (SELECT user_id, created_date, row_number() OVER (ORDER BY user_id)::integer AS n
      FROM "user" WHERE role = 'VERIFIED') AS subscriber
WHERE n <= %(rows)s
"""

_INSERT_NOTIFICATIONS = """
INSERT INTO notification_audit_log (notification_id, subscription_id, user_id, publication_id, status, error_message,
    created_at, sent_at, gov_notify_id)
SELECT md5('notification-' || number)::uuid, subscription_id, user_id,
    md5(CASE WHEN is_old THEN 'gone-' || number ELSE 'artefact-current' || 1 + mod(number, %(current)s) END)::uuid,
    status, CASE status WHEN 'Failed' THEN 'rate limit exceeded' WHEN 'Skipped' THEN 'No email address' END,
    created_at, CASE status WHEN 'Sent' THEN created_at + interval '2 seconds' END,
    CASE status WHEN 'Sent' THEN md5('notify-' || number)::uuid::text END
FROM generate_series(1, %(rows)s) AS number
JOIN (SELECT subscription_id, user_id, row_number() OVER (ORDER BY subscription_id) AS n, count(*) OVER () AS total
      FROM subscription) AS subscription ON n = 1 + mod(number, %(subscriptions)s),
LATERAL (SELECT pg_temp.pick(number, 13, 100) < 35 AS is_old) AS age,
LATERAL (SELECT
    %(as_of)s::timestamp - CASE WHEN is_old THEN pg_temp.days(number, 14, 92, 160)
                                ELSE pg_temp.days(number, 14, 0.1, 88) END AS created_at,
    CASE pg_temp.pick(number, 15, 20) WHEN 0 THEN 'Failed' WHEN 1 THEN 'Skipped' WHEN 2 THEN 'Pending' ELSE 'Sent' END
        AS status) AS drawn
"""

_INSERT_AUDIT_LOG = """
INSERT INTO audit_log (id, "timestamp", action, details, user_id, user_email, user_role, user_provenance)
SELECT 'c' || left(md5('audit-' || number), 24),
    %(as_of)s::timestamp - CASE WHEN pg_temp.pick(number, 16, 100) < 36 THEN pg_temp.days(number, 17, 92, 365)
                                ELSE pg_temp.days(number, 17, 0.1, 88) END,
    (ARRAY['Delete user', 'Remove list', 'Update location metadata', 'Upload reference data', 'Delete court',
           'Create third party user', 'View audit log'])[1 + pg_temp.pick(number, 18, 7)],
    'Sample entry ' || number, user_id, email, role, user_provenance
FROM generate_series(1, %(rows)s) AS number
JOIN (SELECT user_id, email, role, user_provenance, row_number() OVER (ORDER BY user_id) AS n
      FROM "user" WHERE role = 'SYSTEM_ADMIN') AS administrator ON n = 1 + mod(number, %(administrators)s)
"""

_INSERT_THIRD_PARTIES: Mapping[str, LiteralString] = {
    "legacy_third_party_user": """
        INSERT INTO legacy_third_party_user (id, name, created_date)
        SELECT md5('legacy-' || n)::uuid, 'Legacy publisher ' || n, %(as_of)s::timestamp - pg_temp.days(n, 19, 200, 900)
        FROM generate_series(1, %(rows)s) AS n""",
    "legacy_third_party_subscription": """
        INSERT INTO legacy_third_party_subscription (id, user_id, list_type_id, created_date)
        SELECT md5(id::text || k)::uuid, id, k, created_date
        FROM legacy_third_party_user, generate_series(1, 3) AS k""",
    "legacy_third_party_push_log": """
        INSERT INTO legacy_third_party_push_log (id, artefact_id, list_type_id, type, status, status_code, created_at)
        SELECT md5(u.id::text || 'push' || k)::uuid, md5('artefact-current' || k)::uuid::text, k,
            (ARRAY['CREATE', 'UPDATE', 'DELETION'])[1 + mod(k, 3)], CASE k WHEN 5 THEN 'FAILED' ELSE 'SUCCESS' END,
            CASE k WHEN 5 THEN 503 ELSE 200 END, %(as_of)s::timestamp - pg_temp.days(k, 20, 1, 80)
        FROM legacy_third_party_user AS u, generate_series(1, 10) AS k""",
    "third_party_user": """
        INSERT INTO third_party_user (id, name, created_at)
        SELECT md5('third-' || n)::uuid, 'Publisher ' || n, %(as_of)s::timestamp - pg_temp.days(n, 21, 10, 200)
        FROM generate_series(1, %(rows)s) AS n""",
    "third_party_subscription": """
        INSERT INTO third_party_subscription (id, third_party_user_id, list_type_id, sensitivity)
        SELECT md5(id::text || k)::uuid, id, k, 'PUBLIC' FROM third_party_user, generate_series(1, 2) AS k""",
}

_SELECT_ARTEFACTS_WITH_FILES = """
(SELECT a.artefact_id, l.name, a.is_flat_file, a.no_match FROM artefact AS a JOIN list_types AS l ON l.id = list_type_id
 WHERE a.display_to < %(as_of)s OR a.no_match ORDER BY a.artefact_id LIMIT %(doomed)s)
UNION ALL
(SELECT a.artefact_id, l.name, a.is_flat_file, a.no_match FROM artefact AS a JOIN list_types AS l ON l.id = list_type_id
 WHERE a.display_to >= %(as_of)s AND NOT a.no_match ORDER BY a.artefact_id LIMIT %(current)s)
"""

_TOWNS = (
    *("Ashdown", "Barton", "Caldwell", "Dunmere", "Eastholm", "Farrow", "Glenford", "Hartwell", "Ivybridge", "Kelso"),
    *("Larkhill", "Marlow", "Norwood", "Oakham", "Penarth", "Queensferry", "Redcar", "Selby", "Tenby", "Upton"),
    *("Verwood", "Wexcombe", "Yarm", "Zeals", "Abermor", "Brynteg", "Cwmfelin", "Dolwen", "Eglwysfach", "Felindre"),
    *("Garth", "Hengoed", "Llanfair", "Maesteg", "Nantgarw", "Pentre", "Rhosneigr", "Talybont", "Trefor", "Ynysddu"),
)
_COURTS = (
    *(("County Court", "Llys Sirol"), ("Crown Court", "Llys y Goron"), ("Family Court", "Llys Teulu")),
    *(("Magistrates' Court", "Llys Ynadon"), ("Youth Court", "Llys Ieuenctid"), ("Tribunal", "Tribiwnlys")),
    *(("Social Security Tribunal", "Tribiwnlys Nawdd Cymdeithasol"), ("Employment Tribunal", "Tribiwnlys Cyflogaeth")),
    *(("Probate Registry", "Cofrestrfa Brofiant"), ("Hearing Centre", "Canolfan Wrandawiadau")),
)
_REGIONS = (
    *(("London", "Llundain"), ("Midlands", "Canolbarth Lloegr"), ("North East", "Gogledd-ddwyrain Lloegr")),
    *(("North West", "Gogledd-orllewin Lloegr"), ("South East", "De-ddwyrain Lloegr"), ("Wales", "Cymru")),
)
_JURISDICTIONS = (("Civil", "Sifil"), ("Family", "Teulu"), ("Crime", "Troseddau"), ("Tribunal", "Tribiwnlys"))
_LIST_TYPES = (
    *("CIVIL_DAILY_CAUSE_LIST", "FAMILY_DAILY_CAUSE_LIST", "CIVIL_AND_FAMILY_DAILY_CAUSE_LIST", "COP_DAILY_CAUSE_LIST"),
    *(
        "CROWN_DAILY_LIST",
        "CROWN_FIRM_LIST",
        "CROWN_WARNED_LIST",
        "MAGISTRATES_PUBLIC_LIST",
        "MAGISTRATES_STANDARD_LIST",
    ),
    *("SJP_PUBLIC_LIST", "SJP_PRESS_LIST", "SJP_DELTA_PUBLIC_LIST", "SJP_DELTA_PRESS_LIST", "IAC_DAILY_LIST"),
    *("ET_DAILY_LIST", "ET_FORTNIGHTLY_PRESS_LIST", "SSCS_DAILY_LIST", "PRIMARY_HEALTH_LIST", "CARE_STANDARDS_LIST"),
    *("TAX_CHAMBER_LIST", "LANDS_CHAMBER_LIST", "ADMIRALTY_LIST", "BUSINESS_LIST", "CHANCERY_APPEALS_LIST"),
    *("RECENTLY_WITHDRAWN_LIST_1", "RECENTLY_WITHDRAWN_LIST_2", "WITHDRAWN_LIST_1", "WITHDRAWN_LIST_2"),
)
_FIRST_NAMES = ("Amber", "Cobalt", "Indigo", "Ivory", "Jade", "Ochre", "Saffron", "Scarlet", "Sienna", "Teal", "Umber")
_SURNAMES = ("Anvil", "Bobbin", "Candle", "Drawer", "Easel", "Funnel", "Gasket", "Hammer", "Inkwell", "Kettle")
# A spreadsheet runs the first four as formulas; the next three have to survive quoting.
_APPLICANTS = (
    *('=HYPERLINK("https://example.com","Amber Anvil")', "+Cobalt Bobbin", "@Indigo Candle", "-Ivory Drawer"),
    *('Jade "Ink" Easel', "Funnel, Ochre", "Séréna Gâsket-Ŵyn", "Scarlet Hammer", "Sienna Inkwell", "Teal Kettle"),
)


def create_schema(connection: psycopg.Connection) -> None:
    """Create the service's tables, keys and indexes; the caller owns the transaction."""
    ddl = resources.files(__package__).joinpath("schema.sql").read_bytes()
    connection.execute(ddl)


def fill(
    connection: psycopg.Connection,
    *,
    as_of: datetime,
    scale: float = 1.0,
    blob_root: Path | None = None,
    progress: Progress | None = None,
) -> SampleSummary:
    """Fill the empty tables and, under `blob_root`, the containers `artefact`, `publications` and `files`.

    Runs in one transaction, the caller's if one is open; files are written last, up to a cap above scale 1. Needs the
    service's schema and the table `maintenance.sent_notice`. A naive `as_of` is UTC. Equal `as_of` and `scale` give
    equal rows. `progress` is called with the table that comes next, the steps done and the steps in all,
    and at the end with ("", all, all).
    """
    instant = as_of.replace(tzinfo=as_of.tzinfo or UTC).astimezone(UTC)
    with connection.transaction():
        sample = _Sample(connection, instant.replace(tzinfo=None), scale)
        steps = sample.steps()
        connection.execute(_CREATE_FUNCTIONS)
        for done, (table, insert) in enumerate(steps):
            if progress is not None:
                progress(table, done, len(steps))
            sample.rows[table] = sample.rows.get(table, 0) + insert()
        connection.execute(_DROP_FUNCTIONS)
        for table in sample.rows:
            connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(*table.split("."))))
        blob_files = 0 if blob_root is None else _write_blobs(connection, sample.as_of, scale, blob_root)
    if progress is not None:
        progress("", len(steps), len(steps))
    return SampleSummary(sample.rows, blob_files)


class _Sample:
    """One filling: the steps in the order of the foreign keys, each returning the rows it inserted."""

    def __init__(self, connection: psycopg.Connection, as_of: datetime, scale: float) -> None:
        self.connection = connection
        self.as_of = as_of
        self.scale = scale
        self.rows: dict[str, int] = {}
        self.users = list(_draw_users(as_of, scale))

    def steps(self) -> list[tuple[str, Callable[[], int]]]:
        return [
            *((table, self._copy_step(table, rows)) for table, rows in _reference_data(self.as_of).items()),
            ("user", self._copy_step("user", [user.row for user in self.users])),
            ("maintenance.sent_notice", self._copy_step("maintenance.sent_notice", _draw_notices(self.users))),
            ("media_application", self._copy_step("media_application", _draw_applications(self.as_of, self.scale))),
            *(("artefact", self._artefact_step(group)) for group in _ARTEFACT_GROUPS),
            ("artefact_search", self._sql_step(_INSERT_ARTEFACT_SEARCH)),
            ("ingestion_log", self._sql_step(_INSERT_INGESTION_LOG_OF_ARTEFACTS)),
            ("ingestion_log", self._sql_step(_INSERT_INGESTION_LOG, size=18_000)),
            ("subscription", self._sql_step(_INSERT_SUBSCRIPTIONS)),
            ("subscription_list_type", self._sql_step(_INSERT_SUBSCRIPTION_LIST_TYPES, size=2_000)),
            ("notification_audit_log", self._sql_step(_INSERT_NOTIFICATIONS, size=60_000)),
            ("audit_log", self._sql_step(_INSERT_AUDIT_LOG, size=42_000)),
            *((table, self._sql_step(insert, size=4)) for table, insert in _INSERT_THIRD_PARTIES.items()),
        ]

    def _copy_step(self, table: str, rows: Iterable[Row]) -> Callable[[], int]:
        def copy_rows() -> int:
            statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
                sql.Identifier(*table.split(".")), sql.SQL(", ").join(map(sql.Identifier, _COPIED_COLUMNS[table]))
            )
            with self.connection.cursor() as cursor:
                with cursor.copy(statement) as copy:
                    for row in rows:
                        copy.write_row(row)
                return cursor.rowcount

        return copy_rows

    def _sql_step(self, statement: LiteralString, *, size: int = 0, **parameters: object) -> Callable[[], int]:
        def insert_rows() -> int:
            values = {**self._shared_parameters(), "rows": _scaled(size, self.scale), **parameters}
            return self.connection.execute(statement, values).rowcount

        return insert_rows

    def _artefact_step(self, group: _ArtefactGroup) -> Callable[[], int]:
        return self._sql_step(
            _INSERT_ARTEFACTS,
            size=group.size,
            name=group.name,
            known_location=group.known_location,
            no_match=group.no_match,
            received_low=group.received[0],
            received_high=group.received[1],
            displayed_low=group.displayed[0],
            displayed_high=group.displayed[1],
        )

    def _shared_parameters(self) -> dict[str, Any]:
        return {
            "as_of": self.as_of,
            "current": _scaled(_ARTEFACT_GROUPS[0].size, self.scale),
            "open_locations": OPEN_LOCATIONS,
            "recently_closed_locations": RECENTLY_CLOSED_LOCATIONS,
            "closed_locations": CLOSED_LOCATIONS,
            "first_closed_location": OPEN_LOCATIONS + RECENTLY_CLOSED_LOCATIONS + 1,
            "live_list_types": LIVE_LIST_TYPES,
            "deleted_list_type": LIVE_LIST_TYPES + RECENTLY_DELETED_LIST_TYPES + 1,
            "subscriptions": self.rows.get("subscription", 0),
            "administrators": sum(user.role == "SYSTEM_ADMIN" for user in self.users),
        }


_COPIED_COLUMNS = {
    "list_types": (
        *("id", "name", "friendly_name", "welsh_friendly_name", "default_sensitivity", "allowed_provenance"),
        *("created_at", "updated_at", "deleted_at"),
    ),
    "location": ("location_id", "name", "welsh_name", "email", "contact_no", "deleted_at"),
    "region": ("region_id", "name", "welsh_name"),
    "jurisdiction": ("jurisdiction_id", "name", "welsh_name"),
    "sub_jurisdiction": ("sub_jurisdiction_id", "name", "welsh_name", "jurisdiction_id"),
    "location_region": ("location_id", "region_id"),
    "location_sub_jurisdiction": ("location_id", "sub_jurisdiction_id"),
    "location_reference": (
        *("location_reference_id", "location_id", "provenance", "provenance_location_id", "provenance_location_type"),
    ),
    "user": (
        *("user_id", "email", "first_name", "surname", "user_provenance", "user_provenance_id", "role"),
        *("created_date", "last_signed_in_date"),
    ),
    "maintenance.sent_notice": (
        *("job", "subject_id", "kind", "period_start", "as_of", "sent_at", "status", "reference"),
    ),
    "media_application": (
        *("id", "name", "email", "employer", "status", "applied_date", "proof_of_id_path", "proof_of_id_original_name"),
    ),
}


@dataclass(frozen=True)
class _User:
    row: Row
    user_id: UUID
    provenance: str
    role: str
    last_active_on: date
    warned_at: datetime | None


def _reference_data(as_of: datetime) -> dict[str, list[Row]]:
    added = as_of - timedelta(days=900)
    deleted = [None, as_of - timedelta(days=10), as_of - timedelta(days=120)]

    def deleted_at(number: int, live: int, recent: int) -> datetime | None:
        return deleted[(number > live) + (number > live + recent)]

    locations = OPEN_LOCATIONS + RECENTLY_CLOSED_LOCATIONS + CLOSED_LOCATIONS
    numbered = range(1, locations + 1)
    return {
        "list_types": [
            (
                *(i, name, name.replace("_", " ").capitalize(), f"Rhestr {i}", "Public", "CFT_IDAM,CRIME_IDAM"),
                *(added, added, deleted_at(i, LIVE_LIST_TYPES, RECENTLY_DELETED_LIST_TYPES)),
            )
            for i, name in enumerate(_LIST_TYPES, 1)
        ],
        "location": [
            (
                *(i, f"{town} {english}", f"{welsh} {town}", f"court-{i}@example.org", None),
                deleted_at(i, OPEN_LOCATIONS, RECENTLY_CLOSED_LOCATIONS),
            )
            for i, (town, (english, welsh)) in enumerate(((town, court) for court in _COURTS for town in _TOWNS), 1)
        ],
        "region": [(i, *names) for i, names in enumerate(_REGIONS, 1)],
        "jurisdiction": [(i, *names) for i, names in enumerate(_JURISDICTIONS, 1)],
        "sub_jurisdiction": [(i, f"{en} Court", f"Llys {cy}", i) for i, (en, cy) in enumerate(_JURISDICTIONS, 1)],
        "location_region": [(i, 1 + i % len(_REGIONS)) for i in numbered],
        "location_sub_jurisdiction": [(i, 1 + i % len(_JURISDICTIONS)) for i in numbered],
        "location_reference": [(f"reference-{i}", i, "SNL", f"SNL-{i}", "VENUE") for i in numbered],
    }


def _draw_users(as_of: datetime, scale: float) -> Iterator[_User]:
    today = as_of.replace(hour=0, minute=0, second=0, microsecond=0)
    numbers = count(1)
    for group in _USER_GROUPS:
        for i, number in zip(range(_scaled(group.size, scale)), numbers, strict=False):
            idle = _spread(group.idle, i)
            active_at = today - timedelta(days=idle) + timedelta(hours=8 + number % 10, seconds=number % 3600)
            warned_days = None if group.warned is None else _spread(group.warned, i)
            warned_at = (
                None if warned_days is None else today - timedelta(days=warned_days) + timedelta(hours=8, minutes=1)
            )
            # A warning older than the last activity was about the time before it.
            period_start = active_at if warned_days is None or warned_days <= idle else today - timedelta(days=400)
            provenance = group.provenances[i % len(group.provenances)]
            created_at = active_at - timedelta(days=200 + number % 700) if group.signs_in else active_at
            signed_in_at = active_at if group.signs_in else None
            yield _build_user(number, provenance, group.role, created_at, signed_in_at, period_start, warned_at)
            if group.twin_created is not None:
                twin_at = today - timedelta(days=_spread(group.twin_created, i)) + timedelta(hours=9)
                yield _build_user(-number, "B2C_IDAM", group.role, twin_at, None, period_start, warned_at)


def _build_user(
    number: int,
    provenance: str,
    role: str,
    created_at: datetime,
    signed_in_at: datetime | None,
    period_start: datetime,
    warned_at: datetime | None,
) -> _User:
    """Build one row; `number` and `-number` are twins, who share an address in different spellings."""
    first_name = _FIRST_NAMES[abs(number) % len(_FIRST_NAMES)]
    surname = f"{_SURNAMES[abs(number) % len(_SURNAMES)]} {abs(number)}"
    domain = "example.org" if provenance == "SSO" else "example.com"
    email = f"{first_name}.{surname.replace(' ', '.')}@{domain}"
    user_id = _uuid(f"user-{number}")
    provenance_id = ("CRIME_IDAM:" if provenance == "CRIME_IDAM" else "") + str(_uuid(f"identity-{number}"))
    row = (
        *(user_id, email if number < 0 else email.lower(), first_name, surname, provenance, provenance_id, role),
        *(created_at, signed_in_at),
    )
    return _User(row, user_id, provenance, role, period_start.date(), warned_at)


def _draw_notices(users: Iterable[_User]) -> Iterator[Row]:
    for user in users:
        if user.warned_at is not None:
            sent_at = user.warned_at.replace(tzinfo=UTC)
            kind = WARNING_KIND[user.provenance]
            reference = str(_uuid(f"notice-{user.user_id}"))
            yield (
                *("inactive_verification", str(user.user_id), kind, user.last_active_on),
                *(sent_at, sent_at, "sent", reference),
            )


def _draw_applications(as_of: datetime, scale: float) -> Iterator[Row]:
    numbers = count(1)
    for week in range(ENDED_WEEKS + 1):
        start, end = _week_bounds(as_of, week)
        amount = _scaled(5 + (week * 17 + 11) % 36, scale, least=3)
        for i, number in zip(range(amount), numbers, strict=False):
            application_id = _uuid(f"application-{number}")
            extension = (None, ".pdf", ".jpg")[number % 3]
            yield (
                application_id,
                _APPLICANTS[number % len(_APPLICANTS)],
                f"applicant.{number}@example.com",
                f"Sample Gazette {number % 9}",
                ("PENDING", "APPROVED", "REJECTED")[i % 3],
                start + (end - start) * (i + 1) / (amount + 1),
                extension and f"{application_id}{extension}",
                extension and f"proof{extension}",
            )


def _week_bounds(as_of: datetime, weeks_ago: int) -> tuple[datetime, datetime]:
    """Return the part of a week that applications fall into: a day away from Mondays, where the week has a day."""
    today = as_of.replace(hour=0, minute=0, second=0, microsecond=0)
    monday = today - timedelta(days=today.weekday(), weeks=weeks_ago)
    if weeks_ago == 0:
        return monday + min(timedelta(days=1), (as_of - monday) / 2), as_of
    return monday + timedelta(days=1), monday + timedelta(days=6)


def _write_blobs(connection: psycopg.Connection, as_of: datetime, scale: float, root: Path) -> int:
    containers = {name: root / name for name in ("artefact", "publications", "files")}
    for folder in containers.values():
        folder.mkdir(parents=True, exist_ok=True)
    growth = max(1, sqrt(scale))
    limits = {
        "doomed": _scaled(DOOMED_ARTEFACTS_WITH_FILES, growth),
        "current": _scaled(CURRENT_ARTEFACTS_WITH_FILES, growth),
    }
    artefacts = connection.execute(_SELECT_ARTEFACTS_WITH_FILES, {"as_of": as_of, **limits}).fetchall()
    proofs = connection.execute("SELECT proof_of_id_path FROM media_application WHERE proof_of_id_path IS NOT NULL")
    names = [name for artefact in artefacts for name in _name_blobs(*artefact)]
    names += [("files", path) for (path,) in proofs.fetchall()]
    for container, name in names:
        containers[container].joinpath(name).write_bytes(b"sample\n")
    return len(names)


def _name_blobs(artefact_id: UUID, list_type: str, is_flat_file: bool, no_match: bool) -> Iterator[tuple[str, str]]:
    # Every third is an older one, whose payload was stored with an extension.
    old_extension = ".pdf" if is_flat_file else ".json"
    yield "artefact", f"{artefact_id}{old_extension if artefact_id.int % 3 == 0 else ''}"
    if not (is_flat_file or no_match):
        yield "publications", f"{artefact_id}.pdf"
        if list_type.startswith(("SJP_", "MAGISTRATES_")):
            yield "publications", f"{artefact_id}.xlsx"


def _scaled(size: int, scale: float, *, least: int = 2) -> int:
    return max(least, round(size * scale))


def _spread(bounds: tuple[int, int], i: int) -> int:
    low, high = bounds
    # 37 is prime and divides no range above: neighbours differ, and every value comes up.
    return low + i * 37 % (high - low + 1)


def _uuid(name: str) -> UUID:
    return uuid5(NAMESPACE_URL, f"https://example.com/{name}")


def _fill(connection: psycopg.Connection, filling: Filling) -> int:
    summary = fill(
        connection,
        as_of=filling.as_of,
        scale=filling.scale,
        blob_root=filling.file_root,
        progress=lambda table, done, total: filling.reporter.progress("tables", done, total),  # noqa: ARG005
    )
    return summary.total


SAMPLE = Sample(
    CATH,
    create_schema,
    _fill,
    stores={"BLOB_URL": "blobs", "REPORT_URL": "reports"},
    files="blobs",
    effects=("reports", "notify.jsonl"),
)
