"""Hold what a job declares of its tables against the foreign keys that the catalogue has."""
