"""The service's own migrations: read from their folder, held against what was applied, and applied."""
