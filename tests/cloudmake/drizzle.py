"""drizzle-kit and drizzle-orm, as a test calls them."""

import json
import subprocess
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from tests.support.peers import PEERS, find_node, find_peer

Done = subprocess.CompletedProcess[str]


def drizzle_migrate(url: str, folder: Path) -> Done:
    """Apply a folder by drizzle-orm's migrator."""
    find_peer("drizzle-orm")
    command = [str(find_node()), str(PEERS / "drizzle_migrate.mjs"), str(folder), json.dumps(_connection(url))]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def drizzle_kit_migrate(url: str, home: Path) -> Done:
    """Apply the migrations of a home by drizzle-kit's own command."""
    find_peer("pg")
    config = json.loads((home / "drizzle.config.json").read_text())
    given = {name: str(value) for name, value in _connection(url).items() if value}
    config["dbCredentials"] = {**given, "port": int(given["port"]), "ssl": False}
    (home / "migrate.config.json").write_text(json.dumps(config))
    command = [
        str(find_node()),
        str(find_peer("drizzle-kit") / "bin.cjs"),
        "migrate",
        "--config",
        "migrate.config.json",
    ]
    return subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=120, check=False)


def _connection(url: str) -> dict[str, object]:
    given = conninfo_to_dict(url)
    names = {"host": "host", "user": "user", "password": "password", "database": "dbname"}
    return {"port": int(given.get("port") or 5432), **{name: given.get(libpq) for name, libpq in names.items()}}


def generate(home: Path, schema: str, name: str) -> Path:
    """Let drizzle-kit write the next migration for a schema in TypeScript; return the folder of migrations."""
    package = find_peer("drizzle-kit")
    home.mkdir(parents=True, exist_ok=True)
    (home / "schema.ts").write_text(schema)
    (home / "drizzle.config.json").write_text(
        json.dumps({"dialect": "postgresql", "schema": "./schema.ts", "out": "./migrations"})
    )
    modules = home / "node_modules"
    if not modules.exists():
        modules.symlink_to(PEERS / "node_modules")
    command = [str(find_node()), str(package / "bin.cjs"), "generate", "--name", name]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return home / "migrations"
