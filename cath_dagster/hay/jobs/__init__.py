"""Hay's jobs, a file each."""
