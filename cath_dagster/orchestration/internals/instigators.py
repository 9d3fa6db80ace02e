"""Schedules and sensors as the instance keeps them, and their ticks."""

from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorTick,
    InstigatorType,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickStatus,
)
from dagster_shared.error import SerializableErrorInfo

__all__ = [
    "InstigatorState",
    "InstigatorTick",
    "InstigatorType",
    "ScheduleInstigatorData",
    "SensorInstigatorData",
    "SerializableErrorInfo",
    "TickStatus",
]
