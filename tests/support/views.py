"""CaTH's views, and rows that show in them."""

import uuid
from typing import Any

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.cath.views import VIEWS
from cath_dagster.core.maintenance.views import drop
from cath_dagster.core.model.outcome import RunResult
from cath_dagster.core.postgres.database import Database
from tests.support.service import Service

JOB = "refresh_views"


ARTEFACT, LOCATION, USER, SUBSCRIPTION = (
    f"sdp_mat_view_{name}" for name in ("artefact", "location", "pi_user", "subscription")
)


NAMES = (ARTEFACT, LOCATION, USER, SUBSCRIPTION)


def contents(service: Service, name: str) -> list[tuple[Any, ...]]:
    """Return a view's rows with their physical place: a row that was written again has another."""
    return service.rows(f"SELECT ctid::text, xmin::text, v::text FROM maintenance.{name} v ORDER BY 1")


def updated(result: RunResult) -> set[str]:
    return {done.target for done in result.outcomes if done.updated}


def add_rows(service: Service) -> None:
    """Give every source a row or more."""
    service.add_location(1)
    service.add_artefact()
    archive_artefact(service)
    service.add_subscription(service.add_user(), search_type="LOCATION_ID", search_value="1")


def drop_views(service: Service) -> list[str]:
    engine = open_engine(service.url, variable="CATH_DATABASE_URL", application_name="test")
    with Database(engine) as database:
        dropped = drop(database, VIEWS)
    engine.dispose()
    return dropped


def archive_artefact(service: Service, **values: Any) -> uuid.UUID:
    """Add the metadata of an artefact that has expired."""
    row = {
        "artefact_id": uuid.uuid4(),
        "location_id": "1",
        "list_type_id": 1,
        "content_date": service.days_ago(40).date(),
        "sensitivity": "PUBLIC",
        "language": "ENGLISH",
        "display_from": service.days_ago(40),
        "display_to": service.days_ago(39),
        "last_received_date": service.days_ago(40),
        "is_flat_file": False,
        "provenance": "SNL",
        "superseded_count": 0,
        "no_match": False,
        "type": "LIST",
        "archived_by": "earlier-run",
    }
    artefact_id: uuid.UUID = service.insert("maintenance.artefact_archive", **{**row, **values})
    return artefact_id
