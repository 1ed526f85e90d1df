"""Plans, and the one runner that makes records of them.

A plan is frozen data: what is trained, on what, and how it is measured. It makes one record. Its work comes in pieces,
usually one a picture, which may run side by side; each is kept as soon as it is done, in
``<out>/<study>/.partial/<record>/``. So stopping costs nothing: press Ctrl-C, or give ``max_seconds``, and the same
call resumes, to the same bits.
"""

from __future__ import annotations

import ctypes
import json
import pickle
import shutil
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from reproduce import cluster, records
from reproduce.estimates import Cost
from reproduce.records import RunRecord
from sparsecomp.checks import InputError
from sparsecomp.files import write_atomic
from sparsecomp.options import as_dict
from sparsecomp.training import kernel
from sparsecomp.training.arithmetic import FLOAT32, Arithmetic
from sparsecomp.training.loop import Paused

TRAINING = "training"  # the piece that comes before all others of a plan


@dataclass(frozen=True)
class Request:
    """What a study is asked for.

    Parameters
    ----------
    preset : str
    out : Path
        Where records are and go; models lie beside them.
    device : str
        Where networks are trained.
    seed : int
    pictures_of : str, optional
        The pictures that are measured; by default the study's own.
    train_on : Path, optional
        A folder of pictures to train autoencoders on, in place of BSDS500.
    arithmetic : Arithmetic, optional
        In which networks are trained; by default the preset's own.
    compiled : bool
        Compile the networks where `arithmetic` is the preset's own.
    planned : bool
        Plans are only listed, so the model that one begins with may not be there yet.
    """

    preset: str
    out: Path
    device: str = "cpu"
    seed: int = 0
    pictures_of: str | None = None
    train_on: Path | None = None
    arithmetic: Arithmetic | None = None
    compiled: bool = False
    planned: bool = False

    def trained_in(self, own: Arithmetic = FLOAT32) -> Arithmetic:
        """Return the arithmetic of its plans, where the preset has one of its own."""
        return self.arithmetic or replace(own, compiled=self.compiled)


@dataclass(frozen=True)
class Work:
    """What a piece of work may use.

    Attributes
    ----------
    out : Path
        Records go to ``out/<study>/``.
    checkpoints : Path
        A folder of the plan's own, for what is half done; it goes when the record is written.
    deadline : float, optional
        When to pause, as `time.monotonic` has it: one clock for all processes of a machine.
    side_by_side : int
        How many pieces run at once.
    report : callable
        Gets a line now and then.
    """

    out: Path
    checkpoints: Path
    deadline: float | None = None
    side_by_side: int = 1
    report: Callable[[str], None] = print

    def seconds_left(self) -> float | None:
        """Time until the deadline; `Paused` if it is over, None without one."""
        if self.deadline is None:
            return None
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise Paused("the time given is over")
        return left


@dataclass(frozen=True, kw_only=True)
class Plan(ABC):
    """One record to be made.

    Parameters
    ----------
    study, name : str
        Place of the record: ``<out>/<study>/<name>-<hash of identity()>.json``.
    preset, device : str
        For the record; ``device`` is where networks are trained.
    seed : int
    arithmetic : Arithmetic
        In which networks are trained.
    """

    study: str
    name: str
    preset: str
    seed: int = 0
    device: str = "cpu"
    arithmetic: Arithmetic = FLOAT32

    @abstractmethod
    def config(self) -> dict:
        """All that decides the result, but for `arithmetic`."""

    def identity(self) -> dict:
        """All that decides the result: the record's configuration, and its name has the hash."""
        return self.config() | as_dict(self.arithmetic)

    @abstractmethod
    def pieces(self) -> Sequence[str]:
        """The pieces of its work, in the order of the record's rows."""

    @abstractmethod
    def measure(self, work: Work, piece: str) -> list[dict]:
        """Do one piece and give its rows; `Paused` where time ends before it is done."""

    def train(self, work: Work) -> dict | None:
        """What comes before all pieces, if anything: its dict becomes the record's ``result``."""
        return None

    def cost(self) -> Cost | None:
        """The work of its training, where that can be paused; else None."""
        return None

    def trains(self, piece: str) -> bool:
        """Is a network trained in this piece? The others need no GPU, and only measure."""
        return piece == TRAINING

    def on_device(self, piece: str) -> bool:
        """Does a piece run on a GPU, so that it cannot share it with others?"""
        return self.device != "cpu" and self.trains(piece)

    def result(self, rows: list[dict], trained: dict | None, work: Work) -> dict:
        """The record's ``result``."""
        return trained or {}

    def seconds(self, rows: list[dict], trained: dict | None, spent: float) -> float:
        """The record's wall time; ``spent`` is that of the last call of every piece."""
        return spent

    def summary(self, piece: str, rows: list[dict]) -> str:
        """One line about a piece that is done."""
        return f"{self.name} {piece}: {len(rows)} rows"

    def path(self, out: Path) -> Path:
        """Where its record lies, or will."""
        return records.path_of(out, self.study, self.name, self.identity())


