#!/usr/bin/env bash
# Dagster: one date that never comes silences the whole schedule, and leaves no failed tick behind.
#
# Versions: dagster 1.13.27.
#
# One would guess: a schedule whose cron_schedule is the list "0 3 * * *" and "0 0 31 4 *" (April has thirty days)
# is either refused when it is defined, as Dagster refuses "0 0 30 2 *", or runs every night at three, the second
# line adding nothing. Should the scheduler dislike it, a failed tick would show that.
#
# What happens: it is accepted, loads and shows as running. Each time the scheduler looks at it, the search for the
# next 31 April raises CroniterBadDateError, also for the good line beside it. The nightly run never starts, and as
# the error comes before a tick is written, the tick history is empty rather than red.
#
# Why it matters: a purge that stopped is seen by its failed ticks or failed runs. Here there are neither; whoever
# watches must ask when a schedule last ticked, and whoever defines one must look for the first date itself.
#
# How: three nights are played by handing the scheduler's own iteration the time it shall take for now.
#
# Output seen:
#> 0 0 30 2 *: refused when defined
#> 0 0 31 4 *: accepted when defined
#> nightly ['0 3 * * *']: ticks ['SUCCESS', 'SUCCESS', 'SUCCESS'], runs 3
#> nightly_and_never ['0 3 * * *', '0 0 31 4 *']: ticks [], runs 0
#> the scheduler's log, 4 times: Scheduler caught an error for schedule nightly_and_never (CroniterBadDateError)

set -euo pipefail
expected=$(sed -n 's/^#> //p' "${BASH_SOURCE[0]}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check dagster==1.13.27

cat >purges.py <<'PYTHON'
import dagster as dg


@dg.op
def delete_expired_rows() -> None: ...


@dg.job
def purge() -> None:
    delete_expired_rows()


def running_schedule(name: str, cron: list[str]) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name=name, job=purge, cron_schedule=cron, default_status=dg.DefaultScheduleStatus.RUNNING
    )


defs = dg.Definitions(
    schedules=[
        running_schedule("nightly", ["0 3 * * *"]),
        running_schedule("nightly_and_never", ["0 3 * * *", "0 0 31 4 *"]),
    ]
)
PYTHON

cat >three_nights.py <<'PYTHON'
import datetime as dt
import logging
from collections import Counter
from functools import partial
from pathlib import Path

import dagster as dg
import dagster._daemon  # first, as the scheduler's module cannot be imported before it
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import PythonFileTarget
from dagster._scheduler.scheduler import launch_scheduled_runs
from purges import purge

# Standard output is shared with the code server's log.
report = Path("seen.txt").open("w")
say = partial(print, file=report)

for cron in ("0 0 30 2 *", "0 0 31 4 *"):
    try:
        dg.ScheduleDefinition(job=purge, cron_schedule=cron)
        say(f"{cron}: accepted when defined")
    except dg.DagsterInvalidDefinitionError:
        say(f"{cron}: refused when defined")

logged: Counter[str] = Counter()


class Count(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        logged[f"{record.getMessage()} ({record.exc_info[0].__name__})" if record.exc_info else record.getMessage()] += 1


logger = logging.getLogger("three_nights")
logger.propagate = False
logger.addHandler(Count())
logger.setLevel(logging.ERROR)

target = PythonFileTarget("purges.py", attribute=None, working_directory=None, location_name="purges")
with dg.instance_for_test() as instance, WorkspaceProcessContext(instance, target) as context:
    started_at = dt.datetime.now(dt.timezone.utc)
    remembered: dict = {}
    for night in range(4):  # the first look only notes when the schedules began
        for _ in launch_scheduled_runs(context, logger, started_at + dt.timedelta(days=night), remembered):
            pass
    (location,) = context.create_request_context().code_locations
    (repository,) = location.get_repositories().values()
    for schedule in sorted(repository.get_schedules(), key=lambda found: found.name):
        ticks = instance.get_ticks(schedule.get_remote_origin_id(), schedule.selector_id)
        runs = instance.get_runs_count(dg.RunsFilter(tags={"dagster/schedule_name": schedule.name}))
        say(f"{schedule.name} {schedule.cron_schedule}: ticks {[t.status.value for t in ticks]}, runs {runs}")
for message, count in logged.items():
    say(f"the scheduler's log, {count} times: {message}")
report.close()
PYTHON

venv/bin/python three_nights.py >log.txt 2>&1 || { cat log.txt >&2; exit 1; }
seen=$(<seen.txt)
diff <(echo "$expected") <(echo "$seen")
echo "$seen"
