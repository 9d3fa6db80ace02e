"""CheckTick, a service for clinical surveys: what runs against its database, and when."""

from cath_dagster.core.model.location import CodeLocation

CHECKTICK = CodeLocation(
    name="checktick",
    package="cath_dagster.checktick",
    own_timezone="UTC",
    stores={"MEDIA_URL": ("question_images",)},
    file_store="MEDIA_URL",
)
OWNER = "team:checktick"
