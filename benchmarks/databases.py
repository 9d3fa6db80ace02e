"""Databases to measure on, each a fresh copy of a template."""

import psycopg
from psycopg import sql

from cath_dagster.development.postgres import EmbeddedPostgres


def copy_database(cluster: EmbeddedPostgres, name: str, template: str) -> str:
    """Make the database anew as a copy of the template; return its URL."""
    create_database(cluster, name, template)
    return cluster.url(name)


def create_database(cluster: EmbeddedPostgres, name: str, template: str) -> None:
    """Make the database anew from the template, with nothing left for a checkpoint to do."""
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        admin.execute("CHECKPOINT")
