"""What stands in details and settings: values that any log, table or metadata can show."""

Scalar = str | int | float | bool | None | list[str]
