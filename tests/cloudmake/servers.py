"""MCP servers as a job of CloudMake finds them: a configuration file, and the variable that names it."""

import json
from pathlib import Path
from typing import Any

from tests.cloudmake.cloudmake import CloudMake


def configure(cloudmake: CloudMake, folder: Path, **servers: Any) -> Path:
    """Write a configuration of these servers, by name, each its URL or its whole entry, and let the jobs find it."""
    path = folder / "config.json"
    entries = {
        name.replace("_", "-"): {"url": given} if isinstance(given, str) else given for name, given in servers.items()
    }
    path.write_text(json.dumps({"mcpServers": entries}))
    cloudmake.environ["CLOUDMAKE_MCP_CONFIG"] = str(path)
    return path
