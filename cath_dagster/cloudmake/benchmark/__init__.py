"""How long an administrator's queries take under row-level security, and why."""
