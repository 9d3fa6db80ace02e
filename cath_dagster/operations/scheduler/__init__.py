"""The registry of all jobs and the history of their runs: kept true, read, and what people command by it."""
