"""No job of the service changes or removes what the ledger says."""

from datetime import datetime, timedelta

from cath_dagster.cath import CATH
from cath_dagster.core.model.outcome import RunResult, Status
from cath_dagster.core.model.settings import PurgeSettings
from cath_dagster.core.run.spec import JobSpec, load_specs
from tests.support.service import Service

REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE OR DELETE OR TRUNCATE ON maintenance.ledger_event EXECUTE FUNCTION refuse();
CREATE TRIGGER refuse BEFORE UPDATE OR DELETE OR TRUNCATE ON maintenance.deleted_key EXECUTE FUNCTION refuse()
"""


def run(service: Service, spec: JobSpec, *, as_of: datetime) -> RunResult:
    """Run a job that keeps the keys of what it deletes, if it deletes anything."""
    if issubclass(spec.settings, PurgeSettings):
        return service.run(spec.name, as_of=as_of, ledger_keys=True)
    return service.run(spec.name, as_of=as_of)


def test_runs_every_job_twice_without_changing_the_ledger(service: Service) -> None:
    service.connection.execute(REFUSE)
    user = service.add_user("SSO", role="INTERNAL_ADMIN_CTSC", last_signed_in_date=service.days_ago(200))
    service.add_notification(service.add_subscription(user), created_at=service.days_ago(100))
    service.add_subscription(service.add_user(), search_type="LOCATION_ID", search_value="99")
    service.add_artefact(display_to=service.days_ago(1))
    service.add_artefact(no_match=True, last_received_date=service.days_ago(8))
    service.add_application()

    endings = [
        run(service, spec, as_of=service.as_of + timedelta(days=days)).status
        for days in (0, 30)
        for spec in load_specs(CATH)
    ]

    assert endings == [Status.SUCCESS] * 14
    tables = service.rows("SELECT DISTINCT table_name FROM maintenance.deleted_key ORDER BY 1")
    assert tables == [("artefact",), ("notification_audit_log",), ("subscription",), ("user",)]
