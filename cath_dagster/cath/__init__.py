"""The court and tribunal hearings service (CaTH): what runs against its database, and when."""

from cath_dagster.core.spec import Location

LOCATION = Location(
    name="cath",
    title="Court and Tribunal Hearings",
    package="cath_dagster.cath",
    revision="cath_0001",
)
OWNER = "team:cath"
