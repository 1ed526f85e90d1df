"""Speed on this machine: what ``python -m reproduce bench fit`` and ``python -m reproduce bench projections`` measure.

The first is how much faster `fast` and `loonie` fit than `reference`. The time that `reference` (COIN's own way, in
plain PyTorch) needs to a PSNR is the number of steps it needs, which is the same on every machine and comes from a
record, times the seconds of one of its steps, which are measured here. The time that `fast` needs is measured whole:
compiling the kernel anew, preparing, stepping, scoring until the target is reached. `loonie` is the same for a file of
L0onie's codec: until one of at most 0.3 bpp (not more than COIN's) scores the target.

The second is the time of projections of a layer's weights, as a multiple of the time to sort them.

All that is compared uses the same number of threads in the same run; for a fair figure nothing else should be running.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from reproduce import records
from reproduce.figure_data import Entry, FigureData
from reproduce.records import Records
from sparsecomp import data
from sparsecomp.checks import whole
from sparsecomp.codecs.network import Loonie
from sparsecomp.models.siren import Architecture
from sparsecomp.options import as_dict
from sparsecomp.sparsify.projections import PROJECTIONS, radius_for_sparsity
from sparsecomp.training import kernel
from sparsecomp.training.configs import REFERENCE, FitBudget, sparsity_at
from sparsecomp.training.constrained_fit import ConstrainedFit
from sparsecomp.training.fit import Method, SirenTraining, fit, one_thread_of_torch

GIVE_UP = 120.0  # seconds: threads that wait for a core that another program has can be a hundred times slower
ARCHITECTURE = Architecture(10, 28)
TARGET_STEPS = (400, 800)  # the targets are the PSNR that `reference` has at these steps
# Chosen on chelsea, astronaut and coffee, each against its own course, where every one of three seeds reached both
# targets in at most 350 of these steps. This budget was not tried on kodim15 before it was fixed, but its parts were:
# the first trials of batch size, optimiser and rate, with which the engine began, were timed on kodim15.
FAST = FitBudget(steps=500, lr=2e-3, optimiser="soap", batch_pixels=8192, score_every=25)
# Of `loonie`, chosen on chelsea: with 300, 500 and 800 steps each of three seeds reached both targets. Its files are
# scored from four fifths of the steps on, so a long budget is a late answer.
LOONIE = FitBudget(steps=500, lr=2e-3, batch_pixels=8192, schedule="quadratic", score_every=25)
LOONIE_BPP = 0.3
# PSNR of `reference` on the bundled chelsea by step, seed 0: made once by this library with every pixel in every step.
CHELSEA_COURSE = {100: 17.75, 200: 22.39, 300: 24.79, 400: 26.09, 500: 27.01, 600: 27.56, 700: 27.95, 800: 28.07}


@dataclass(frozen=True)
class Row:
    """One way of fitting: nanoseconds a pixel and step, and seconds to each target (None: not reached, or given up)."""

    mode: str
    backend: str
    optimiser: str
    pixels: int
    nanoseconds: float
    seconds: tuple[float | None, ...]


@dataclass(frozen=True)
class Bench:
    """The table of `bench_fit`: ``rows[0]`` is `reference`, and the ratios are to it."""

    picture: str
    course: str
    threads: int
    targets: tuple[float, ...]
    rows: tuple[Row, ...]
    wall_seconds: float

    def ratios(self, row: Row) -> list[float | None]:
        """How many times less than `reference` a row needs to each target."""
        pairs = zip(self.rows[0].seconds, row.seconds, strict=True)
        return [reference / seconds if reference and seconds else None for reference, seconds in pairs]


def bench_fit(seed: int = 0) -> Bench:
    """Measure the table on kodim15, or on the bundled chelsea where Kodak is not at hand; about a minute."""
    if data.available("kodak"):
        rows = records.published("coin", where="course of a fit, kodim15")
        course = {int(row["x"]): row["value"] for row in rows}
        return measure("kodim15", data.kodak()["kodim15"], course, "of the official code", seed=seed)
    return measure("chelsea", data.load_picture("chelsea"), CHELSEA_COURSE, "of this library", seed=seed)


def measure(
    name: str,
    picture: np.ndarray,
    course: dict[int, float],
    course_of: str,
    *,
    seed: int = 0,
    budget: FitBudget = FAST,
    loonie: FitBudget = LOONIE,
    target_steps: tuple[int, ...] = TARGET_STEPS,
) -> Bench:
    """Time `reference`, then `fast` and `loonie`, and both without the kernel, as a machine without a compiler has it.

    Parameters
    ----------
    picture : uint8 array (H, W, 3)
    course : dict
        PSNR in dB of `reference` on this picture by step; ``target_steps`` are among its keys.
    course_of : str
        Whose record the course is, to be printed.
    budget, loonie : FitBudget
        Of `fast` and `loonie`.
    """
    begun = time.perf_counter()
    targets = tuple(course[step] for step in target_steps)
    seconds = seconds_per_step(picture, REFERENCE, "torch", steps=3, warmup=1)
    pixels = picture.shape[0] * picture.shape[1]
    needed = tuple(step * seconds for step in target_steps)
    rows = [Row("reference", "torch", REFERENCE.optimiser, pixels, 1e9 * seconds / pixels, needed)]
    for backend in ("kernel", "torch"):
        if backend == "kernel" and kernel.library() is None:
            continue  # no compiler: the last rows are all that there is
        for mode, steps in (("fast", budget), ("loonie", loonie)):
            reached = tuple(seconds_to(target, picture, steps, backend, seed, mode) for target in targets)
            each = seconds_per_step(picture, steps, backend, steps=11, warmup=20, mode=mode)
            batch = min(steps.batch_pixels or pixels, pixels)
            rows.append(Row(mode, backend, steps.optimiser, batch, 1e9 * each / batch, reached))
    return Bench(name, course_of, torch.get_num_threads(), targets, tuple(rows), time.perf_counter() - begun)


def network(
    picture: np.ndarray, budget: FitBudget, mode: str
) -> tuple[Architecture, Callable[[SirenTraining], Method]]:
    """What is fitted in a mode, and by which method."""
    if mode != "loonie":
        return ARCHITECTURE, Method
    game = sparsity_at("file", LOONIE_BPP, budget.steps)
    return Loonie().architecture_at(picture, LOONIE_BPP), partial(ConstrainedFit, bpp=LOONIE_BPP, sparsity=game)


def seconds_per_step(
    picture: np.ndarray, budget: FitBudget, backend: str, *, steps: int, warmup: int, mode: str = "fast"
) -> float:
    """Median seconds of one step: gradient and optimiser, no scoring."""
    architecture, method = network(picture, budget, mode)
    training = SirenTraining(
        [picture], architecture, budget, seeds=[0], coordinates="coin", backend=backend, method=method
    )
    times = []
    with one_thread_of_torch(backend == "kernel"):
        for _ in range(warmup + steps):
            begun = time.perf_counter()
            training.step()
            times.append(time.perf_counter() - begun)
    return float(np.median(times[warmup:]))


def seconds_to(
    target: float, picture: np.ndarray, budget: FitBudget, backend: str, seed: int, mode: str = "fast"
) -> float | None:
    """Seconds of a whole fit until what it would store is scored at ``target`` dB, compilation included.

    None if it never is, or not within `GIVE_UP` seconds.
    """

    def watch(step: int, scores: dict) -> None:
        if time.perf_counter() - begun > GIVE_UP:
            raise TimeoutError

    with fresh_kernel(), suppress(TimeoutError):
        begun = time.perf_counter()
        architecture, method = network(picture, budget, mode)
        (fitted,) = fit(
            [picture], architecture, budget, seeds=[seed], coordinates="coin", backend=backend, stop_at=target,
            on_score=watch, method=method,
        )  # fmt: skip
        if fitted.psnr >= target:
            return time.perf_counter() - begun
    return None


@contextmanager
def fresh_kernel() -> Iterator[None]:
    """A cache without a compiled kernel; the reader's own is as before when this ends."""
    before = os.environ.get("SPARSECOMP_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SPARSECOMP_CACHE"] = folder
        kernel.library.cache_clear()
        try:
            yield
        finally:
            kernel.library.cache_clear()
            if before is None:
                del os.environ["SPARSECOMP_CACHE"]
            else:
                os.environ["SPARSECOMP_CACHE"] = before


