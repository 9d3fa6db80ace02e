"""CheckTick's jobs, one file each."""