def run(
    plans: Iterable[Plan],
    out: Path,
    *,
    workers: int = 1,
    max_seconds: float | None = None,
    only: str | None = None,
    dry_run: bool = False,
    commit: str | None = None,
    scheduler: str | None = None,
    stage: str = "all",
    report: Callable[[str], None] = print,
) -> list[Path]:
    """Make the records of some plans that are not there yet; give the paths of all.

    Parameters
    ----------
    workers : int
        Processes of one thread each; in turn, and here, for 1. What needs a GPU takes turns in this process, while the
        others do what needs none.
    max_seconds : float, optional
        Pause after so much time: nothing new begins, and `Paused` is raised when what runs has stopped.
    only : str, optional
        Only the plans whose names contain this.
    dry_run : bool
        Say which records are there and which would be made, and make none.
    commit : str, optional
        The code's commit, where there is no git.
    scheduler : str, optional
        Of Dask workers that do the pieces in place of processes here (`cluster.client`).
    stage : {"all", "train", "measure"}
        Only train, on a machine that has little time; or only measure what was trained there, on one without a GPU. A
        record is written when both are done.

    Raises
    ------
    Paused
        After ``max_seconds``.
    ValueError
        If another process makes one of the records, two plans have one record, or ``only`` fits no plan.
    """
    plans = [plan for plan in plans if only is None or only in plan.name]
    if only is not None and not plans:
        raise InputError(f"only={only!r} is in the name of no plan")
    paths = {plan.path(out): plan for plan in plans}
    if len(paths) < len(plans):
        raise InputError("two plans have the same record")
    left = {path: plan for path, plan in paths.items() if not path.exists()}
    if dry_run or len(left) < len(paths):
        for path, plan in paths.items():
            if dry_run or path not in left:
                report(f"{plan.name}: the record is {'to be made' if path in left else 'there'}")
    if left and not dry_run:
        with _locked(left):
            # Whoever held a lock before may have made its record.
            left = {path: plan for path, plan in left.items() if not path.exists()}
            _Run(left, out, workers, max_seconds, commit, scheduler, stage, report).run()
    return list(paths)


@contextmanager
def _locked(paths: Iterable[Path]) -> Iterator[None]:
    """Keep a second writer of the same records out; a lock goes with its process, whatever ends it."""
    with ExitStack() as stack:
        for path in sorted(paths):
            partial = path.parent / ".partial"
            partial.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(FileLock(partial / f"{path.stem}.lock", timeout=0))
            except Timeout:
                raise InputError(f"record {path.stem} is being made by another process in {path.parent}") from None
        yield


