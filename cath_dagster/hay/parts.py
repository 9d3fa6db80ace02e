"""Say what of a run's rows became what, where one count of a table is the sum of several rules."""

from collections.abc import Mapping

from cath_dagster.core.run.job_run import JobRun


def note_parts(run: JobRun, rows: str, parts: Mapping[str, int]) -> None:
    """Note how many rows became what, in words by count; nothing where there were none."""
    told = [f"{count:,} {word}" for word, count in parts.items() if count]
    if told:
        run.note(f"{rows}{', in a real run' if run.dry_run else ''}: {', '.join(told)}")
