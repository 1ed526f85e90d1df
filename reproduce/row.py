"""One row of a sweep: papermill runs the experiment of a notebook in a process of its own.

The row leaves, in the folder of the sweep, its executed notebook, its log, and a record: one JSON file that appears
whole or not at all. Nothing here imports PyTorch.
"""

from __future__ import annotations

import json
import math
import os
import platform
import resource
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from filelock import FileLock

from reproduce import cluster, notebooks
from sparsecomp.checks import InputError
from sparsecomp.files import write_atomic

SCHEMA = 1
MIME = "application/vnd.sparsecomp.values+json"
DONE, FAILED, SKIPPED = "done", "failed", "skipped"
LEAVE = "from reproduce import row\n\nrow.leave(values)"
EVERY = 0.1  # seconds between two looks at the memory of a row


@dataclass(frozen=True)
class Task:
    """What a worker needs to run a row.

    Attributes
    ----------
    name : str
    source : Path
        The notebook; workers see the same files.
    parameters : dict
    out : Path
        The folder of the sweep.
    cpu, memory : int
        Threads; bytes of memory that the row may use (0: no limit).
    retries : int
        How often it begins again after a failure.
    asker : dict
        The environment that the sweep was started in (`cluster.environment`).
    """

    name: str
    source: Path
    parameters: dict[str, Any]
    out: Path
    cpu: int = 1
    memory: int = 0
    retries: int = 0
    asker: dict[str, Any] = field(default_factory=dict)

    def file(self, end: str) -> Path:
        """A file of this row."""
        return self.out / "rows" / f"{self.name}.{end}"


class Outcome(NamedTuple):
    """What became of a row: `DONE`, `FAILED` (with one line that says why), or `SKIPPED`, as it has a record."""

    name: str
    status: str
    seconds: float = 0.0
    error: str = ""


def leave(values: dict[str, Any]) -> None:
    """Write the values of a row into its notebook; a sweep adds this as the last cell.

    Raises
    ------
    ValueError
        If they are no dict of finite numbers, texts, truth values or None.
    """
    from IPython.display import display

    if not isinstance(values, dict) or not values:
        raise InputError(f"values must be a dict that is not empty, got {values!r}")
    for name, value in values.items():
        if not isinstance(value, int | float | str | None) or isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"values[{name!r}] must be a finite number, a text or None, got {value!r}")
    peak = 1024 * sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    display({MIME: {"values": values, "peak_memory": peak}}, raw=True)


def run(task: Task) -> Outcome:
    """Run a row, unless it has a record; errors of the row become its outcome."""
    with FileLock(task.out / "rows" / f".{task.name}.lock"):  # a worker that outlived the last sweep may be at it
        started = time.perf_counter()
        if task.file("json").exists():
            return Outcome(task.name, SKIPPED)
        if differs := cluster.differs(cluster.environment(), task.asker):  # workers may join after the first check
            return Outcome(task.name, FAILED, 0.0, f"worker on {platform.node()} {differs}")
        for left in range(task.retries, -1, -1):
            try:
                _attempt(task)
                return Outcome(task.name, DONE, time.perf_counter() - started)
            except Exception as error:
                if not left:
                    said = " ".join(f"{type(error).__name__}: {error}".split())
                    return Outcome(task.name, FAILED, time.perf_counter() - started, said[:500])
    raise AssertionError("unreachable")


def _attempt(task: Task) -> None:
    import nbformat

    started = time.perf_counter()
    notebook = notebooks.read(task.source, only_experiment=True)
    notebook.cells.append(nbformat.v4.new_code_cell(LEAVE, metadata={"tags": ["remove-cell"]}))
    parameters = dict(task.parameters)
    if "out" in notebooks.parameters(notebook) and "out" not in parameters:
        parameters["out"] = str(task.out / "rows" / task.name)  # records of plans; half of a row is not lost
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(task.cpu))
    executed, limit = task.file("ipynb"), _Limit(task.memory)
    with task.file("log").open("a", encoding="utf-8") as log, limit:
        try:
            notebooks.execute(notebook, parameters, executed, task.source, log=log)
        except Exception as error:
            if limit.passed:
                raise MemoryError(f"the row used more than its {task.memory:,} bytes of memory") from error
            raise
    left = _left(executed)
    record = {
        "schema": SCHEMA, "row": task.name, "notebook": task.source.stem, "parameters": task.parameters,
        "values": left["values"], "wall_seconds": round(time.perf_counter() - started, 3),
        "peak_memory": max(left["peak_memory"], limit.peak), "environment": cluster.environment(),
    }  # fmt: skip
    write_atomic(task.file("json"), (json.dumps(record, indent=2, allow_nan=False) + "\n").encode())


def _left(executed: Path) -> dict[str, Any]:
    cells = json.loads(executed.read_text())["cells"]
    return next(output["data"][MIME] for output in cells[-1]["outputs"] if MIME in output.get("data", {}))


class _Limit:
    """Watches the memory of this process's children, and ends them if they use more than ``most`` bytes (0: no end)."""

    def __init__(self, most: int) -> None:
        self.most, self.peak, self.passed = most, 0, False
        self._over = threading.Event()

    def __enter__(self) -> _Limit:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(EVERY):
            children = psutil.Process().children(recursive=True)
            used = 0
            for child in children:
                with suppress(psutil.Error):
                    used += child.memory_info().rss
            self.peak = max(self.peak, used)
            if self.most and used > self.most:
                self.passed = True
                for child in children:
                    with suppress(psutil.Error):
                        child.kill()
                return


def check(source: Path, rows: dict[str, dict[str, Any]]) -> None:
    """Run the first two cells of a notebook, which hold and check its parameters, for every row.

    Raises
    ------
    ValueError
        If the notebook has no such parameter, or it refuses a row: with the name of the row, and why.
    """
    notebook = notebooks.read(source)
    given = {name for parameters in rows.values() for name in parameters}
    notebooks.check_names(source, notebooks.parameters(notebook), sorted(given))
    held, checked = [cell.source for cell in notebook.cells if cell.cell_type == "code"][:2]
    for name, parameters in rows.items():
        space: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(held, str(source), "exec"), space)
        space |= parameters
        try:
            exec(compile(checked, str(source), "exec"), space)
        except Exception as error:
            raise InputError(f"notebook {source.stem}, row {name}: {error}") from error


if __name__ == "__main__":
    import sys

    asked = json.load(sys.stdin)
    try:
        check(Path(asked["source"]), asked["rows"])
    except ValueError as error:
        sys.exit(str(error))
