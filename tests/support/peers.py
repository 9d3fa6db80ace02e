"""Other makers' programs that tests speak to, of the versions that `tests/peers/package-lock.json` names."""

from pathlib import Path

from tests.support.parts import find_program, missing

PEERS = Path(__file__).parents[1] / "peers"


def find_node() -> Path:
    """Return Node's program."""
    return find_program("node", "nodejs")


def find_peer(package: str) -> Path:
    """Return the folder of an npm package; skip the test where it is not installed."""
    folder = PEERS / "node_modules" / package
    return folder if folder.is_dir() else missing(f"{package} is not installed; npm ci --prefix tests/peers")
