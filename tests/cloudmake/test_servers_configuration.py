"""The service's mcp/config.json: what it says is read as it stands, and what is not understood is refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from cath_dagster.cloudmake.servers.configuration import Server, read_servers
from cath_dagster.core.errors import ConfigurationError, MissingConfigurationError
from cath_dagster.core.ports.mcp import McpAddress, McpProcess


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mcp" / "config.json"


def write(path: Path, servers: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(servers if isinstance(servers, str) else json.dumps({"mcpServers": servers}))
    return path


def test_reads_a_server_that_is_started(path: Path) -> None:
    write(
        path,
        {
            "github": {
                "command": "node",
                "args": ["server.js", "--org=${ORG}"],
                "env": {"GITHUB_TOKEN": "${GITHUB_TOKEN}", "MODE": "plain"},
                "cwd": "sub",
                "tools": ["github.listRepos"],
                "loadTools": {"github.listRepos": {"limit": 1}},
            }
        },
    )

    found = read_servers(path, {"CLOUDMAKE_GITHUB_TOKEN": "made-up", "CLOUDMAKE_ORG": "acme"})

    assert found == (
        Server(
            name="github",
            endpoint=McpProcess(
                command="node",
                args=("server.js", "--org=acme"),
                env={"GITHUB_TOKEN": "made-up", "MODE": "plain"},
                cwd=path.parent.parent / "sub",
            ),
            tools=("github.listRepos",),
            load_tools={"github.listRepos": {"limit": 1}},
        ),
    )
    assert "made-up" not in repr(found)


def test_reads_a_server_at_an_address(path: Path) -> None:
    write(
        path, {"neon": {"type": "http", "url": "https://neon.example/mcp", "headers": {"X-Key": "k-${CLOUDMAKE_KEY}"}}}
    )

    (found,) = read_servers(path, {"CLOUDMAKE_KEY": "made-up"})

    assert found.endpoint == McpAddress(url="https://neon.example/mcp", headers={"X-Key": "k-made-up"})
    assert (found.tools, found.load_tools) == (None, {})
    assert "made-up" not in repr(found)


def test_names_every_variable_that_is_missing_and_reads_none_without_the_prefix(path: Path) -> None:
    write(path, {"a": {"command": "a", "env": {"X": "${ONE}"}}, "b": {"url": "https://b.example/${TWO}"}})

    with pytest.raises(
        MissingConfigurationError, match=r"^CLOUDMAKE_ONE, CLOUDMAKE_TWO not set; .* has \$\{ONE\}, \$\{TWO\}$"
    ):
        read_servers(path, {"ONE": "1", "CLOUDMAKE_TWO": ""})


def test_those_that_are_not_chosen_need_no_variables(path: Path) -> None:
    write(path, {"a": {"command": "a", "env": {"X": "${ONE}"}}, "c": {"command": "c"}, "b": {"command": "b"}})

    assert [server.name for server in read_servers(path, {}, " c,b ,")] == ["b", "c"]


def test_knows_the_commands_that_fetch_a_package_when_they_start(path: Path) -> None:
    write(path, {"a": {"command": "/usr/bin/npx", "args": ["-y", "x"]}, "b": {"command": "node"}})

    assert [server.downloads for server in read_servers(path, {})] == [True, False]


@pytest.mark.parametrize(
    ("servers", "says"),
    [
        ("not json", "is not JSON"),
        ('{"mcpServers": {}} {}', "is not JSON"),
        ('{"mcpServers": {"a": {"command": "a"}, "a": {"command": "b"}}}', "'a' stands twice"),
        ("[]", "must be an object, and is list"),
        ('{"mcpServers": {"a": {"command": "a"}}, "inputs": []}', "has inputs, which mean nothing here"),
        ({}, "configures no server"),
        ({"a": {"command": "a", "disabled": True}}, "a has disabled, which mean nothing here"),
        ({"a": {"command": "a", "url": "https://a.example"}}, "either a command or a url"),
        ({"a": {"args": []}}, "either a command or a url"),
        ({"a": {"command": "a", "headers": {}}}, "headers can be no part"),
        ({"a": {"url": "https://a.example", "env": {}}}, "env can be no part"),
        ({"a": {"type": "sse", "url": "https://a.example"}}, "of type 'sse'"),
        ({"a": {"type": "stdio", "url": "https://a.example"}}, "of type 'stdio' and has a url"),
        ({"a": {"command": ""}}, "command must be a string"),
        ({"a": {"command": "a", "args": "b"}}, "args must be a list of strings, and is str"),
        ({"a": {"command": "a", "args": [1]}}, "args must be a list of strings"),
        ({"a": {"command": "a", "env": {"X": 1}}}, "env: X must be a string, and is int"),
        ({"a": {"command": "a", "tools": [{}]}}, "tools must be a list of strings"),
        ({"a": {"command": "a", "loadTools": ["x"]}}, "loadTools must be an object, and is list"),
        ({"a": {"command": "a", "loadTools": {"x": None}}}, "loadTools: x must be an object"),
        ({"a": {"command": "a", "env": {"X": "${Y:-z}"}}}, "that is no"),
        ({"a": {"url": "ftp://a.example/secret"}}, "url must be like"),
        ({"a": {"url": "http://a.example/mcp", "headers": {"X": "y"}}}, "url must be https"),
        ({"": {"command": "a"}}, "no name of a server"),
        ({"a" * 129: {"command": "a"}}, "no name of a server"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(path: Path, servers: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as raised:
        read_servers(write(path, servers), {})

    assert "secret" not in str(raised.value)


def test_a_chosen_server_that_is_not_configured_is_named(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="has no server b, c; it has a"):
        read_servers(write(path, {"a": {"command": "a"}}), {}, "c,b,a")


def test_a_file_that_is_not_there_is_named(path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"CLOUDMAKE_MCP_CONFIG names .*config\.json: No such file"):
        read_servers(path, {})


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_headers_travel_in_the_clear_on_this_machine_alone(path: Path, host: str) -> None:
    write(path, {"a": {"url": f"http://{host}:1/mcp", "headers": {"X": "y"}}})

    assert read_servers(path, {})[0].name == "a"


def test_commands_are_meant_from_the_root_of_the_service(path: Path) -> None:
    write(path, {"a": {"command": "node", "args": ["./mcp/servers/a/index.js"]}})
    elsewhere = path.parent.parent / "servers.json"
    elsewhere.write_text(path.read_text())

    for file in (path, elsewhere):
        assert read_servers(file, {})[0].endpoint == McpProcess(
            command="node", args=("./mcp/servers/a/index.js",), cwd=path.parent.parent
        )


@pytest.mark.parametrize(
    ("servers", "says"),
    [
        ({"a": {"url": "http://127.0.0.1:99999/"}}, "url must be like"),
        ({"a": {"url": "http://127.0.0.1:1/ x"}}, "url must be like"),
        ({"a": {"url": "http://127.0.0.1:1/\n"}}, "url must be like"),
        ({"a\0b": {"url": "http://127.0.0.1:1/"}}, "has a character that is none"),
        ({"a\ud800": {"url": "http://127.0.0.1:1/"}}, "has a character that is none"),
        ({"a": {"command": "x\0y"}}, "'command' has a character that is none"),
        ({"a": {"command": "x", "args": ["y", "\udfff"]}}, "'args' has a character that is none"),
        ({"a": {"command": "x", "env": {"A": "\0"}}}, "'A' has a character that is none"),
        ('{"mcpServers":' * 100_000, "is not JSON: it is nested too deeply"),
    ],
)
def test_what_no_program_and_no_database_takes_is_refused_by_name(path: Path, servers: Any, says: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        read_servers(write(path, servers), {})

    assert says in str(raised.value)
