"""Who commands on a command line, where nobody signs in: the account of the machine."""

import getpass


def account() -> str:
    """Return the account; a container's has no name at times."""
    try:
        return f"account:{getpass.getuser()}"
    except (KeyError, OSError, ImportError):
        return "account without a name"
