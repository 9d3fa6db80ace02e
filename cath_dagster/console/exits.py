"""The exit codes of every command; 0 is done."""

FAILED = 1
"""Failed or refused, or found what must not be."""
WRONG_USAGE = 2
IN_PART = 3
"""Restored, or restorable in a dry run, in part only."""
TERMINATED = 143
"""As shells have it: 128 and the number of SIGTERM."""
