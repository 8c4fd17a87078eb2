"""What is told of a detector that failed: which one, on what, and the class and place of the error, but no data."""

from __future__ import annotations

from operators.episodes import Cause
from state.signals import DetectorError, EventTrigger
from state.times import rfc3339


def detector_error(name: str, customer_id: str, cause: Cause, error: Exception) -> DetectorError:
    """The record of an error that was raised inside detector `name`."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{place.tb_lineno}" if place is not None else ""
    trigger = cause.trigger
    return DetectorError(
        detector=name,
        customer_id=customer_id,
        event_time=rfc3339(cause.time_us),
        topic=trigger.topic if isinstance(trigger, EventTrigger) else trigger.timer,
        event_id=cause.name,
        error=type(error).__name__,
        message=where,
    )