def write(bench: Bench, out: Path, seed: int) -> Path:
    """Keep the table as a run record, ``out/bench/fit-...json``: seconds of one run on one machine."""
    rows = []
    for row in bench.rows:
        ratios = bench.ratios(row)
        each = zip(bench.targets, row.seconds, ratios, strict=True)
        timed = [{"target": target, "seconds": seconds, "ratio": ratio} for target, seconds, ratio in each]
        rows.append({"picture": bench.picture, "mode": row.mode, "backend": row.backend, "optimiser": row.optimiser,
                     "pixels": row.pixels, "nanoseconds": row.nanoseconds, "reached": timed})  # fmt: skip
    config = {
        "profile": "bench", "seed": seed, "device": "cpu", "data": bench.picture, "pictures": 1,
        "threads": bench.threads,
        "architecture": str(ARCHITECTURE), "fit": as_dict(FAST), "loonie": as_dict(LOONIE),
        "loonie_bpp": LOONIE_BPP, "course": bench.course,
    }  # fmt: skip
    name = f"fit-{bench.picture}-{bench.threads}-threads"
    environment = records.environment("cpu")
    return records.write(records.RunRecord("bench", name, config, rows, round(bench.wall_seconds, 1), environment), out)


# Projections ----------------------------------------------------------------------------------------------------------

