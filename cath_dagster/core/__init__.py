"""Plain Python and SQLAlchemy: what a maintenance job is made of."""
