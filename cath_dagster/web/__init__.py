"""The console: an API and pages over all scheduled work, for people and machines that have rights in it.

It reads Dagster's database, adds to tables of its own there, and launches, cancels and toggles through Dagster's GraphQL: it
holds no service's credentials, and nothing in a run knows of it.
"""
