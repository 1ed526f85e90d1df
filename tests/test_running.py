"""Tasks side by side: every result counts, whatever becomes of the others."""

from __future__ import annotations

import functools
import os
from concurrent.futures import BrokenExecutor

import pytest

from sparsecomp.checks import is_refusal, whole
from sparsecomp.training.loop import Paused
from sparsecomp.training.processes import side_by_side


def fail(kind: type[BaseException], *arguments: object) -> None:
    raise kind(*arguments)


class Odd(Exception):
    """An exception that cannot be read back from what pickle writes, as `codecs.BudgetError` is one."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


def tasks_around(*faults: functools.partial):
    """Three tasks that work, with faults between them."""
    work = [(number, functools.partial(pow, number, 2)) for number in (1, 2, 3)]
    return [work[0], *((f"fault {i}", fault) for i, fault in enumerate(faults)), *work[1:]]


KINDS = [TypeError, AssertionError, ValueError, KeyError, ZeroDivisionError, Exception]


@pytest.mark.parametrize(("kind", "workers"), [*((kind, 0) for kind in KINDS), (TypeError, 1)])
def test_side_by_side_hands_on_every_result_before_it_raises_an_error(kind, workers):
    done = {}
    with pytest.raises(kind, match="what went wrong") as caught:
        side_by_side(tasks_around(functools.partial(fail, kind, "what went wrong")), workers, done.__setitem__)
    assert done == {1: 1, 2: 4, 3: 9} and type(caught.value) is kind


def test_side_by_side_raises_an_error_rather_than_a_pause():
    done = {}
    faults = [functools.partial(fail, kind, "first") for kind in (Paused, TypeError, ValueError)]
    with pytest.raises(TypeError, match="first"):
        side_by_side(tasks_around(*faults), 0, done.__setitem__)
    with pytest.raises(Paused):
        side_by_side(tasks_around(faults[0]), 0, done.__setitem__)
    assert len(done) == 3


def test_side_by_side_collects_errors_of_on_done_too():
    seen = []

    def refuse(key: object, result: object) -> None:
        seen.append(key)
        assert key != 1, "the first is refused"

    with pytest.raises(AssertionError, match="the first is refused"):
        side_by_side(tasks_around(), 0, refuse)
    assert seen == [1, 2, 3]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_side_by_side_stops_at_once_when_it_is_told_to(kind):
    done = {}
    with pytest.raises(kind):
        side_by_side(tasks_around(functools.partial(fail, kind)), 0, done.__setitem__)
    assert done == {1: 1}


def test_side_by_side_names_a_worker_that_died():
    with pytest.raises(BrokenExecutor):
        side_by_side([("dies", functools.partial(os._exit, 1))], 1, lambda key, result: None)


def test_side_by_side_survives_an_exception_that_cannot_be_pickled():
    done = {}
    faults = [functools.partial(fail, Odd, 1, 2), functools.partial(fail, ValueError)]
    with pytest.raises(RuntimeError, match="Odd: 1 and 2") as caught:
        side_by_side(tasks_around(*faults), 1, done.__setitem__)
    assert done == {1: 1, 2: 4, 3: 9} and not isinstance(caught.value, BrokenExecutor)


def test_side_by_side_says_whether_a_worker_refused_its_input():
    for fault, refused in ((functools.partial(whole, "steps", 0, 1), True), (functools.partial(int, "x"), False)):
        with pytest.raises(ValueError) as caught:
            side_by_side([("fault", fault)], 1, lambda key, result: None)
        assert is_refusal(caught.value) == refused
