"""Tasks side by side: processes of one thread each, and each result as it comes."""

from __future__ import annotations

import ctypes
import pickle
import signal
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any

import torch

from sparsecomp.checks import InputError
from sparsecomp.training.loop import Paused


def side_by_side(
    tasks: Iterable[tuple[Any, Callable[[], Any]]], workers: int, on_done: Callable[[Any, Any], object]
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
        raise Paused("the time limit was reached")


def in_worker(task: Callable[[], object]) -> object:
    """Run a task; its error is made such that it reaches the process that waits for the result.

    An exception whose pickle cannot be read back would break the pool, and with it all other tasks.
    """
    try:
        return task()
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            kind = InputError if isinstance(error, InputError) else RuntimeError
            raise kind(f"{type(error).__name__}: {error}") from error
        raise


def one_thread() -> None:
    """What a worker begins with: one thread, Ctrl-C left to the process that started it, and an end when that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: no orphan writes into a study that goes on
    torch.set_num_threads(1)
