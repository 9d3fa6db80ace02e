"""Real parts beside the embedded PostgreSQL that some tests need: what is not installed is named, and skipped or refused."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

REQUIRED = "REQUIRE_REAL_PARTS"
"""Set to 1, a part that is missing fails the tests that need it in place of skipping them."""
DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
DEBIAN_PATH = "/usr/sbin:/usr/local/sbin"
"""Where daemons lie, which an ordinary user's path leaves out."""


def find_program(name: str, package: str) -> Path:
    """Return a program that a Debian package installs."""
    return installed(name) or missing(f"{name} is not installed; apt-get install {package}")


def installed(name: str) -> Path | None:
    """Return a program, None if it is not there."""
    found = shutil.which(name) or shutil.which(name, path=DEBIAN_PATH)
    return Path(found) if found else None


def find_postgres_15() -> Path:
    """Return the folder of PostgreSQL 15's programs."""
    return (
        DEBIAN_15
        if (DEBIAN_15 / "postgres").exists()
        else missing("PostgreSQL 15 is not installed; apt-get install postgresql-15")
    )


def missing(says: str) -> NoReturn:
    """Skip the test that needs what is missing, or fail it where all parts are required."""
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{says} ({REQUIRED} is set)", pytrace=False)
    pytest.skip(says)
