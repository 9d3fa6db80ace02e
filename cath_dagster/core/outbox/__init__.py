"""Effects beyond the database: queued in the transaction that decides on them, done after its commit."""
