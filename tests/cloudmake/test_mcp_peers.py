"""Both MCP jobs against another maker's server, over both transports, in one run each."""

from pathlib import Path

import pytest

from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.servers import configure
from tests.support.maintained import outcome
from tests.support.reference_mcp import command, serving

pytestmark = pytest.mark.stack


def test_both_jobs_speak_to_the_reference_server(cloudmake: CloudMake, tmp_path: Path) -> None:
    program, *arguments = command("stdio")
    # `get-env` says that it only reads, and gives away the server's environment: only who names it gets it called.
    tools = {"echo": {"message": "hello"}, "get-sum": {"a": "no number"}}
    with serving() as url:
        configure(
            cloudmake,
            tmp_path,
            started={"command": program, "args": arguments},
            listening={"url": url, "loadTools": tools},
        )
        looked = cloudmake.run("mcp_outage_detection")
        measured = cloudmake.run("mcp_load_test", samples=3, concurrency=2)

    assert (looked.status, [check.passed for check in looked.checks]) == ("success", [True])
    assert measured.status == "success"
    assert outcome(measured, "mcp_server_metrics").details["tools"] == ["listening: echo", "listening: get-sum"]
    query = "SELECT server_name, tool_name, success, error_code, count(*) FROM mcp_tool_invocations"
    assert cloudmake.rows(f"{query} GROUP BY 1, 2, 3, 4 ORDER BY 1, 2") == [
        ("listening", "echo", True, None, 20),
        ("listening", "get-sum", False, "tool_error", 20),
        ("listening", "tools/list", True, None, 7),
        ("started", "tools/list", True, None, 7),
    ]
