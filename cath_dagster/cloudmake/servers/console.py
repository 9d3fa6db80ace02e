"""What the command line says of a run over MCP servers, beside its counts."""

from collections.abc import Sequence

from cath_dagster.core.model.outcome import RunResult

WORDS = {
    "servers": "measured",
    "tools": "tools called",
    "refused_tools": "tools refused",
    "downloads_at_start": "downloads a package when it starts",
    "errors": "errors",
    "cut_short": "asked no more",
    "unanswered": "no answer",
    "transitions": "breaker went from",
    "open": "breaker open",
    "half_open": "breaker half open",
    "degraded": "degraded",
    "misconfigured": "misconfigured",
    "recovered": "recovered",
}
"""By detail, what a line about it begins with; in the order in which they are told."""
IN_A_DRY_RUN = {"tools": "tools that would be called"}


def report(result: RunResult, verbose: bool) -> Sequence[str]:
    """Return a line for each server and each thing that is to be said of it."""
    del verbose
    details = {name: value for outcome in result.outcomes for name, value in outcome.details.items()}
    words = WORDS | (IN_A_DRY_RUN if result.dry_run else {})
    return [
        f"{says}: {each}"
        for name, says in words.items()
        if isinstance(found := details.get(name), list)
        for each in found
    ]
