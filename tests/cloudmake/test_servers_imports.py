"""The clients that CloudMake's jobs speak by are read where they are used: a code location loads without them."""

import pytest

from tests.support.fresh import load_afresh

CLIENTS = {"httpx2", "mcp", "mcp_types"}


@pytest.mark.stack
def test_the_code_location_loads_without_the_library_that_speaks_to_servers() -> None:
    told = load_afresh("cloudmake")

    assert {"mcp_load_test", "mcp_outage_detection"} <= set(told["jobs"])
    assert CLIENTS & {name.partition(".")[0] for name in told["modules"]} == set()
