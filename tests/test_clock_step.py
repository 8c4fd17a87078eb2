"""A clock that is set back ends the worker; one that is set forward, slewed, or set back a little doesn't."""

from __future__ import annotations

from itertools import count
from threading import Event

from dataflows.clock_step import ClockStep, end_when_set_back


def test_a_clock_set_back_is_told_once_and_small_or_forward_steps_are_not() -> None:
    wall = iter([1000.0, 1001.0, 4601.0, 4592.1, 4593.0, 993.5, 994.5])
    steady = map(float, count())
    told: list[str] = []
    end_when_set_back(told.append, Event(), ClockStep(wall.__next__, steady.__next__), 0.0)
    (sentence,) = told
    assert "was set back by 3600 s" in sentence and "start again" in sentence
    assert next(wall) == 994.5, "not asked any more"


def test_the_end_of_the_flow_ends_the_look() -> None:
    done = Event()
    done.set()
    end_when_set_back(lambda told: None, done, ClockStep(), 60.0)
