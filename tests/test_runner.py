"""The one runner: what it skips, keeps, continues, and refuses."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import pickle
import time
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from reproduce import records, runner
from reproduce.runner import Plan, Work, in_worker, run
from sparsecomp.checks import InputError
from sparsecomp.training.loop import Paused


@dataclass(frozen=True, kw_only=True)
class Squares(Plan):
    """The square of every number; a note of every piece that was done goes into a file beside the records."""

    numbers: tuple[str, ...] = ("1", "2", "3")
    fails: str = ""  # a piece that ends with an error
    study: str = "squares"
    name: str = "plain"
    preset: str = "smoke"

    def config(self) -> dict:
        return {"profile": self.preset, "numbers": list(self.numbers), "seed": self.seed}

    def pieces(self) -> tuple[str, ...]:
        return self.numbers

    def measure(self, work: Work, piece: str) -> list[dict]:
        with (work.out / "done.txt").open("a") as note:
            note.write(f"{self.name} {piece}\n")
        if piece == self.fails:
            raise InputError(f"{piece} is not wanted")
        worker = {"process": os.getpid(), "threads": torch.get_num_threads()}
        return [{"picture": piece, "bpp": float(piece) ** 2} | worker]


@dataclass(frozen=True, kw_only=True)
class Trained(Squares):
    name: str = "trained"

    def train(self, work: Work) -> dict:
        with (work.out / "done.txt").open("a") as note:
            note.write(f"{self.name} training\n")
        return {"seconds": 100.0}

    def seconds(self, rows: list[dict], trained: dict | None, spent: float) -> float:
        return (trained or {})["seconds"]


def done(out: Path) -> list[str]:
    return (out / "done.txt").read_text().splitlines() if (out / "done.txt").exists() else []


def only_record(out: Path) -> records.RunRecord:
    (record,) = records.Records(out).find("squares")
    return record


@pytest.mark.parametrize("workers", [1, 2])
def test_run_writes_a_record_with_the_rows_in_order_and_never_again(tmp_path, workers):
    said: list[str] = []
    for _ in range(2):
        (path,) = run([Trained()], tmp_path, workers=workers, report=said.append)
    record = only_record(tmp_path)
    assert path == Trained().path(tmp_path) and path.exists()
    assert [row["bpp"] for row in record.rows] == [1, 4, 9] and record.result == {"seconds": 100.0}
    if workers > 1:
        assert all(row["threads"] == 1 and row["process"] != os.getpid() for row in record.rows)
    assert record.wall_seconds == 100 and record.environment["device"] == "cpu"
    assert done(tmp_path)[0] == "trained training" and len(done(tmp_path)) == 4, "the second call did it again"
    assert said[-1] == "trained: the record is there"
    assert {p.suffix for p in (tmp_path / "squares" / ".partial").iterdir()} == {".lock"}, "something is left behind"


@dataclass(frozen=True, kw_only=True)
class OnDevice(Squares):
    device: str = "meta"

    def train(self, work: Work) -> dict:
        return {"process": os.getpid()}


def test_pieces_on_a_gpu_take_turns_here_while_workers_do_the_rest(tmp_path):
    """A plan for a GPU that is played on the CPU: its training is in this process, its pieces are in others."""
    run([OnDevice(), OnDevice(name="other", seed=1)], tmp_path, workers=2)
    found = records.Records(tmp_path).find("squares")
    assert len(found) == 2
    for record in found:
        assert record.result["process"] == os.getpid() and [row["picture"] for row in record.rows] == ["1", "2", "3"]
        assert all(row["process"] != os.getpid() for row in record.rows)


def test_run_writes_the_record_of_pieces_that_are_all_kept(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(records, "write", lambda *a: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run([Squares()], tmp_path)
    run([Squares()], tmp_path)
    assert len(only_record(tmp_path).rows) == 3 and len(done(tmp_path)) == 3, "nothing is done again"


def test_run_makes_no_record_again_that_the_writer_before_it_made(tmp_path, monkeypatch):
    """The other writer ends between the look for records and the lock."""
    real = runner._locked

    def locked(folders):
        monkeypatch.setattr(runner, "_locked", real)
        run([Squares()], tmp_path)
        return real(folders)

    monkeypatch.setattr(runner, "_locked", locked)
    run([Squares()], tmp_path)
    assert len(done(tmp_path)) == 3 and only_record(tmp_path)


@pytest.mark.parametrize("workers", [1, 2])
def test_run_continues_after_an_error_and_begins_only_what_is_left(tmp_path, workers):
    with pytest.raises(InputError, match="^2 is not wanted$"):
        run([Squares(fails="2"), Squares(name="other", seed=1)], tmp_path, workers=workers)
    assert only_record(tmp_path).name == "other" and "plain 3" in done(tmp_path)
    run([Squares()], tmp_path)  # mended
    assert len(records.Records(tmp_path).find("squares")) == 2
    assert [done(tmp_path).count(f"plain {n}") for n in "123"] == [1, 2, 1]


def test_run_pauses_when_time_is_over_and_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "monotonic", lambda: float(len(done(tmp_path))))  # a second a piece
    with pytest.raises(Paused):
        run([Squares()], tmp_path, max_seconds=2)
    assert len(done(tmp_path)) == 2 and not list(tmp_path.glob("squares/*.json"))
    run([Squares()], tmp_path)
    assert len(done(tmp_path)) == 3 and len(only_record(tmp_path).rows) == 3


def test_run_refuses_a_number_that_no_record_holds_when_it_is_made(tmp_path):
    with pytest.raises(InputError, match="^plain inf: a number is not finite"):
        run([Squares(numbers=("1", "inf", "2"))], tmp_path)
    assert len(done(tmp_path)) == 3
    (kept,) = (tmp_path / "squares" / ".partial").glob("*/1.json")
    assert json.loads(kept.read_text())["rows"][0]["bpp"] == 1


def test_only_chooses_plans_by_their_names(tmp_path):
    run([Squares(), Squares(name="other", seed=1)], tmp_path, only="oth")
    assert only_record(tmp_path).name == "other"
    with pytest.raises(InputError, match="only='nothing' is in the name of no plan"):
        run([Squares()], tmp_path, only="nothing")
    with pytest.raises(InputError, match="two plans have the same record"):
        run([Squares(), Squares(fails="1")], tmp_path)


def hold(lock: Path, held, leave) -> None:
    with FileLock(lock):
        held.set()
        leave.wait(60)


def test_a_second_writer_of_a_record_is_refused_until_the_first_one_ends(tmp_path):
    path = Squares().path(tmp_path)
    lock = path.parent / ".partial" / f"{path.stem}.lock"
    lock.parent.mkdir(parents=True)
    context = multiprocessing.get_context("spawn")
    held, leave = context.Event(), context.Event()
    writer = context.Process(target=hold, args=(lock, held, leave))
    writer.start()
    assert held.wait(60)
    with pytest.raises(InputError, match="is being made by another process"):
        run([Squares()], tmp_path)
    writer.kill()  # even so the lock is free again
    writer.join()
    run([Squares()], tmp_path)


# Processes ------------------------------------------------------------------------------------------------------------


class Odd(InputError):
    """An exception that cannot be read back from what pickle writes, as `codecs.BudgetError` is one."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


class OddBug(Exception):
    """Another, that nobody's input caused."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


def fail(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InputError("no"), InputError),
        (ValueError("x"), ValueError),
        (Odd(1, 2), InputError),
        (OddBug(1, 2), RuntimeError),
        (Paused("time"), Paused),
    ],
)
def test_in_worker_raises_what_reaches_the_other_process_and_says_who_refused(error, kind):
    with pytest.raises(kind) as caught:
        in_worker(functools.partial(fail, error))
    sent = pickle.loads(pickle.dumps(caught.value))
    assert type(sent) is kind and str(sent) == str(caught.value)


@dataclass(frozen=True, kw_only=True)
class Dies(Squares):
    def measure(self, work: Work, piece: str) -> list[dict]:
        os._exit(1)


def test_run_names_a_worker_that_died(tmp_path):
    with pytest.raises(BrokenExecutor):
        run([Dies()], tmp_path, workers=2)
