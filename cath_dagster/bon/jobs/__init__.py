"""BON's jobs, one file each."""
