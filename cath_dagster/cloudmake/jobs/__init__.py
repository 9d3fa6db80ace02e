"""CloudMake's jobs, one file each."""
