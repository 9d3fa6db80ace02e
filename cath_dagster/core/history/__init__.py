"""What every run of every job came to, in the orchestrator's own database: the registry, the history and its totals."""
