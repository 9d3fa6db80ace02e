"""The court and tribunal hearings service (CaTH): what runs against its database, and when."""

from cath_dagster.core.model.location import CodeLocation

CATH = CodeLocation(
    name="cath",
    package="cath_dagster.cath",
    revision="cath_0001",
    own_timezone="UTC",
    stores={"BLOB_URL": ("artefact", "publications", "files"), "REPORT_URL": ("",)},
)
OWNER = "team:cath"
