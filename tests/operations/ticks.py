"""Ticks of our sensors, evaluated as Dagster does it."""

import dagster as dg

from cath_dagster.operations.definitions import defs
from tests.operations.instance import Instance


def evaluate(instance: Instance, name: str, cursor: str | None = None) -> tuple[str, str | None]:
    """Return why a tick of a sensor asked for no run, and the cursor that it left."""
    sensor = defs.get_repository_def().get_sensor_def(name)
    with dg.build_sensor_context(instance=instance.dagster, cursor=cursor) as context:
        data = sensor.evaluate_tick(context)
    assert not data.run_requests
    return data.skip_message or "", data.cursor
