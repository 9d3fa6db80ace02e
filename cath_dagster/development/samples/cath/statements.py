"""The statements that draw the large tables in the database itself."""

from collections.abc import Mapping
from typing import LiteralString

# Values are drawn by a hash of the row's number, so equal arguments give equal rows without a generator's state.
CREATE_FUNCTIONS = """
CREATE OR REPLACE FUNCTION pg_temp.pick(n bigint, salt integer, size integer) RETURNS integer
LANGUAGE sql IMMUTABLE AS 'SELECT mod(hashint8extended(n, salt) & 9223372036854775807, size)::integer';
CREATE OR REPLACE FUNCTION pg_temp.days(n bigint, salt integer, low float8, high float8) RETURNS interval
LANGUAGE sql IMMUTABLE AS
'SELECT make_interval(secs => low * 86400 + pg_temp.pick(n, salt, ((high - low) * 86400)::integer))';
"""
DROP_FUNCTIONS = """
DROP FUNCTION pg_temp.days(bigint, integer, float8, float8);
DROP FUNCTION pg_temp.pick(bigint, integer, integer);
"""

INSERT_ARTEFACTS = r"""
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

INSERT_ARTEFACT_SEARCH = """
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

INSERT_INGESTION_LOG_OF_ARTEFACTS = """
INSERT INTO ingestion_log (id, "timestamp", source_system, court_id, status, artefact_id)
SELECT md5('received-' || artefact_id)::uuid, last_received_date, provenance, location_id, 'SUCCESS', artefact_id
FROM artefact
"""

INSERT_INGESTION_LOG = """
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
INSERT_SUBSCRIPTIONS = """
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

INSERT_SUBSCRIPTION_LIST_TYPES = """
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

INSERT_NOTIFICATIONS = """
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

INSERT_AUDIT_LOG = """
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

INSERT_THIRD_PARTIES: Mapping[str, LiteralString] = {
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

SELECT_ARTEFACTS_WITH_FILES = """
(SELECT a.artefact_id, l.name, a.is_flat_file, a.no_match FROM artefact AS a JOIN list_types AS l ON l.id = list_type_id
 WHERE a.display_to < %(as_of)s OR a.no_match ORDER BY a.artefact_id LIMIT %(doomed)s)
UNION ALL
(SELECT a.artefact_id, l.name, a.is_flat_file, a.no_match FROM artefact AS a JOIN list_types AS l ON l.id = list_type_id
 WHERE a.display_to >= %(as_of)s AND NOT a.no_match ORDER BY a.artefact_id LIMIT %(current)s)
"""
