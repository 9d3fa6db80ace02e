"""The master key: which values are encrypted under it, which of two keys each is under, and how all come under the new one."""
