"""Hay, a helpdesk of conversations and plugins: what runs against its database, and when."""

from cath_dagster.core.model.location import CodeLocation

HAY = CodeLocation(name="hay", package="cath_dagster.hay", revision="hay_0001", file_store="EXPORTS_URL")
OWNER = "team:hay"
