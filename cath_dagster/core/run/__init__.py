"""Run a job: its specification, its plan, its record."""
