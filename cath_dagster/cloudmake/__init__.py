"""The CloudMake platform: ten operational tasks on its database and its providers, and when they run."""

from cath_dagster.core.model.location import CodeLocation

CLOUDMAKE = CodeLocation(
    name="cloudmake", package="cath_dagster.cloudmake", revision="cloudmake_0001", own_timezone="UTC"
)
OWNER = "team:cloudmake"
