"""What all trainings share while they run: the clock that saves and pauses them, and processes side by side."""

from __future__ import annotations

import ctypes
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol

import torch

from sparsecomp.checks import is_refusal

CHECKPOINT_SECONDS = 60.0


class Paused(Exception):
    """The time given is over; what was done lies in a checkpoint, and the same call goes on from there."""


class Resumable(Protocol):
    """A training that can be written to a file, and counts its own seconds."""

    step: int
    seconds: float

    def save(self, path: Path) -> None: ...

    def load(self, path: Path) -> None: ...


class Watch:
    """Goes on from a checkpoint, counts seconds, saves now and then, and pauses in time.

    Parameters
    ----------
    training : Resumable
    steps : int
        When it ends.
    checkpoint : Path, optional
        Where the state is kept; if the file is there the training goes on from it.
    max_seconds : float, optional
        Raise `Paused` after so much wall time; needs ``checkpoint``, else `ValueError`.
    """

    def __init__(
        self, training: Resumable, steps: int, checkpoint: Path | None = None, max_seconds: float | None = None
    ) -> None:
        if max_seconds is not None and checkpoint is None:
            raise ValueError("max_seconds needs a checkpoint to pause into")
        if checkpoint is not None and checkpoint.exists():
            training.load(checkpoint)
        self.training, self.steps, self.checkpoint, self.max_seconds = training, steps, checkpoint, max_seconds
        self.begun = self.saved = time.perf_counter()
        self.before = training.seconds

    def look(self) -> float:
        """Bring the training's seconds up to date; gives the time."""
        now = time.perf_counter()
        self.training.seconds = self.before + now - self.begun
        return now

    def after_step(self) -> None:
        """To be called after every step: saves once a minute, pauses when the time is over; nothing after the last."""
        now = self.look()
        if self.checkpoint is None or self.training.step >= self.steps:
            return
        out_of_time = self.max_seconds is not None and now - self.begun >= self.max_seconds
        if out_of_time or now - self.saved >= CHECKPOINT_SECONDS:
            self.training.save(self.checkpoint)
            self.saved = now
        if out_of_time:
            raise Paused(f"at step {self.training.step} of {self.steps}; state in {self.checkpoint}")

    def end(self) -> None:
        """Keep the last state: asked again, a finished training gives its results at once."""
        if self.checkpoint is not None:
            self.training.save(self.checkpoint)


def side_by_side(
    tasks: Iterable[tuple[object, Callable[[], object]]], workers: int, on_done: Callable[[object, object], None]
) -> None:
    """Run ``task()`` for every ``(key, task)`` and hand each result to ``on_done(key, result)`` as it comes.

    In processes of one thread each, which wastes nothing on waiting; in turn, and here, for ``workers=0``. Every task
    has its turn, whatever error another one ends with, because results may have taken hours. Then the first error that
    is no `Paused` is raised; if there is none, `Paused`. KeyboardInterrupt and SystemExit stop at once.
    """
    failed: list[Exception] = []

    def settle(key: object, result: Callable[[], object]) -> None:
        try:
            on_done(key, result())
        except Exception as error:
            failed.append(error)

    if workers == 0:
        for key, task in tasks:
            settle(key, task)
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=one_thread) as pool:
            waiting = {pool.submit(in_worker, task): key for key, task in tasks}
            for future in as_completed(waiting):
                settle(waiting[future], future.result)
    for error in failed:
        if not isinstance(error, Paused):
            raise error
    if failed:
        raise Paused("the time given is over")


def in_worker(task: Callable[[], object]) -> object:
    """Run a task; its error is made such that it reaches the process that waits for the result.

    An exception whose pickle cannot be read back would break the pool, and with it all other tasks. Its traceback stays
    here, so what only that tells goes with the exception.
    """
    try:
        return task()
    except Exception as error:
        error.is_refusal = is_refusal(error)
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            sent = RuntimeError(f"{type(error).__name__}: {error}")
            sent.is_refusal = error.is_refusal
            raise sent from error
        raise


def one_thread() -> None:
    """What a worker begins with: one thread, Ctrl-C left to the process that started it, and an end when that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: no orphan writes into a study that goes on
    torch.set_num_threads(1)
