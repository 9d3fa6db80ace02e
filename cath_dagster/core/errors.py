"""The failures of a maintenance run; each message says what is wrong, with what value, and what to do."""


class MaintenanceError(Exception):
    """A run, or a command, cannot do what was asked."""


class ConfigurationError(MaintenanceError):
    """A setting has a value that cannot be used."""


class MissingConfigurationError(ConfigurationError):
    """A required environment variable is not set."""


class UnknownJobError(MaintenanceError):
    """No job has the name that was asked for."""


class SchemaNotCurrentError(MaintenanceError):
    """The schema `maintenance` is missing or not at the revision this version needs."""


class DatabaseUnavailableError(MaintenanceError):
    """The database cannot be reached, or was lost and did not come back."""


class DatabaseLostError(DatabaseUnavailableError):
    """The database does not answer, or lets nobody in: nothing more can be tried there."""


class NoWritesNowError(DatabaseUnavailableError):
    """The server takes no write now, and another connection, or one made later, may."""


class DatabaseStatementError(MaintenanceError):
    """The database refused a statement: a missing table or column, a missing privilege."""


class IncompleteRunError(MaintenanceError):
    """Something due was left undone because it failed; the rest is done."""


class RefusedError(MaintenanceError):
    """The run was refused before its first write; nothing was changed."""


class LockHeldError(RefusedError):
    """Another run of the same job is at work."""


class BlastRadiusError(RefusedError):
    """The run would delete more of a table than one run may without being told so."""


class PreflightError(RefusedError):
    """The database is in a state in which the run would fail, run for hours, or harm others."""
