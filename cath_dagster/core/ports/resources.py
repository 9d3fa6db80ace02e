"""What a job asks of a provider whose resources it removes, and what it answers."""


class ResourceError(Exception):
    """A resource may still be there. The message says why, and nothing that the provider says in its own words.

    `ends_all`: neither would any other be removed now: the credentials are refused, or a limit is reached.
    """

    def __init__(self, message: str, *, ends_all: bool = False, is_outage: bool = False) -> None:
        super().__init__(message)
        self.ends_all = ends_all
        self.is_outage = is_outage
