"""Run the rows of a grid on Dask: on the cores of this machine, or on the workers of a scheduler.

What is done stays done. A row that has a record is skipped, so after a crash, a full disk or Ctrl-C the same call
resumes. A row that fails keeps its notebook with the traceback and stops nothing else.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from reproduce import cluster, row
from reproduce.grid import Grid
from reproduce.row import DONE, FAILED, SKIPPED, Outcome, Task
from sparsecomp.checks import InputError

if TYPE_CHECKING:
    from distributed import Client

ROOT = Path(__file__).resolve().parents[1]


def tasks_of(grid: Grid, out: Path, retries: int = 0) -> list[Task]:
    """The rows of a grid as tasks, all checked before anything runs.

    Raises
    ------
    ValueError
        If the notebook lacks a parameter or refuses a value, two rows have one name, or a record in ``out`` is of other
        parameters than its row.
    """
    asker = cluster.environment()
    tasks = [Task(one.name, grid.source, one.parameters, out, grid.cpu, grid.memory, retries, asker)
             for one in grid.rows()]  # fmt: skip
    for task in tasks:
        if task.file("json").exists() and record_of(task)["parameters"] != task.parameters:
            raise InputError(f"{task.file('json')} has other parameters than the row {task.name}: take another --out")
    _ask_the_notebook(grid, tasks)
    return tasks


def record_of(task: Task) -> dict[str, Any]:
    """The record of a row; `ValueError` if it is broken."""
    try:
        found = json.loads(task.file("json").read_text())
        return {name: found[name] for name in ("parameters", "values", "wall_seconds", "peak_memory", "environment")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"record {task.file('json')}: cannot be read ({error!r})") from error


def _ask_the_notebook(grid: Grid, tasks: list[Task]) -> None:
    """Let the notebook check the parameters of every row, in a process of its own."""
    asked = json.dumps({"source": str(grid.source), "rows": {task.name: task.parameters for task in tasks}})
    done = subprocess.run(
        [sys.executable, "-m", "reproduce.row"], input=asked, capture_output=True, text=True, cwd=grid.source.parent,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))},
    )  # fmt: skip
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise InputError(said[-1] if said else f"notebook {grid.source.stem} cannot be checked")


def run(
    grid: Grid,
    tasks: list[Task],
    *,
    workers: int,
    scheduler: str | None = None,
    report: Callable[[Outcome], None] = print,
    begun: Callable[[str], None] = lambda dashboard: None,
) -> list[Outcome]:
    """Run the rows that have no record yet; give what became of each.

    Parameters
    ----------
    workers, scheduler
        As `cluster.client` has them.
    report : callable
        Gets every outcome as it comes.
    begun : callable
        Gets the address of the dashboard.

    Raises
    ------
    ValueError
        If another sweep writes to this folder, or the workers are not fit (`cluster.check_workers`).
    ConnectionError
        If the scheduler is lost.
    """
    out = tasks[0].out
    (out / "rows").mkdir(parents=True, exist_ok=True)
    with _locked(out):
        outcomes = [Outcome(task.name, SKIPPED) for task in tasks if task.file("json").exists()]
        for outcome in outcomes:
            report(outcome)
        left = [task for task in tasks if not task.file("json").exists()]
        if left:
            with cluster.client(out, min(workers, len(left)), scheduler, gpu=grid.gpu, memory=grid.memory) as client:
                begun(client.dashboard_link)
                for outcome in outcomes_of(client, grid, left):
                    outcomes.append(outcome)
                    report(outcome)
    return outcomes


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    try:
        with FileLock(out / "lock", timeout=0):
            yield
    except Timeout:
        raise InputError(f"another sweep writes to {out}") from None


def outcomes_of(client: Client, grid: Grid, left: list[Task]) -> Iterator[Outcome]:
    """Hand rows to the workers of a client, and give each outcome as it comes."""
    from distributed import CancelledError, as_completed

    call = uuid.uuid4().hex  # a scheduler remembers results by key
    futures = client.map(row.run, left, key=[f"{call}-{task.name}" for task in left],
                         resources={"GPU": grid.gpu} if grid.gpu else None)  # fmt: skip
    names = {future.key: task.name for future, task in zip(futures, left, strict=True)}
    for future in as_completed(futures, loop=client.loop):
        try:
            yield future.result()
        except CancelledError as error:
            raise ConnectionError(cluster.LOST) from error
        except Exception as error:  # a worker that died under it again and again
            yield Outcome(names[future.key], FAILED, 0.0, " ".join(f"{type(error).__name__}: {error}".split())[:500])


def counts(outcomes: list[Outcome]) -> str:
    """One line: how many rows are done, were there, and failed."""
    of = {status: sum(outcome.status == status for outcome in outcomes) for status in (DONE, SKIPPED, FAILED)}
    return f"{of[DONE]} done, {of[SKIPPED]} skipped, {of[FAILED]} failed"
