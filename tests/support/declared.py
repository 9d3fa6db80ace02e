"""Prints with which status the schedules and sensors of a code location begin; a program, for `tests.support.fresh`."""

import importlib
import json
import sys


def main(location: str) -> None:
    repository = importlib.import_module(f"cath_dagster.{location}.definitions").defs.get_repository_def()
    kinds = {"schedules": repository.schedule_defs, "sensors": repository.sensor_defs}
    told = {kind: {one.name: one.default_status.value for one in defined} for kind, defined in kinds.items()}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1])