SHAPE, SPARSITY = (512, 512, 3, 3), 0.83  # a large layer, and the share of zeros of the paper's Table I
RELEASED = {"l1": "l1", "bilevel_l11": "l1,1", "l1inf": "l1,inf"}  # what the paper's code calls them
EUCLIDEAN = {"bilevel_l11": "l1", "bilevel_l1inf": "l1inf"}  # the projection onto the ball that a bilevel one ends in


@dataclass(frozen=True)
class Projected:
    """One projection at the radius that leaves the share of zeros.

    Attributes
    ----------
    sparsity, dead : float
        Shares of zeros, and of groups that are zero.
    distance : float
        ``||w - v|| / ||v||``.
    over_euclidean : float or None
        Of a bilevel one: its distance over that of the Euclidean projection onto the same ball, at least 1.
    released : float or None
        Milliseconds of the paper's code on another machine: to be shown, not counted.
    """

    projection: str
    milliseconds: float
    radius: float
    sparsity: float
    dead: float
    distance: float
    over_euclidean: float | None
    released: float | None


@dataclass(frozen=True)
class ProjectionBench:
    """The table of `bench_projections`; ``sort`` is the milliseconds of ``torch.sort`` of all entries."""

    shape: tuple[int, ...]
    threads: int
    sort: float
    rows: tuple[Projected, ...]

    def ratio(self, row: Projected) -> float:
        """Time of a projection as a multiple of sorting."""
        return row.milliseconds / self.sort


