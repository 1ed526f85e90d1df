"""What a sweep costs beside its rows: what ``python -m reproduce bench sweep`` measures.

All of it is measured in one run, with one thread per row; nothing else should be running.

1. The smoke rows of `10_coin`, one after another by papermill without Dask; then the same rows as a sweep. The ratio is
   the sweep's time over the time of the single runs, shared out evenly to the workers.
2. Rows of a notebook that does nothing, as a sweep on one worker: what scheduler, papermill and kernel cost per row.
3. Rows that have their record already, on many workers inside this process: what the scheduler alone does, and how much
   memory it takes.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from reproduce import grid, records, row, sweep
from reproduce.grid import Grid
from reproduce.row import DONE, SKIPPED, Outcome, Task
from sparsecomp.checks import InputError, whole

EMPTY = """# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% tags=["parameters"]
a = 0

# %%
values = {"a": a}
"""


@dataclass(frozen=True)
class SweepBench:
    """The figures of `bench_sweep`.

    Attributes
    ----------
    rows, workers : int
        Of the first two measurements.
    single, swept : float
        Seconds of the smoke rows one after another, and as a sweep on ``workers`` workers.
    overhead : float
        Seconds per row of a notebook that does nothing, on one worker.
    empty, simulated : int
        Rows and workers of the third measurement.
    scheduled : float
        Its seconds, from the first row that is handed in to the last that is back.
    grown : float
        Megabytes (10⁶ bytes) by which this process, scheduler and workers in it, grew meanwhile at most.
    """

    rows: int
    workers: int
    single: float
    swept: float
    overhead: float
    empty: int
    simulated: int
    scheduled: float
    grown: float

    @property
    def ratio(self) -> float:
        """The sweep's time over an even share of the single runs' time: 1 costs nothing."""
        return self.swept * self.workers / self.single


def bench_sweep(
    rows: int = 16, workers: int = 2, empty: int = 2_000, simulated: int = 200, notebook: str = "10_coin"
) -> SweepBench:
    """Measure all three; about four minutes.

    Parameters
    ----------
    notebook : str
        A notebook with the parameter ``seed``, run at its defaults.

    Raises
    ------
    ValueError
        If a count is below 1, or a row fails.
    """
    for name, count in (("rows", rows), ("workers", workers), ("empty", empty), ("simulated", simulated)):
        whole(name, count, 1)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        (folder / "empty.py").write_text(EMPTY)
        small = _grid(folder, "small", f"{{notebook: {notebook}, product: {{seed: {{range: [0, {rows}]}}}}}}")
        idle = _grid(folder, "idle", f"{{notebook: empty.py, product: {{a: {{range: [0, {rows}]}}}}}}")
        many = _grid(folder, "many", f"{{notebook: empty.py, product: {{a: {{range: [0, {empty}]}}}}}}")
        return SweepBench(
            rows, workers, _one_by_one(small, folder / "single"), _swept(small, folder / "swept", workers),
            _swept(idle, folder / "idle", 1) / rows, empty, simulated, *_scheduled(many, folder / "many", simulated),
        )  # fmt: skip


def _grid(folder: Path, name: str, text: str) -> Grid:
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return grid.read(path)


def _ran(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.status != DONE:
            raise InputError(f"row {outcome.name} {outcome.status}: {outcome.error}")


def _one_by_one(given: Grid, out: Path) -> float:
    tasks = sweep.tasks_of(given, out)
    (out / "rows").mkdir(parents=True)
    begun = time.perf_counter()
    _ran([row.run(task) for task in tasks])
    return time.perf_counter() - begun


def _swept(given: Grid, out: Path, workers: int) -> float:
    tasks = sweep.tasks_of(given, out)
    begun = time.perf_counter()
    _ran(sweep.run(given, tasks, workers=workers, report=lambda outcome: None))
    return time.perf_counter() - begun


def _scheduled(given: Grid, out: Path, workers: int) -> tuple[float, float]:
    """Seconds of rows that have a record, and megabytes by which this process grew meanwhile."""
    import dask
    from distributed import Client, LocalCluster

    # Every worker watches itself and its process many times a second. On a cluster each has a core for that.
    quiet = {"distributed.worker.profile.enabled": False, "distributed.admin.system-monitor.interval": "1 hour"}
    tasks = [Task(one.name, given.source, one.parameters, out) for one in given.rows()]
    (out / "rows").mkdir(parents=True)
    for task in tasks:
        task.file("json").write_text("{}")
    process = psutil.Process()
    with (
        dask.config.set(quiet),
        LocalCluster(n_workers=workers, threads_per_worker=1, processes=False, memory_limit=0, dashboard_address=None,
                     silence_logs=50) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        before = most = process.memory_info().rss
        begun = time.perf_counter()
        for outcome in sweep.outcomes_of(client, given, tasks):
            assert outcome.status == SKIPPED
            most = max(most, process.memory_info().rss)
        return time.perf_counter() - begun, (most - before) / 1e6


def write(bench: SweepBench, out: Path) -> Path:
    """Keep the figures as a run record, ``out/bench/sweep-...json``: one run on one machine."""
    config = {
        "profile": "bench", "seed": 0, "device": "cpu", "data": "bundled", "pictures": 1, "threads": 1,
        "rows": bench.rows, "workers": bench.workers, "empty": bench.empty, "simulated": bench.simulated,
    }  # fmt: skip
    figures = {
        "single": round(bench.single, 2), "swept": round(bench.swept, 2), "ratio": round(bench.ratio, 3),
        "overhead": round(bench.overhead, 3), "scheduled": round(bench.scheduled, 2), "grown": round(bench.grown, 1),
    }  # fmt: skip
    spent = round(bench.single + bench.swept + bench.rows * bench.overhead + bench.scheduled, 1)
    name = f"sweep-{bench.workers}-workers"
    return records.write(
        records.RunRecord("bench", name, config, [figures], spent, records.environment("cpu")), out
    )