class _Run:
    """One call of `run`: what is left, what is done, and what failed."""

    def __init__(
        self, plans: dict[Path, Plan], out: Path, workers: int, max_seconds: float | None, commit: str | None,
        scheduler: str | None, stage: str, report: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.stage = stage
        self.plans, self.workers, self.commit, self.report = plans, workers, commit, report
        self.out, self.scheduler = out, scheduler
        deadline = None if max_seconds is None else time.monotonic() + max_seconds
        self.work = {path: Work(out, path.parent / ".partial" / path.stem, deadline, workers, report) for path in plans}
        self.done: dict[Path, dict[str, dict]] = {path: self._kept(path) for path in plans}
        self.queue: deque[tuple[Path, str]] = deque()
        self.turns: deque[tuple[Path, str]] = deque()  # pieces that need the GPU
        self.failed: list[Exception] = []
        self.paused = False

    def run(self) -> None:
        for path in self.plans:
            left = self._next(path)
            for piece in left:
                self._waiting(*piece).append(piece)
            if not left and self._complete(path):  # the last call ended between the last piece and the record
                self._finish(path)
        if self.workers == 1 and self.scheduler is None:
            while self._more():
                self._here((self.queue or self.turns).popleft())
        else:
            self._side_by_side()
        for error in self.failed:
            if not isinstance(error, Paused):
                raise error
        if self.paused:
            raise Paused("the time limit was reached")

    def _waiting(self, path: Path, piece: str) -> deque[tuple[Path, str]]:
        return self.turns if self.plans[path].on_device(piece) else self.queue

    def _more(self) -> bool:
        return bool(self.queue or self.turns) and not self.paused

    def _here(self, which: tuple[Path, str]) -> None:
        path, piece = which
        self._settle(path, piece, _Task(self.plans[path], self.work[path], piece, commit=self.commit))

    def _side_by_side(self) -> None:
        running: dict[Future, tuple[Path, str]] = {}
        with self._executor() as pool:
            while running or self._more():
                while self.queue and len(running) < self.workers and not self.paused:
                    path, piece = self.queue.popleft()
                    work = replace(self.work[path], report=_say_nothing)
                    task = _Task(self.plans[path], work, piece, commit=self.commit)
                    running[pool.submit(in_worker, task if self.scheduler is None else task.elsewhere())] = path, piece
                done = [future for future in running if future.done()]
                if self.turns and not self.paused:
                    self._here(self.turns.popleft())
                elif running and not done:
                    done = list(wait(running, return_when=FIRST_COMPLETED).done)
                for future in done:
                    self._settle(*running.pop(future), future.result)

    @contextmanager
    def _executor(self) -> Iterator[Executor]:
        """Processes on this machine, or the workers of a scheduler, whose number replaces ``workers``."""
        if self.scheduler is None:
            with ProcessPoolExecutor(self.workers, mp_context=get_context("spawn"), initializer=follow) as pool:
                yield pool
            return
        self.out.mkdir(parents=True, exist_ok=True)
        with cluster.client(self.out, self.workers, self.scheduler) as client:
            self.workers = len(client.scheduler_info(n_workers=-1)["workers"])
            self.work = {path: replace(work, side_by_side=self.workers) for path, work in self.work.items()}
            with client.get_executor(pure=False) as pool:
                yield pool

    def _settle(self, path: Path, piece: str, result: Callable[[], dict]) -> None:
        """Keep what a piece gave, and write the record if it was the last."""
        plan = self.plans[path]
        try:
            found = result()
            self._keep(path, piece, found)
            self._file(path, piece).with_suffix(".safetensors").unlink(missing_ok=True)  # its checkpoint
            self.report(plan.summary(piece, found["rows"] if piece != TRAINING else [found["result"]]))
            if piece == TRAINING:
                for following in reversed(self._next(path)):
                    self._waiting(*following).appendleft(following)  # what is begun is finished first
            if self._complete(path):
                self._finish(path)
        except Paused as error:
            self.paused = True
            self.failed.append(error)
        except Exception as error:  # the others go on: their results may have taken hours
            self.failed.append(error)

    def _all(self, path: Path) -> list[str]:
        plan = self.plans[path]
        trains = type(plan).train is not Plan.train
        return [TRAINING] * trains + list(plan.pieces())

    def _complete(self, path: Path) -> bool:
        return len(self.done[path]) == len(self._all(path))

    def _next(self, path: Path) -> list[tuple[Path, str]]:
        """The pieces of this stage that may begin now: the training, or all others after it."""
        left = [piece for piece in self._all(path) if piece not in self.done[path]]
        left = left[:1] if left[:1] == [TRAINING] else left
        trains = self.plans[path].trains
        return [(path, piece) for piece in left if self.stage == "all" or trains(piece) == (self.stage == "train")]

    def _file(self, path: Path, piece: str) -> Path:
        return self.work[path].checkpoints / f"{piece.replace('/', '_')}.json"

    def _kept(self, path: Path) -> dict[str, dict]:
        files = {piece: self._file(path, piece) for piece in self._all(path)}
        return {piece: json.loads(file.read_text()) for piece, file in files.items() if file.exists()}

    def _keep(self, path: Path, piece: str, found: dict) -> None:
        try:
            text = json.dumps(found, allow_nan=False)
        except ValueError as error:
            raise InputError(
                f"{self.plans[path].name} {piece}: a number is not finite, so no record holds it"
            ) from error
        self.work[path].checkpoints.mkdir(parents=True, exist_ok=True)
        write_atomic(self._file(path, piece), text.encode())
        self.done[path][piece] = json.loads(text)

    def _finish(self, path: Path) -> None:
        plan, done = self.plans[path], self.done[path]
        rows = [row for piece in plan.pieces() for row in done[piece]["rows"]]
        kept = [found["environment"] for found in done.values() if "environment" in found]
        environment = kept[0] if kept else _environment(plan, self.commit)
        if self.stage == "measure":
            environment = environment | {"measured_on": records.device_name("cpu")}
        trained = done.get(TRAINING, {}).get("result")
        seconds = plan.seconds(rows, trained, sum(found["seconds"] for found in done.values()))
        result = plan.result(rows, trained, self.work[path])
        record = RunRecord(plan.study, plan.name, plan.identity(), rows, round(seconds, 1), environment, result=result)
        records.write(record, self.work[path].out)
        shutil.rmtree(self.work[path].checkpoints)
        self.report(f"{plan.name}: record written")


def _environment(plan: Plan, commit: str | None) -> dict:
    """What a record says of the machine that trained."""
    environment = records.environment(plan.device, commit, plan.arithmetic.precision)
    return environment | {"backend": kernel.resolve("auto", plan.device)}


@dataclass(frozen=True)
class _Task:
    """One piece, here or in another process."""

    plan: Plan
    work: Work
    piece: str
    seconds: float | None = None  # until the deadline, for a machine with another clock
    commit: str | None = None

    def elsewhere(self) -> _Task:
        """The same task for another machine."""
        left = None if self.work.deadline is None else self.work.deadline - time.monotonic()
        return replace(self, work=replace(self.work, deadline=None), seconds=left)

    def __call__(self) -> dict:
        work = self.work
        if self.seconds is not None:
            work = replace(work, deadline=time.monotonic() + self.seconds)
        work.seconds_left()  # nothing begins after the deadline
        work.checkpoints.mkdir(parents=True, exist_ok=True)
        begun = time.perf_counter()
        with FLOAT32.products():  # tables and scores, too
            found: dict = (
                {"result": self.plan.train(work)} if self.piece == TRAINING else
                {"rows": self.plan.measure(work, self.piece)}
            )  # fmt: skip
        if self.plan.trains(self.piece):  # it may be measured on another machine
            found["environment"] = _environment(self.plan, self.commit)
        return found | {"seconds": time.perf_counter() - begun}


def _say_nothing(line: str) -> None:
    """A worker's report: the run says what is done."""


# Processes ------------------------------------------------------------------------------------------------------------


def in_worker(task: Callable[[], object]) -> object:
    """Run a task on one thread; its error is made such that it reaches the process that waits for the result.

    An exception whose pickle cannot be read back would break the pool, and with it all other tasks.
    """
    torch.set_num_threads(1)
    try:
        return task()
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            kind = InputError if isinstance(error, InputError) else RuntimeError
            raise kind(f"{type(error).__name__}: {error}") from error
        raise


def follow() -> None:
    """What a worker begins with: Ctrl-C is left to the process that started it, and it ends when that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: no orphan writes into a study that was resumed
