"""Secrets that stand in a repository: what is looked at, what is known, and what is told of it, never a value."""
