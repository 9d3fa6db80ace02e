"""All sources of drift, and a look at those that are configured: what one cannot read does not keep the others from being read."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from cath_dagster.cloudmake.drift import artifacts, mcp, routes, schema, tokens
from cath_dagster.cloudmake.drift.source import Reading, Source, Surroundings
from cath_dagster.core.errors import ConfigurationError, DatabaseLostError, MaintenanceError

SOURCES: Sequence[Source] = (schema.SOURCE, routes.SOURCE, mcp.SOURCE, tokens.SOURCE, artifacts.SOURCE)
NAMES = tuple(source.name for source in SOURCES)


@dataclass
class Looked:
    """What came of looking at the sources."""

    readings: list[Reading] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    """By source that is not configured, what it lacks."""
    unreadable: dict[str, list[str]] = field(default_factory=dict)
    """By source, in words what could not be read."""
    notes: list[str] = field(default_factory=list)
    complete: list[str] = field(default_factory=list)
    """The sources of which everything was read."""

    @property
    def drifted(self) -> list[Reading]:
        return [reading for reading in self.readings if reading.difference]

    @property
    def is_nothing(self) -> bool:
        """Whether nothing at all was compared, nor tried to be."""
        return not self.complete and not self.unreadable and not self.readings

    @property
    def problems(self) -> list[str]:
        return [f"{source}: {reason}" for source, reasons in self.unreadable.items() for reason in reasons]


def choose(names: str) -> tuple[str, ...]:
    """Return the sources that are named, with commas between; all of them for none. Raises `ConfigurationError`."""
    chosen = tuple(name.strip() for name in names.split(",") if name.strip())
    unknown = [name for name in chosen if name not in NAMES]
    if unknown:
        raise ConfigurationError(f"there is no source {', '.join(unknown)} of drift; there are {', '.join(NAMES)}")
    return chosen


def look_at_sources(surroundings: Surroundings, chosen: Sequence[str] = ()) -> Looked:
    """Look at the sources that are chosen, or at all that are configured.

    Raises `ConfigurationError` for a chosen one that is not configured, and `DatabaseLostError` where nothing more can be
    asked of the database.
    """
    looked = Looked()
    for source in SOURCES:
        if chosen and source.name not in chosen:
            continue
        _look(source, surroundings, looked, is_chosen=bool(chosen))
    return looked


def _look(source: Source, surroundings: Surroundings, looked: Looked, *, is_chosen: bool) -> None:
    try:
        lacks = source.lacks(surroundings)
        if lacks is not None:
            if is_chosen:
                raise ConfigurationError(f"the source {source.name} of drift is asked for, and {lacks}")
            looked.skipped[source.name] = lacks
            return
        found = source.look(surroundings)
    except DatabaseLostError:
        raise
    except MaintenanceError as error:
        looked.unreadable[source.name] = [str(error)]
        return
    except RecursionError:
        looked.unreadable[source.name] = ["something in it is nested too deeply to be compared"]
        return
    looked.readings += found.readings
    looked.notes += found.notes
    if found.unreadable:
        looked.unreadable[source.name] = list(found.unreadable)
    else:
        looked.complete.append(source.name)
