"""Look at a database as a run would find it, and explain."""
