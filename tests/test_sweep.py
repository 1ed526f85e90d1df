"""Sweeps on real schedulers and workers on loopback: rows run, and nothing is lost, whatever dies.

The notebook is light and imports no PyTorch.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from test_runner import Squares

from reproduce import cli, cluster, grid, row, sweep, sweep_bench
from reproduce.records import Records
from reproduce.row import DONE, FAILED, SKIPPED
from reproduce.runner import run
from sparsecomp.training.loop import Paused

ROOT = Path(__file__).parents[1]
NOTEBOOK = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% tags=["parameters"]
a = 1
wait = ""  # go on when this file is there
megabytes = 0

# %%
import os, time
from pathlib import Path

if a < 0:
    raise ValueError(f"a must be >= 0, got {a}")

# %%
raise AssertionError("no part of the experiment")

# %% tags=["experiment"]
print("row", a)
held = b"x" * (megabytes * 2**20)
if wait:
    Path(wait + f".{a}").touch()
    while not Path(wait).exists():
        time.sleep(0.05)
assert a != 13, "an unlucky number"
torch = "torch" in __import__("sys").modules
values = {"a": a / 2, "square": a * a, "threads": os.environ["OMP_NUM_THREADS"], "torch": torch}
"""


@pytest.fixture
def file(tmp_path) -> Path:
    """The grid of three rows."""
    (tmp_path / "light.py").write_text(NOTEBOOK)
    path = tmp_path / "small.yaml"
    path.write_text("notebook: light.py\nproduct: {a: [1, 2, 3]}\n")
    return path


def tasks(file: Path, **axes: list) -> tuple[grid.Grid, list[row.Task]]:
    found = grid.read(file)
    for name, values in axes.items():
        found = found.with_axis(name, values)
    out = file.parent / "out"
    (out / "rows").mkdir(parents=True, exist_ok=True)
    return found, [row.Task(one.name, found.source, one.parameters, out) for one in found.rows()]


