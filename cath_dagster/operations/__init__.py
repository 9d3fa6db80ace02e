"""The instance itself: alerts about every location, and the upkeep of Dagster's own database.

Its database is the one in which Dagster keeps runs and events; our own tables lie in the schema `maintenance` there.
"""

from cath_dagster.core.model.location import CodeLocation

OPERATIONS = CodeLocation(
    name="operations",
    package="cath_dagster.operations",
    revision="operations_0003",
    backends="cath_dagster.operations.backends",
)
OWNER = "team:platform"
