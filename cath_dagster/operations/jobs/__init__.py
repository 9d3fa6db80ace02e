"""The jobs that look after the instance, one file each."""
