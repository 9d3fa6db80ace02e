"""CheckTick: the schema that its own migrations make, and rows for it."""
