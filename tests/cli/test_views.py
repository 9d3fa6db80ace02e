"""`cath-dagster views drop`, as a deployment of the service calls it."""

from tests.support.command import call
from tests.support.service import Service


def test_drops_the_views_and_names_them(service: Service) -> None:
    service.run("refresh_views")

    done = call(service.environ, "views", "drop", "cath")

    assert done.returncode == 0
    assert "sdp_mat_view_location" in done.stdout
    assert service.count("pg_matviews", "schemaname = 'maintenance'") == 0


def test_names_what_depends_on_one_and_drops_none(service: Service) -> None:
    service.run("refresh_views")
    service.connection.execute("CREATE VIEW courts AS SELECT name FROM maintenance.sdp_mat_view_location")

    done = call({**service.environ, "COLUMNS": "400"}, "views", "drop", "cath")

    assert done.returncode == 1
    assert "view courts" in done.stderr.replace("public.", "")
    assert "Traceback" not in done.stderr
    assert service.count("pg_matviews", "schemaname = 'maintenance'") == 4
