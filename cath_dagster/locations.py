"""The code locations of this version, as workspace.yaml names them. Nothing here imports Dagster."""

from cath_dagster.bon import LOCATION as BON
from cath_dagster.cath import LOCATION as CATH
from cath_dagster.checktick import LOCATION as CHECKTICK
from cath_dagster.core.model.location import Location
from cath_dagster.operations import LOCATION as OPERATIONS

LOCATIONS: tuple[Location, ...] = (CATH, BON, CHECKTICK, OPERATIONS)
