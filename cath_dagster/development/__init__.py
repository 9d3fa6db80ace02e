"""What a developer's machine needs and production does not: a PostgreSQL, sample data, local providers."""
