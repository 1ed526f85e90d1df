"""Tasks side by side: every result counts, whatever becomes of the others."""

from __future__ import annotations

import functools
import os
import pickle
from concurrent.futures import BrokenExecutor

import pytest
import torch

from sparsecomp.checks import InputError, whole
from sparsecomp.training.loop import Paused
from sparsecomp.training.processes import in_worker, side_by_side


def fail(kind: type[BaseException], *arguments: object) -> None:
    raise kind(*arguments)


class Odd(Exception):
    """An exception that cannot be read back from what pickle writes, as `codecs.BudgetError` is one."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


class OddInput(Odd, InputError):
    """Another, of what was given."""


def tasks_around(*faults: functools.partial):
    """Three tasks that work, with faults between them."""
    work = [(number, functools.partial(pow, number, 2)) for number in (1, 2, 3)]
    return [work[0], *((f"fault {i}", fault) for i, fault in enumerate(faults)), *work[1:]]


@pytest.mark.parametrize("kind", [TypeError, AssertionError, ValueError, KeyError, Exception])
def test_side_by_side_hands_on_every_result_before_it_raises_the_first_error(kind):
    done = {}
    faults = [functools.partial(fail, k, "went wrong") for k in (Paused, kind, ZeroDivisionError)]
    with pytest.raises(kind, match="went wrong") as caught:
        side_by_side(tasks_around(*faults), 0, done.__setitem__)
    assert done == {1: 1, 2: 4, 3: 9} and type(caught.value) is kind, "not the pause, not the second error"


def test_side_by_side_pauses_only_if_nothing_failed():
    done = {}
    with pytest.raises(Paused):
        side_by_side(tasks_around(functools.partial(fail, Paused)), 0, done.__setitem__)
    side_by_side(tasks_around(), 0, done.__setitem__)
    assert done == {1: 1, 2: 4, 3: 9}


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


def test_side_by_side_survives_errors_that_cannot_be_pickled():
    """In two real processes, of one thread each."""
    done = {}
    tasks = tasks_around(functools.partial(fail, Odd, 1, 2))
    tasks += [("threads", torch.get_num_threads), ("process", os.getpid)]
    with pytest.raises(RuntimeError, match="Odd: 1 and 2") as caught:
        side_by_side(tasks, 2, done.__setitem__)
    assert not isinstance(caught.value, BrokenExecutor) and done.pop("process") != os.getpid()
    assert done == {1: 1, 2: 4, 3: 9, "threads": 1}


def test_side_by_side_names_a_worker_that_died():
    with pytest.raises(BrokenExecutor):
        side_by_side([("dies", functools.partial(os._exit, 1))], 1, lambda key, result: None)


@pytest.mark.parametrize(
    ("task", "kind"),
    [
        (functools.partial(whole, "steps", 0, 1), InputError),
        (functools.partial(int, "x"), ValueError),
        (functools.partial(fail, Odd, 1, 2), RuntimeError),
        (functools.partial(fail, OddInput, 1, 2), InputError),
        (functools.partial(fail, Paused, "time"), Paused),
    ],
)
def test_in_worker_raises_what_reaches_the_other_process_and_says_who_refused(task, kind):
    with pytest.raises(kind) as caught:
        in_worker(task)
    sent = pickle.loads(pickle.dumps(caught.value))
    assert type(sent) is kind and str(sent) == str(caught.value)
