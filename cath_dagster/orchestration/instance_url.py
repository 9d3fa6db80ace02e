"""Where an instance keeps its runs, asked of the instance: whoever looks needs none of the storages' libraries."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # It takes seconds to load, and whoever has an instance has it already.
    import dagster as dg


def postgres_url(instance: "dg.DagsterInstance") -> str | None:
    """Return the libpq URL of the database in which an instance keeps its runs; None where it is no PostgreSQL."""
    url = getattr(instance.run_storage, "postgres_url", None)
    if url is None:
        return None
    scheme, _, rest = str(url).partition("://")
    return f"{scheme.partition('+')[0]}://{rest}"
