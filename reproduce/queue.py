"""What a GPU is best used for, in order, within the minutes that there are.

A machine with a GPU is lent for minutes, and gives back a few files. So the queue trains, one plan after the other, the
most telling first; it pauses a training that does not end in time, and leaves what needs no GPU to another machine::

    python -m reproduce queue --device cuda --minutes 9 --parts parts    there: trains
    python -m reproduce queue --device cuda --measure --parts parts      here: measures files, and writes the records

``parts`` holds everything that is half done or made, in files of at most 15 MiB; what is in it at the start is put
back first. `ENTRIES` is the order.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from reproduce import estimates, records, runner
from reproduce.models import models_folder
from reproduce.runner import TRAINING, Plan, Request
from reproduce.studies import STUDIES
from sparsecomp.checks import in_range
from sparsecomp.training.loop import Paused

HEADS = ["study", "plan", "state", "minutes", "reads", "writes", "MiB to resume"]
LEAST_SECONDS = 45.0  # to read pictures, load or save a checkpoint, and take steps that are worth it
COMPILING_SECONDS = 120.0  # more, where networks are compiled before the first step
LAST_SECONDS = 75.0  # kept for the end: to score and store what has just been trained, and to pack
MOST_MIB = 60.0  # of files that are packed, so that they can travel


@dataclass(frozen=True)
class Entry:
    """Some plans of a study.

    Parameters
    ----------
    preset, study : str
    names : tuple of str
        Beginnings of the plans' names, in this order; all plans by default.
    """

    preset: str
    study: str
    names: tuple[str, ...] = ("",)


# Fitted networks at the length that was tuned; some as published; the two autoencoders; then what is left.
ENTRIES = (
    Entry("paper-fast", "coin"),
    Entry("paper-fast", "loonie"),
    Entry("paper", "coin", ("coin-10x28",)),
    Entry("paper", "loonie", ("nonzeros-0.3", "dense-0.3")),
    Entry("paper-fast", "cae", ("cae-high-seed-0",)),
    Entry("paper-fast", "cae_sparse", ("cae-l1-seed-0", "cae-bilevel-l11-seed-0", "cae-l1inf-seed-0")),
    Entry("paper-fast", "cae_variants", ("cae-l1inf-of-taps",)),
    Entry("paper", "cae_admm", (
        "code-unpruned", "code-keep-40", "code-keep-20", "code-keep-10-seed-0", "code-keep-5",
        "code-lambda-50", "code-lambda-150", "code-lambda-400-seed-0", "code-lambda-1000",
    )),
    Entry("paper-fast", "cae", ("cae-high",)),
    Entry("paper-fast", "cae_sparse", ("cae-bilevel-l11", "cae-l1-", "cae-l1inf", "cae-filters-then-l1-rewound")),
    Entry("paper-fast", "cae"),
    Entry("paper-fast", "cae_sparse"),
    Entry("paper-fast", "cae_released"),
    Entry("paper-fast", "cae_variants"),
    Entry("paper-fast", "cae_admm"),
    Entry("paper-fast", "cae_admm_variants"),
    Entry("paper", "loonie"),
    Entry("paper", "coin"),
    Entry("paper", "loonie_race"),
    Entry("paper", "cae_admm"),
    Entry("paper", "cae"),
    Entry("paper", "cae_sparse"),
    Entry("paper", "cae_variants"),
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """One plan of the queue, and where it stands.

    Attributes
    ----------
    plan : Plan
    seconds : float
        The estimate of what is left of its training.
    state : {"to do", "half done", "trained", "there"}
        "trained": the model is there, and its files are not measured yet.
    after : str
        The model that it begins from, where that is not there yet.
    """

    plan: Plan
    seconds: float
    state: str
    after: str = ""

    def row(self) -> list[str]:
        """What the queue says of it; the heads are `HEADS`."""
        cost, plan = self.plan.cost(), self.plan
        assert cost is not None  # `tasks` lists no others
        first, taught = getattr(plan, "first", None), getattr(plan, "train_on", None)
        reads = [taught, getattr(plan, "validate_on", None)] if taught else [getattr(plan, "pictures_of", None)]
        writes = f"record, model of {cost.model / 1e6:.1f} MB" if cost.model else "record"
        return [
            plan.study, plan.name, "waits" if self.after else self.state, f"{self.seconds / 60:.1f}",
            ", ".join(dict.fromkeys(filter(None, [*reads, first and first.stem]))), writes, f"{cost.saved / 2**20:.0f}",
        ]  # fmt: skip


def plans_of(request: Request, presets: Sequence[str] | None = None) -> Iterator[Plan]:
    """All plans of `ENTRIES` in order, each once; ``presets`` chooses some of the entries.

    A SIREN takes no bfloat16; where that is asked for, SIRENs are fitted in float32.
    """
    seen = set()
    for entry in ENTRIES:
        if presets and entry.preset not in presets:
            continue
        of = replace(request, preset=request.preset or entry.preset, planned=True)
        plans = STUDIES[entry.study](of)
        for plan in (plan for name in entry.names for plan in plans if plan.name.startswith(name)):
            if (plan.study, plan.name) not in seen and (cost := plan.cost()) is not None:
                seen.add((plan.study, plan.name))
                low = plan.arithmetic.precision == "bfloat16" and cost.kind.startswith("siren")
                yield replace(plan, arithmetic=replace(plan.arithmetic, precision="float32")) if low else plan


def tasks(request: Request, presets: Sequence[str] | None = None) -> list[Task]:
    """Where all plans of the queue stand."""
    speeds = estimates.read(request.out)
    return [_task(plan, request, speeds) for plan in plans_of(request, presets)]


def totals(found: Sequence[Task]) -> list[str]:
    """How much is done, and the minutes left of each preset."""
    there, lines = sum(task.state == "there" for task in found), []
    for preset in dict.fromkeys(task.plan.preset for task in found):
        left = sum(task.seconds for task in found if task.plan.preset == preset) / 60
        lines.append(f"preset {preset}: about {left:,.0f} minutes of training are left")
    return [f"{there} of {len(found)} records are there", *lines]


def _task(plan: Plan, request: Request, speeds: dict[str, float]) -> Task:
    path, cost = plan.path(request.out), plan.cost()
    assert cost is not None  # `plans_of` gives no others
    if path.exists():
        return Task(plan, 0.0, "there")
    seconds = estimates.seconds(cost, plan.device, plan.arithmetic, speeds)
    first = getattr(plan, "first", None)
    if first is not None and not first.exists():
        return Task(plan, seconds, "to do", first.stem)
    folder = path.parent / ".partial" / path.stem
    if (folder / f"{TRAINING}.json").exists():
        return Task(plan, 0.0, "trained")
    parts = max(1, sum(map(plan.trains, plan.pieces())))  # a fit of each picture, or one training before all pieces
    begun = [_progress(file)[0] / cost.steps for file in folder.glob("*.safetensors")]
    begun += [1.0] * len(list(folder.glob("*.json")))
    return Task(plan, seconds * max(0.0, 1 - sum(begun) / parts), "half done" if begun else "to do")


def _progress(checkpoint: Path) -> tuple[int, float]:
    """Steps and seconds of a training; zeros where its checkpoint cannot be read, which the training will say."""
    with suppress(OSError, SafetensorError, KeyError, TypeError, ValueError), safe_open(checkpoint, "pt") as file:
        state = json.loads(file.metadata()["about"])["state"]
        return state["done"], state["seconds"]
    return 0, 0.0


def run(
    request: Request,
    minutes: float,
    *,
    presets: Sequence[str] | None = None,
    stage: str = "train",
    workers: int = 1,
    parts: Path | None = None,
    most: float = MOST_MIB,
    commit: str | None = None,
    report: Callable[[str], None] = print,
) -> list[Task]:
    """Train, or measure, as much of the queue as the minutes allow; give what was worked on, as it stands then.

    A plan that fails is reported and left out, and the next one begins. Whatever ends this call, it packs first.

    Parameters
    ----------
    request : Request
        Its preset, if it has one, replaces the entries'.
    minutes : float
        Above 0. Trainings pause `LAST_SECONDS` earlier, so that all is written and packed about then.
    stage : {"train", "measure"}
    parts : Path, optional
        A folder: what is packed there is put back before, and what there is afterwards is packed there.
    most : float
        MiB that are packed. What goes beyond is named and stays here: first models, those that were made first.

    Raises
    ------
    ValueError
        If the parts are broken; nothing is trained then.
    """
    in_range("minutes", minutes, 0, ends="(]")
    begun, base = time.monotonic(), models_folder(request.out).parent
    if parts is not None and any(parts.glob(records.PARTS)):
        report(f"put back from {parts}: {len(records.unpack(parts, base))} files")

    def left() -> float:
        return 60 * minutes - LAST_SECONDS - (time.monotonic() - begun)

    states = ("to do", "half done") if stage == "train" else ("trained",)
    compiling = COMPILING_SECONDS if request.arithmetic and request.arithmetic.compiled else 0.0
    least = LEAST_SECONDS + compiling if stage == "train" else 0.0
    done: list[Task] = []
    waits: set[str] = set()
    try:
        for plan in plans_of(request, presets):
            if left() < least:
                report("the time is over; the same line continues")
                break
            task = _task(plan, request, estimates.read(request.out))
            if task.after:
                waits.add(task.after)
            # Every plan of the queue saves what it has, so it need not end in time.
            elif task.state in states:
                _do(task, request, left(), stage, workers, commit, report)
                done.append(_task(plan, request, estimates.read(request.out)))
        for first in sorted(waits):
            report(f"second descents wait for the model {first}, which is not here")
    finally:
        if parts is not None:
            _pack(parts, base, request, presets, most, report)
    return done


def _do(
    task: Task, request: Request, left: float, stage: str, workers: int, commit: str | None, report: Callable
) -> None:
    plan, cost, begun = task.plan, task.plan.cost(), time.monotonic()
    if plan.arithmetic.compiled:
        torch.compiler.reset()  # it gives up after a few networks of other sizes
    report(f"{plan.study} {plan.name}: {task.state}, about {task.seconds / 60:.1f} min")
    try:
        runner.run([plan], request.out, workers=workers, max_seconds=left, commit=commit, stage=stage, report=report)
    except Paused:
        report(f"{plan.study} {plan.name}: paused, and saved")
    except Exception as error:  # the next one may do, and what is made must be packed
        report(f"{plan.study} {plan.name}: failed, {type(error).__name__}: {' '.join(str(error).split())}")
        return
    if stage != "train" or cost is None:
        return
    # How long it took: of what ended here from its start, or of what paused, by its own count.
    folder = plan.path(request.out).parent / ".partial" / plan.path(request.out).stem
    paused = [_progress(file) for file in folder.glob("*.safetensors")]
    steps, seconds = (cost.steps, time.monotonic() - begun) if task.state == "to do" and not paused else (0, 0.0)
    if len(paused) == 1:
        steps, seconds = paused[0]
    if steps and seconds:
        first = estimates.seconds(cost, plan.device, plan.arithmetic, {}) * steps / cost.steps
        estimates.note(request.out, estimates.key(cost, plan.device, plan.arithmetic), seconds / first)


def _pack(
    parts: Path, base: Path, request: Request, presets: Sequence[str] | None, most: float, report: Callable
) -> None:
    """Pack what the queue's presets have made, whenever that was, up to ``most`` MiB."""
    chosen, size = [], 0.0
    for path in dict.fromkeys(_made(request, presets)):
        of = [file for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
        more = sum(file.stat().st_size for file in of) / 2**20
        if size + more > most:
            report(f"left here: {path.relative_to(base)}, {more:.1f} MiB; there would be more than {most:g} MiB")
        else:
            chosen.append(path)
            size += more
    packed = records.pack_into(parts, base, chosen)
    report(f"packed into {parts}: {len(packed)} parts, {sum(p.stat().st_size for p in packed) / 2**20:.1f} MiB")


def _made(request: Request, presets: Sequence[str] | None) -> Iterator[Path]:
    """Speeds, records, half-done work, and models from the last one made to the first."""
    out, studies = request.out, sorted({entry.study for entry in ENTRIES})
    of = sorted({request.preset} if request.preset else set(presets or (entry.preset for entry in ENTRIES)))
    yield from (path for path in [out / "speeds.json"] if path.exists())
    for kind in ("*-{}-*.json", ".partial/*-{}-*"):
        for study in studies:
            for preset in of:
                found = (out / study).glob(kind.format(preset))
                yield from (path for path in found if path.is_dir() or path.suffix == ".json")
    models = {path for preset in of for path in models_folder(out).glob(f"*-{preset}*.safetensors")}
    yield from sorted(models, key=lambda path: -path.stat().st_mtime)
