"""The MCP jobs as a role that has what `roles sql` prints, and nothing else."""

from pathlib import Path

from cath_dagster.development.simulators.mcp import McpSimulator
from tests.cloudmake.clock import SleptClock, run_by
from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.servers import configure
from tests.support.command import call
from tests.support.roles import role_in


def test_what_the_role_is_given_is_enough(cloudmake: CloudMake, tmp_path: Path) -> None:
    with role_in(cloudmake.url, cloudmake.connection) as role, McpSimulator() as simulator:
        cloudmake.connection.execute(call(cloudmake.environ, "roles", "sql", "cloudmake", "--role", role.name).stdout)
        cloudmake.environ["CLOUDMAKE_DATABASE_URL"] = role.url
        configure(
            cloudmake,
            tmp_path,
            a={"url": simulator.url, "loadTools": {"catalogue.get": {}, "catalogue.wipe": {}}},
            gone={"command": "/nowhere/server"},
        )
        measured = cloudmake.run("mcp_load_test", samples=1, servers="a")
        again = cloudmake.run("mcp_load_test", samples=1, servers="a")
        looked = run_by(SleptClock(), cloudmake, "mcp_outage_detection")

    for result in (measured, again):
        assert result.error is not None
        assert result.error.startswith("a: catalogue.wipe is named in loadTools")
        assert ";" not in result.error.replace("; take it out", "")
    assert looked.status == "success"
    assert cloudmake.count("maintenance.mcp_outage") == 1
    assert cloudmake.count("mcp_tool_invocations") == 2 * (3 + 20 + 1)