def until(there: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def records(file: Path) -> dict[str, dict]:
    found = [json.loads(path.read_text()) for path in (file.parent / "out" / "rows").glob("*.json")]
    return {record["row"]: record for record in found}


@pytest.fixture
def dask(tmp_path) -> Iterator[Callable[..., psutil.Popen]]:
    """Starts a scheduler or a worker; what is left at the end is ended."""
    begun = []

    def start(what: str, *options: str) -> psutil.Popen:
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", "--scheduler-file", tmp_path / "scheduler"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        path = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
        begun.append(psutil.Popen([*map(str, command), *options], env=path, **quiet))
        return begun[-1]

    yield start
    for process in begun:
        if process.is_running():
            process.kill()
        process.wait()


@pytest.fixture
def scheduler(dask, tmp_path) -> tuple[str, psutil.Popen, list[psutil.Popen]]:
    """The address of a scheduler with two workers, and their processes."""
    own = dask("scheduler", "--port", "0", "--no-dashboard", "--host", "127.0.0.1")
    until((tmp_path / "scheduler").exists)
    workers = [dask("worker", "--no-nanny", "--nthreads", "1", "--no-dashboard") for _ in range(2)]
    return json.loads((tmp_path / "scheduler").read_text())["address"], own, workers


def test_study_runs_on_the_workers_of_a_scheduler(tmp_path, scheduler):
    said: list[str] = []
    plans = [Squares(), Squares(name="other", seed=1, fails="2")]
    with pytest.raises(ValueError, match="^2 is not wanted$"):
        run(plans, tmp_path / "runs", scheduler=scheduler[0], report=said.append, max_seconds=60)
    (record,) = Records(tmp_path / "runs").find("squares")
    assert record.name == "plain" and [row["bpp"] for row in record.rows] == [1, 4, 9]
    with pytest.raises(Paused):
        run([Squares(name="late", seed=2)], tmp_path / "runs", scheduler=scheduler[0], max_seconds=0)


def lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def kernels(process: psutil.Process) -> list[psutil.Process]:
    children = [child for child in process.children(recursive=True) if lives(child)]
    return [child for child in children if "ipykernel" in " ".join(child.cmdline())]


def test_sweep_on_a_scheduler_leaves_records_notebooks_logs_and_a_report(file, scheduler, capsys):
    arguments = ["sweep", str(file), "--out", str(file.parent / "out"), "--set", "a=1,2,13", "--scheduler"]
    assert cli.main([*arguments, scheduler[0]]) == 1, "a row failed"
    said = capsys.readouterr()
    assert "2 done, 0 skipped, 1 failed" in said.out and "AssertionError: an unlucky number" in said.err
    found, rows = records(file), file.parent / "out" / "rows"
    assert set(found) == {"a=1", "a=2"} and found["a=2"]["parameters"] == {"a": 2}
    assert found["a=2"]["values"] == {"a": 1.0, "square": 4, "threads": "1", "torch": False}
    assert 20e6 < found["a=2"]["peak_memory"] < 1e9 and found["a=2"]["wall_seconds"] > 0
    assert {"commit", "lock"} <= found["a=2"]["environment"].keys()
    assert (rows / "a=1.log").read_text() == "row 1\n"
    traceback = json.loads((rows / "a=13.ipynb").read_text())["cells"][-2]["outputs"][-1]
    assert traceback["ename"] == "AssertionError" and not (rows / "a=13.json").exists()
    table = [line.split("\t") for line in (file.parent / "out" / "sweep.tsv").read_text().splitlines()]
    assert [line[:5] for line in table] == [
        ["row", "state", "a", "a (measured)", "square"], ["a=1", "done", "1", "0.5", "1"],
        ["a=2", "done", "2", "1", "4"], ["a=13", "failed", "13"] + [""] * min(2, len(table[3]) - 3),
    ]  # fmt: skip
    assert 'href="rows/a=13.ipynb"' in (file.parent / "out" / "report.html").read_text()
    assert cli.main([*arguments[:-3], "--dry-run"]) == 0
    assert capsys.readouterr().out.count("there") == 2
    assert cli.main([*arguments[:-3], "--scheduler", scheduler[0]]) == 0, "three is all that is left"
    assert "1 done, 2 skipped, 0 failed" in capsys.readouterr().out


def when(there: Callable[[], object], then: Callable[[], object]) -> threading.Thread:
    """Wait beside the test until something is there, and then do something."""

    def run() -> None:
        until(there)
        then()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_row_runs_elsewhere_when_its_worker_is_killed(file, scheduler):
    address, _, workers = scheduler
    go, outcomes = file.parent / "go", []
    given, rows = tasks(file, wait=[str(go)])

    def kill() -> None:
        victim = next(worker for worker in workers if kernels(worker))
        orphans = kernels(victim)
        victim.kill()
        until(lambda: not any(map(lives, orphans)))
        go.touch()

    thread = when(lambda: len(list(file.parent.glob("go.*"))) == 2, kill)
    sweep.run(given, rows, workers=2, scheduler=address, report=outcomes.append)
    thread.join()
    assert [of.status for of in outcomes] == [DONE] * 3 and len({of.name for of in outcomes}) == 3
    assert len(records(file)) == 3


def test_sweep_says_that_its_scheduler_is_lost_and_resumes(file, scheduler):
    address, own, _ = scheduler
    go = file.parent / "go"
    given, rows = tasks(file, wait=[str(go)])
    thread = when(lambda: len(list(file.parent.glob("go.*"))) == 2, own.kill)
    with pytest.raises(ConnectionError, match="the same command resumes"):
        sweep.run(given, rows, workers=2, scheduler=address, report=lambda _: None)
    thread.join()
    go.touch()  # the workers may outlive their scheduler, and end their rows while the next sweep begins
    outcomes = sweep.run(given, rows, workers=2, report=lambda _: None)
    assert len(outcomes) == len(records(file)) == 3 and FAILED not in {of.status for of in outcomes}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_sweep_that_is_ended_leaves_no_process_and_resumes(file, how):
    out, go = file.parent / "out", file.parent / "go"
    file.write_text(f"{file.read_text()}base: {{wait: {go}}}\n")
    given, rows = tasks(file)
    go.touch()
    assert row.run(rows[0]).status == DONE
    go.unlink()
    process = psutil.Popen(
        [sys.executable, "-m", "reproduce", "sweep", str(file), "--out", out, "--workers", "2"], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until(lambda: len(list(file.parent.glob("go.*"))) == 3)
    family = process.children(recursive=True)
    process.send_signal(how)
    said = process.communicate(timeout=20)[1]
    assert process.returncode == (130 if how == signal.SIGINT else -9), said
    until(lambda: not any(map(lives, family)))
    assert set(records(file)) == {"a=1"}
    if how == signal.SIGKILL:
        go.touch()
        outcomes = sweep.run(given, rows, workers=2, report=lambda _: None)
        assert [(of.name, of.status) for of in outcomes][0] == ("a=1", SKIPPED)
        assert sorted(of.status for of in outcomes) == [DONE, DONE, SKIPPED] and len(records(file)) == 3


def test_row_on_a_full_disk_fails_and_leaves_no_record(file, monkeypatch):
    given, (task, *_) = tasks(file)

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(row, "write_atomic", full)
        outcome = row.run(task)
    assert outcome.status == FAILED and "No space left" in outcome.error and not records(file)
    assert row.run(task).status == DONE and row.run(task).status == SKIPPED


def test_row_that_uses_too_much_memory_is_ended_and_said(file):
    given, (task, *_) = tasks(file, megabytes=[600])
    outcome = row.run(row.Task(task.name, task.source, task.parameters, task.out, memory=400 * 2**20))
    assert outcome.status == FAILED and "used more than its 419,430,400 bytes" in outcome.error
    assert not kernels(psutil.Process())


@pytest.mark.parametrize(
    ("axes", "said"), [({"b": [1]}, "has no parameter 'b'"), ({"a": [1, -2]}, "row a=-2: a must be >= 0, got -2")]
)
def test_sweep_refuses_what_the_notebook_refuses_before_anything_runs(file, axes, said):
    (name, values), out = *axes.items(), file.parent / "out"
    with pytest.raises(ValueError, match=said):
        sweep.tasks_of(grid.read(file).with_axis(name, values), out)
    assert not out.exists()


def test_record_of_other_parameters_is_not_taken_for_the_row(file):
    _, (task, *_) = tasks(file)
    record = dict.fromkeys(("values", "wall_seconds", "peak_memory", "environment"))
    task.file("json").write_text(json.dumps(record | {"parameters": task.parameters}))
    file.write_text(file.read_text() + "base: {megabytes: 1}\n")
    with pytest.raises(ValueError, match="has other parameters than the row a=1: take another --out"):
        sweep.tasks_of(grid.read(file), task.out)
    task.file("json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        sweep.tasks_of(grid.read(file), task.out)


def test_row_is_refused_by_a_worker_that_joined_late_with_another_commit(file):
    _, (task, *_) = tasks(file)
    outcome = row.run(replace(task, asker=cluster.environment() | {"commit": "abc"}))
    assert outcome.status == FAILED and "has another commit: " in outcome.error and not records(file)


def test_second_sweep_of_a_folder_is_refused(file):
    given, rows = tasks(file)
    with sweep._locked(file.parent), pytest.raises(ValueError, match="another sweep writes to"):
        with sweep._locked(file.parent):
            pass


@pytest.mark.parametrize(
    ("theirs", "threads", "said"),
    [
        ({"sees": False}, 1, "does not see"),
        ({"commit": "abc"}, 1, "has another commit: abc"),
        ({"lock": "abc"}, 1, "has another lock"),
        ({}, 2, "has 2 threads: start workers with --nthreads 1"),
    ],
)
def test_workers_that_are_not_fit_are_refused(tmp_path, theirs, threads, said):
    class Client:
        def run(self, who, token):
            return {"tcp://w": who(token) | theirs}

        def scheduler_info(self, **_):
            return {"workers": {"tcp://w": {"nthreads": threads}}}

    with pytest.raises(ValueError, match=said):
        cluster.check_workers(Client(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_bench_measures_a_sweep_and_keeps_it(tmp_path, monkeypatch, capsys):
    (tmp_path / "light.py").write_text(sweep_bench.EMPTY.replace("a = 0", "seed = 0").replace(": a", ": seed"))
    found = sweep_bench.bench_sweep(rows=1, workers=1, empty=6, simulated=2, notebook=str(tmp_path / "light.py"))
    assert found.ratio == found.swept / found.single and 0.2 < found.single < found.swept
    assert 0.2 < found.overhead < 60 and 0 < found.scheduled < 60 and found.grown >= 0
    monkeypatch.setattr(sweep_bench, "bench_sweep", lambda workers: found)
    assert cli.main(["bench", "sweep", "--out", str(tmp_path)]) == 0
    assert f"{found.ratio:.2f}x" in capsys.readouterr().out
    (record,) = Records(tmp_path).find("bench", simulated=2)
    assert record.rows[0]["ratio"] == round(found.ratio, 3)
