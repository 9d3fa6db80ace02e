#!/usr/bin/env bash
# Cron: the same five fields are other instants in Dagster, cronsim, croniter and APScheduler.
#
# Versions: dagster 1.13.27 (iterator in dagster._utils.schedules), cronsim 2.8, croniter 7.0.0, APScheduler 3.11.3,
# tzdata 2026.6.
#
# One would guess: five-field cron lines are settled ground, so a line moves from one scheduler to another, or a
# check written with one library says when the other will fire. And "*/1" is a longer way of writing "*".
#
# What happens:
# * A day of the month beside a weekday. "0 0 */1 * 1" is every day in Dagster and croniter (either field may match),
#   Mondays in cronsim (a field that begins with a star must match too), Tuesdays in APScheduler (both must match, and
#   Monday is 0). "0 0 * * 1" is Mondays for the first three. "0 1 */2 * 1" is odd days and Mondays for two, Mondays
#   on odd days for one, Tuesdays on odd days for one.
# * The hour that comes twice. "30 1 * * *" in Jerusalem, where clocks go back from two to one on 2027-10-31, fires in
#   the first such hour in cronsim, in the second in Dagster, and in both in croniter and APScheduler.
# * The hour that never comes. "30 1 * * *" in London on 2027-03-28 fires at 02:00 in three of them, the moment the
#   clocks change, and in APScheduler at 02:30.
#
# Why it matters: a purge due on some Mondays deletes on seven days a week instead; a check "was the last tick
# missed?" made with another library than the scheduler's own is wrong by an hour, a day or a week.
#
# Output seen:
#> 0 0 * * 1 | UTC
#>   dagster     Mon 2027-10-04 00:00Z, Mon 2027-10-11 00:00Z, Mon 2027-10-18 00:00Z
#>   croniter    Mon 2027-10-04 00:00Z, Mon 2027-10-11 00:00Z, Mon 2027-10-18 00:00Z
#>   cronsim     Mon 2027-10-04 00:00Z, Mon 2027-10-11 00:00Z, Mon 2027-10-18 00:00Z
#>   apscheduler Tue 2027-10-05 00:00Z, Tue 2027-10-12 00:00Z, Tue 2027-10-19 00:00Z
#> 0 0 */1 * 1 | UTC
#>   dagster     Sat 2027-10-02 00:00Z, Sun 2027-10-03 00:00Z, Mon 2027-10-04 00:00Z
#>   croniter    Sat 2027-10-02 00:00Z, Sun 2027-10-03 00:00Z, Mon 2027-10-04 00:00Z
#>   cronsim     Mon 2027-10-04 00:00Z, Mon 2027-10-11 00:00Z, Mon 2027-10-18 00:00Z
#>   apscheduler Tue 2027-10-05 00:00Z, Tue 2027-10-12 00:00Z, Tue 2027-10-19 00:00Z
#> 0 1 */2 * 1 | UTC
#>   dagster     Sun 2027-10-03 01:00Z, Mon 2027-10-04 01:00Z, Tue 2027-10-05 01:00Z
#>   croniter    Sun 2027-10-03 01:00Z, Mon 2027-10-04 01:00Z, Tue 2027-10-05 01:00Z
#>   cronsim     Mon 2027-10-11 01:00Z, Mon 2027-10-25 01:00Z, Mon 2027-11-01 01:00Z
#>   apscheduler Tue 2027-10-05 01:00Z, Tue 2027-10-19 01:00Z, Tue 2027-11-09 01:00Z
#> 30 1 * * * | Asia/Jerusalem
#>   dagster     Sat 2027-10-30 23:30Z
#>   croniter    Sat 2027-10-30 22:30Z, Sat 2027-10-30 23:30Z
#>   cronsim     Sat 2027-10-30 22:30Z
#>   apscheduler Sat 2027-10-30 22:30Z, Sat 2027-10-30 23:30Z
#> 30 1 * * * | Europe/London
#>   dagster     Sun 2027-03-28 01:00Z
#>   croniter    Sun 2027-03-28 01:00Z
#>   cronsim     Sun 2027-03-28 01:00Z
#>   apscheduler Sun 2027-03-28 01:30Z

set -euo pipefail
expected=$(sed -n 's/^#> //p' "${BASH_SOURCE[0]}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    dagster==1.13.27 cronsim==2.8 croniter==7.0.0 apscheduler==3.11.3 tzdata==2026.6

cat >instants.py <<'PYTHON'
import datetime as dt
from collections.abc import Iterator
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger
from croniter import croniter
from cronsim import CronSim
from dagster._utils.schedules import cron_string_iterator


def by_dagster(cron: str, start: dt.datetime) -> Iterator[dt.datetime]:
    return cron_string_iterator(start.timestamp(), cron, str(start.tzinfo))


def by_croniter(cron: str, start: dt.datetime) -> Iterator[dt.datetime]:
    return croniter(cron, start).all_next(dt.datetime)


def by_cronsim(cron: str, start: dt.datetime) -> Iterator[dt.datetime]:
    return CronSim(cron, start)


def by_apscheduler(cron: str, start: dt.datetime) -> Iterator[dt.datetime]:
    trigger = CronTrigger.from_crontab(cron, timezone=start.tzinfo)
    now = start
    while True:
        # Asked afresh each time, a second after the last answer: only what comes after now counts.
        fire = trigger.get_next_fire_time(None, now)
        yield fire
        now = (fire.astimezone(dt.timezone.utc) + dt.timedelta(seconds=1)).astimezone(start.tzinfo)


READERS = {
    "dagster": by_dagster, "croniter": by_croniter, "cronsim": by_cronsim, "apscheduler": by_apscheduler
}


def show(cron: str, zone: str, after: tuple[int, ...], until: tuple[int, ...] = (2100, 1, 1)) -> None:
    start, end = dt.datetime(*after, tzinfo=ZoneInfo(zone)), dt.datetime(*until, tzinfo=ZoneInfo(zone))
    print(cron, "|", zone)
    for name, read in READERS.items():
        instants = (fire.astimezone(dt.timezone.utc) for fire in read(cron, start))
        fires = takewhile(lambda fire: fire < end.astimezone(dt.timezone.utc), islice(instants, 3))
        print(f"  {name:11}", ", ".join(f"{fire:%a %Y-%m-%d %H:%MZ}" for fire in fires))


show("0 0 * * 1", "UTC", (2027, 10, 1, 12))
show("0 0 */1 * 1", "UTC", (2027, 10, 1, 12))
show("0 1 */2 * 1", "UTC", (2027, 10, 1, 12))
show("30 1 * * *", "Asia/Jerusalem", (2027, 10, 30, 12), (2027, 10, 31, 12))
show("30 1 * * *", "Europe/London", (2027, 3, 27, 12), (2027, 3, 28, 12))
PYTHON

# The zones of the pinned tzdata, and not those of the machine.
seen=$(PYTHONTZPATH="" venv/bin/python instants.py)
diff <(echo "$expected") <(echo "$seen")
echo "$seen"
