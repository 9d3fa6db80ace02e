"""Say in one line how a run ended."""

from cath_dagster.core.model.outcome import RunResult, Status


def summary(result: RunResult) -> str:
    """Return one line that says how a run ended."""
    ending = "completed" if result.status is Status.SUCCESS else result.status.value
    came_of_it = _of_a_success(result) if result.status is Status.SUCCESS else _of_a_failure(result)
    text = f"{result.location}/{result.job} {ending} in {result.seconds:.2f} s: {came_of_it}"
    return f"{text}. {result.error}" if result.error else text


def _of_a_success(result: RunResult) -> str:
    # A job that reports on no table has looked at what it looks at.
    done = _counts(result) or ("nothing to do" if result.outcomes else "done")
    if not result.dry_run:
        return done
    refusal = f"; a run would be refused: {result.would_refuse}" if result.would_refuse else ""
    return f"dry run, nothing was changed: {done}{refusal}"


def _of_a_failure(result: RunResult) -> str:
    """Return what a run did before it failed; of one whose ledger cannot be read, that nobody knows yet."""
    if not result.is_counted:
        return "what it committed could not be counted and stands in the ledger"
    counts = _counts(result)
    if result.changed:
        return f"this was done: {counts}"
    return f"nothing was changed: {counts}" if counts else "nothing was changed"


def _counts(result: RunResult) -> str:
    return "; ".join(
        f"{outcome.target} " + ", ".join(f"{count:,} {name}" for name, count in outcome.counts().items() if count)
        for outcome in result.outcomes
        if any(outcome.counts().values())
    )
