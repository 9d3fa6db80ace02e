"""The BON invoicing service: what runs against its database, and when."""

from cath_dagster.core.model.location import CodeLocation

BON = CodeLocation(name="bon", package="cath_dagster.bon", own_timezone="Asia/Jerusalem")
OWNER = "team:bon"