def bench_projections(seed: int = 0, *, shape: tuple[int, ...] = SHAPE, rounds: int = 9) -> ProjectionBench:
    """Time every projection of a normal tensor, in turn with a sort of it; medians over ``rounds``; about 10 s."""
    v = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    found = {name: radius_for_sparsity([v], SPARSITY, name) for name in PROJECTIONS}
    calls: dict[str, Callable[[], object]] = {"sort": lambda: torch.sort(v.flatten())}
    calls |= {name: partial(project, v, found[name][0]) for name, project in PROJECTIONS.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(1 + rounds):
        for name, call in calls.items():
            begun = time.perf_counter()
            call()
            times[name].append(1e3 * (time.perf_counter() - begun))
    each = {name: float(np.median(taken[1:])) for name, taken in times.items()}  # the first warms up
    printed = records.published("sparse_cae", metric="projection_ms") if shape == SHAPE else []
    released = {row["series"]: row["value"] for row in printed}
    rows = []
    for name, project in PROJECTIONS.items():
        radius, sparsity = found[name]
        w = project(v, radius)
        distance = float((w - v).norm())
        nearest = PROJECTIONS[EUCLIDEAN[name]](v, radius) if name in EUCLIDEAN else None
        rows.append(Projected(
            name, each[name], radius, sparsity, float((w.flatten(1) == 0).all(1).double().mean()),
            distance / float(v.norm()), None if nearest is None else distance / float((nearest - v).norm()),
            released.get(RELEASED.get(name)),
        ))  # fmt: skip
    return ProjectionBench(shape, torch.get_num_threads(), each["sort"], tuple(rows))


def write_projections(bench: ProjectionBench, out: Path, seed: int) -> Path:
    """Keep the table as a run record, ``out/bench/projections-...json``: milliseconds of one run on one machine."""
    rows = [asdict(row) | {"sort": bench.sort, "ratio": bench.ratio(row)} for row in bench.rows]
    config = {
        "profile": "bench", "seed": seed, "device": "cpu", "data": "normal", "pictures": 0, "threads": bench.threads,
        "shape": list(bench.shape), "asked": SPARSITY,
    }  # fmt: skip
    spent = sum(row.milliseconds for row in bench.rows) / 1e3
    name = f"projections-{bench.threads}-threads"
    return records.write(
        records.RunRecord("bench", name, config, rows, round(spent, 3), records.environment("cpu")), out
    )


# Two calls, in turn ------------------------------------------------------------------------------------------------


class Quartiles(NamedTuple):
    """A quarter of the values are below `lower`, half below `median`, three quarters below `upper`."""

    lower: float
    median: float
    upper: float


def relative_latency(
    a: Callable[[], object], b: Callable[[], object], *, repeats: int = 9, warmup: int = 1
) -> Quartiles:
    """How many times as long as one call of `b` a call of `a` takes: quartiles of the ratios of pairs of calls.

    The two are called in turn, first a then b, then b then a, and so on. What else a machine does slows both calls of a
    pair, and hardly changes their ratio, where two latencies measured one after the other would differ. Above 1, `b` is
    the quicker one: ``relative_latency(dense, pruned)`` is a speed-up.

    Parameters
    ----------
    a, b : functions without arguments; work queued on a CUDA device is waited for.
    repeats : pairs, >= 1. The lower and upper quartile say how far to trust the median.
    warmup : pairs before them that are not measured, >= 0.

    Raises
    ------
    ValueError : if `repeats` or `warmup` is out of range.
    """
    whole("repeats", repeats, 1)
    whole("warmup", warmup, 0)
    ratios = []
    for pair in range(warmup + repeats):
        if pair % 2:
            of_b, of_a = _seconds(b), _seconds(a)
        else:
            of_a, of_b = _seconds(a), _seconds(b)
        ratios.append(of_a / max(of_b, 1e-9))
    measured = torch.tensor(ratios[warmup:], dtype=torch.float64)
    return Quartiles(*measured.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist())


def _seconds(fn: Callable[[], object]) -> float:
    """Wall time of one call."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    start = time.perf_counter()
    fn()
    wait()
    return time.perf_counter() - start


# Data of tables -------------------------------------------------------------------------------------------------------

PROJECTION_NAMES = {
    "l1": "l1 (= l1,1)",
    "bilevel_l11": "bilevel l1,1 (Algorithm 1)",
    "l21": "l2,1",
    "l1inf": "l1,inf",
    "bilevel_l1inf": "bilevel l1,inf",
}


def bench_table(records: Records) -> FigureData:
    """Seconds to a PSNR on kodim15, 10x28: COIN's own way in PyTorch, the engine with and without its kernel.

    The seconds of COIN's own way are extrapolated: three timed steps times the steps of a recorded course.
    """
    record = max(records.at(None).some("bench", data="kodim15"), key=lambda r: r.config["threads"])
    rows = []
    for row in record.rows:
        shown = {
            "mode": f"{row['mode']}, {row['backend']}" + (", extrapolated" if row["mode"] == "reference" else ""),
            "optimiser": row["optimiser"],
            "pixels a step": f"{row['pixels']:,}",
            "ns a pixel and step": f"{row['nanoseconds']:,.0f}",
        }
        for reached in row["reached"]:
            missed = reached["seconds"] is None
            shown[f"s to {reached['target']:g} dB"] = "–" if missed else f"{reached['seconds']:,.1f}"
            shown[f"ratio, {reached['target']:g} dB"] = "–" if missed else f"{reached['ratio']:.0f}x"
        rows.append(shown | {"threads": record.config["threads"]})
    return FigureData(rows, [record])


def projections_table(records: Records) -> FigureData:
    """Milliseconds of each projection of a 512x512x3x3 tensor, as multiples of a sort, and what it leaves."""
    record = max(records.at(None).some("bench", data="normal"), key=lambda r: r.config["threads"])
    rows = [
        {
            "projection": PROJECTION_NAMES[row["projection"]],
            "ms": f"{row['milliseconds']:,.1f}",
            "times a sort": f"{row['ratio']:.2f}",
            "zeros": f"{100 * row['sparsity']:.1f} %",
            "dead filters": f"{100 * row['dead']:.1f} %",
            "distance to v, over |v|": f"{row['distance']:.3f}",
            "over the Euclidean one, same radius": f"{row['over_euclidean']:.3f}" if row["over_euclidean"] else "–",
            "released code, ms (shown, not counted)": f"{row['released']:,.0f}" if row["released"] else "–",
            "threads": record.config["threads"],
        }
        for row in record.rows
    ]
    return FigureData(rows, [record])


FIGURES = {
    "projections": Entry("Speed of the projections", projections_table, "bench", "bench projections"),
    "bench": Entry("Seconds to a PSNR", bench_table, "bench", "bench fit"),
}
