"""The code locations of this version, as workspace.yaml names them. Nothing here imports Dagster."""

from cath_dagster.bon import BON
from cath_dagster.cath import CATH
from cath_dagster.checktick import CHECKTICK
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.operations import OPERATIONS

LOCATIONS: tuple[CodeLocation, ...] = (CATH, BON, CHECKTICK, OPERATIONS)
