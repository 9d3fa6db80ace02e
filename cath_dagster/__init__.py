"""Scheduled maintenance of services that live on PostgreSQL, run by Dagster."""
