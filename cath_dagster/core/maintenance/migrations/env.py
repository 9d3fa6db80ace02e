"""Alembic's entry: run the migrations on the connection that `migrate` opened."""

from alembic import context

from cath_dagster.core.maintenance.tables import SCHEMA

context.configure(
    connection=context.config.attributes["connection"],
    version_table_schema=SCHEMA,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
