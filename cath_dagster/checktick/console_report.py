"""What the command line says of a run, in the words that CheckTick's operators know."""

from collections.abc import Iterator, Mapping, Sequence

from cath_dagster.checktick.exempt import Reason
from cath_dagster.core.model.outcome import Outcome, RunResult, Status
from cath_dagster.core.model.scalar import Scalar

DRY_RUN = "DRY RUN MODE - No changes will be made"
PHASES = ("soft", "hard")
SKIPPED = {
    Reason.HELD: "legal hold",
    Reason.REPUBLISHED: "published again",
    Reason.NEVER_CLOSED: "never closed",
    Reason.UNDATED: "no date of deletion",
}


def report_governance(result: RunResult, verbose: bool) -> Sequence[str]:
    """Return the sections of a data governance run: the warnings by tier, the deletions, and what is held."""
    if not result.began or result.as_of is None:
        return ()
    return [
        f"Starting data governance processing at {result.as_of:%Y-%m-%d %H:%M:%S}",
        *([DRY_RUN] if result.dry_run else []),
        "",
        *_warnings(result, verbose),
        "",
        *_deletions(result, verbose),
        "",
        f"Data governance processing {_ending(result)}",
    ]


def report_progress(result: RunResult, verbose: bool) -> Sequence[str]:
    """Return what a clean-up of survey progress did."""
    if not result.began or result.as_of is None:
        return ()
    found = _outcome(result, "surveys_surveyprogress")
    count = found.matched if result.dry_run else found.deleted
    lines = [f"Starting survey progress cleanup at {result.as_of:%Y-%m-%d %H:%M:%S}"]
    lines += [DRY_RUN] if result.dry_run else []
    lines += [f"Found {found.matched} expired progress records"] if verbose else []
    lines.append(f"{'Would delete' if result.dry_run else 'Deleted'} {count} expired survey progress records")
    return [*lines, f"Cleanup {_ending(result)}"]


def _warnings(result: RunResult, verbose: bool) -> Iterator[str]:
    mail = _outcome(result, "mail")
    tiers = [name for name in mail.details if name.startswith("warnings_")]
    total = sum(_number(mail.details, name) for name in tiers)
    yield "--- Deletion Warnings ---"
    yield f"{'Would send' if result.dry_run else 'Sent'} {total} deletion warnings:"
    for name in tiers:
        tier = name.removeprefix("warnings_").removesuffix("_days")
        yield f"  - {tier}-day warnings: {_number(mail.details, name)}"
        if verbose:
            yield from (f"      survey {line} UTC" for line in _names(mail.details, f"surveys_{tier}_days"))
    for count, says in (
        (mail.failed, "could not be sent; the next run tries again"),
        (mail.undelivered, "were rendered and not delivered: no mail provider is configured"),
    ):
        if count:
            yield f"{count} warnings {says}"


def _deletions(result: RunResult, verbose: bool) -> Iterator[str]:
    details = _outcome(result, "surveys_survey").details
    names = ("would_soft_delete", "would_hard_delete") if result.dry_run else ("soft_deleted", "hard_deleted")
    soft, hard = (_number(details, name) for name in names)
    yield "--- Automatic Deletions ---"
    yield f"{'Would soft delete' if result.dry_run else 'Soft deleted'}: {soft} surveys"
    yield f"{'Would hard delete' if result.dry_run else 'Hard deleted'}: {hard} surveys"
    yield from _skipped(details, verbose)
    for name, says in (("not_soft_deleted_ids", "soft deleted"), ("not_hard_deleted_ids", "hard deleted")):
        if failed := _names(details, name):
            yield f"Could not be {says}: {', '.join(failed)}"
    if verbose:
        yield from _circumstances(details)
    if soft + hard and not result.dry_run:
        yield ""
        yield f"⚠️  {soft + hard} surveys were deleted. Check audit logs for details."


def _skipped(details: Mapping[str, Scalar], verbose: bool) -> Iterator[str]:
    """Yield how many surveys stay beyond their date, by reason, and which."""
    for reason, says in SKIPPED.items():
        count = sum(_number(details, f"{phase}_{reason}") for phase in PHASES)
        if count or reason is Reason.HELD:
            yield f"Skipped ({says}): {count} surveys"
        for phase in PHASES if verbose else ():
            yield from (f"      survey {key}" for key in _names(details, f"{phase}_{reason}_ids"))


def _circumstances(details: Mapping[str, Scalar]) -> Iterator[str]:
    """Yield what is counted of the surveys that are due, and stands in no deletion's way."""
    for name, says in (
        ("soft_unwarned", "due for soft deletion without a warning that was sent"),
        ("soft_with_open_request", "due for soft deletion with an open data subject request"),
        ("hard_with_open_request", "due for hard deletion with an open data subject request"),
        ("hard_with_frozen_response", "due for hard deletion with a frozen response"),
    ):
        if count := _number(details, name):
            yield f"{count} surveys {says}"


def _ending(result: RunResult) -> str:
    ended = "completed" if result.status is Status.SUCCESS else result.status.value
    return f"{ended} in {result.seconds:.1f} s"


def _outcome(result: RunResult, target: str) -> Outcome:
    return next((each for each in result.outcomes if each.target == target), Outcome(target=target))


def _number(details: Mapping[str, Scalar], name: str) -> int:
    value = details.get(name)
    return value if isinstance(value, int) else 0


def _names(details: Mapping[str, Scalar], name: str) -> list[str]:
    value = details.get(name)
    return value if isinstance(value, list) else []
