"""Fill Dagster's database with jobs, and with runs of theirs that have ended."""

from collections.abc import Sequence

import psycopg

# Of every job as many, the newest now, evenly over thirty days; one in fifty failed.
RUNS = """
CREATE TEMP TABLE made AS
SELECT n, name[1] AS location, name[2] AS job, md5(%(salt)s || n)::uuid::text AS run_id,
       now() - 30 * n / %(rows)s::float * interval '1 day' AS at, CASE WHEN n %% 50 = 7 THEN 'failed' ELSE 'success' END AS status
FROM generate_series(1, %(rows)s) AS n,
     LATERAL (SELECT string_to_array((%(keys)s::text[])[1 + n %% %(jobs)s], '/') AS name) AS chosen
"""
JOBS = """
INSERT INTO operations.scheduled_job (location, name, description, owner, schedule, timezone, enabled, last_run_at, last_status,
                                      last_duration_ms, total_runs, total_duration_ms, next_run_at)
SELECT split_part(key, '/', 1), split_part(key, '/', 2), 'A job.', 'team', '0 1 * * *', 'UTC', true, now(), 'success', 2000, 10000, 20000000,
       now() + interval '1 day'
FROM unnest(%(keys)s::text[]) AS key
ON CONFLICT DO NOTHING
"""
HISTORY = """
INSERT INTO operations.scheduled_job_history (location, job, run_id, trigger, started_at, completed_at, status, duration_ms,
                                              parameters, outcomes, counted)
SELECT location, job, run_id, 'schedule', at, at + interval '2 s', status, 2000 + n %% 500, '{"undo_days": 7}',
       '[{"target": "audit_log", "matched": 120, "deleted": 120}, {"target": "ingestion_log", "matched": 3, "deleted": 3}]', true
FROM made
"""
# Dagster's own rows of the same runs: what is queued is looked for among them.
DAGSTER_RUNS = """
INSERT INTO runs (run_id, pipeline_name, status, run_body, create_timestamp, update_timestamp)
SELECT run_id, job, CASE status WHEN 'success' THEN 'SUCCESS' ELSE 'FAILURE' END, '{}', at, at FROM made
"""
DAGSTER_TAGS = """
INSERT INTO run_tags (run_id, key, value) SELECT run_id, 'cath_dagster/job', location || '/' || job FROM made
"""
TABLES = ("operations.scheduled_job", "operations.scheduled_job_history", "public.runs", "public.run_tags")


def add_runs(url: str, keys: Sequence[str], rows: int) -> None:
    """Add ended runs of these jobs, as `location/name`, and register each that is not."""
    with psycopg.connect(url, autocommit=True) as connection:
        given = {"keys": list(keys), "jobs": len(keys), "rows": rows, "salt": f"{rows} "}
        connection.execute(RUNS, given)
        connection.execute(JOBS, given)
        for statement in (HISTORY, DAGSTER_RUNS, DAGSTER_TAGS):
            connection.execute(statement.replace("%%", "%").encode())
        for table in TABLES:
            # The bench's server has no autovacuum, without which no plan knows what there is.
            connection.execute(f"VACUUM ANALYZE {table}".encode())
