"""The queue of trainings for a GPU, rehearsed on a CPU; and the estimates and parts that it works with."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_studies import ORDER, plans, request, ticking, timeless, tiny
from tiny_studies import run as run_study

from reproduce import cli, estimates, queue, records, runner
from reproduce.estimates import Cost
from reproduce.papers import sparse_cae
from reproduce.runner import TRAINING, Plan
from reproduce.studies import STUDIES
from sparsecomp import data
from sparsecomp.training import loop
from sparsecomp.training.arithmetic import FLOAT32, Arithmetic
from sparsecomp.training.loop import Paused

HERE = Path(__file__).parent
# Checkpoints after every step, so that a kill finds one.
DRIVER = """
import sys
from tiny_studies import tiny
from reproduce import cli, queue
from sparsecomp.training import loop
with tiny() as patch:
    patch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    patch.setattr(queue, "ENTRIES", (queue.Entry("paper", "cae_admm_unpruned"), *queue.ENTRIES))
    sys.exit(cli.main(["queue", "--rehearse", "--commit", "abc", *sys.argv[1:]]))
"""
# In `tiny`, what is pruned is trained on from an unpruned model, which no preset of the queue has.
QUEUED = tuple(s for s in ORDER if s in {"cae_admm_unpruned", *(entry.study for entry in queue.ENTRIES)})


@pytest.fixture
def small():
    with tiny() as patch:
        yield patch


def start(*options: str) -> subprocess.Popen:
    path = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
    )  # fmt: skip


def killed_at(pattern: str, out: Path) -> None:
    """Run the queue until a file of this pattern is there, and kill it."""
    process = start("--out", str(out))
    while not list(out.glob(pattern)):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


def made_by(out: Path, study: str) -> dict[str, dict]:
    return {path.name: timeless(records.read(path)) for path in (out / study).glob("*.json")}


def test_queue_that_is_killed_twice_ends_with_the_records_of_the_studies(tmp_path, made):
    out, parts, elsewhere = tmp_path / "out", tmp_path / "parts", tmp_path / "elsewhere"
    killed_at("coin/.partial/*/*.safetensors", out)
    killed_at("cae_sparse/.partial/*/training.safetensors", out)
    done = start("--out", str(out), "--parts", str(parts))
    said = done.communicate()[0]
    assert done.returncode == 0 and "failed" not in said, said
    assert re.search(r"half done, about \d", said), "what was killed is continued"
    assert not list(out.glob("cae*/*.json")) and list(out.glob("coin/*.json")), "autoencoders are measured elsewhere"
    measured = start("--measure", "--out", str(elsewhere), "--parts", str(parts), "--workers", "1")
    said = measured.communicate()[0]
    assert measured.returncode == 0 and "put back from" in said and "failed" not in said, said
    for study in QUEUED:
        expected = made_by(made(study).out, study)
        assert expected and made_by(elsewhere, study) == expected, study


def test_queue_pauses_what_does_not_end_and_begins_nothing_that_could_not_save(small, tmp_path):
    ticking(small)
    small.setattr(queue, "time", runner.time)
    lines: list[str] = []
    asked = request(tmp_path, preset="smoke")
    found = queue.run(asked, (130 + queue.LAST_SECONDS) / 60, parts=tmp_path / "parts", report=lines.append)
    states = [task.state for task in found]
    assert states[-1] == "half done" and set(states[:-1]) <= {"there", "trained"}, "in order, and nothing after it"
    assert sum(line.endswith("paused, and saved") for line in lines) == 1 and lines[-1].startswith("packed into")
    assert estimates.read(tmp_path), "what paused corrects the estimates, too"
    (tmp_path / "speeds.json").unlink()
    every = queue.tasks(asked)
    half = every[len(found) - 1]
    assert [task.state for task in every[: len(found)]] == states and every[len(found)].state == "to do"
    fresh = {task.plan.name: task for task in queue.tasks(replace(asked, out=tmp_path / "new"))}
    assert half.seconds < fresh[half.plan.name].seconds
    lines.clear()
    few = (queue.LEAST_SECONDS + queue.LAST_SECONDS) / 60
    assert not queue.run(asked, few, report=lines.append), "too little time to save anything"
    assert lines == ["the time is over; the same line continues"]


def test_plan_that_fails_is_reported_and_the_next_begins(small, tmp_path):
    first, second = plans("coin", tmp_path)[0], plans("cae", tmp_path)[0]
    entries = queue.Entry("paper", "coin", (first.name,)), queue.Entry("paper", "cae", ("cae-high",))
    small.setattr(queue, "ENTRIES", entries)

    def fit(*of, **options):
        raise RuntimeError("CUDA out\nof memory")

    small.setattr("reproduce.papers.loonie.plans.fit", fit)
    lines: list[str] = []
    found = queue.run(request(tmp_path), 9, report=lines.append)
    assert f"coin {first.name}: failed, RuntimeError: CUDA out of memory" in lines
    assert [(task.plan.name, task.state) for task in found] == [(first.name, "to do"), (second.name, "trained")]


def test_whatever_ends_a_training_all_is_packed(small, tmp_path):
    entries = queue.Entry("paper", "coin"), queue.Entry("paper", "cae", ("cae-high", "cae-low"))
    small.setattr(queue, "ENTRIES", entries)
    small.setattr("reproduce.papers.loonie.plans.fit", lambda *of, **options: {}["key"])
    real = sparse_cae.CaeTraining.step

    def step(training):
        if training.descent.lam == 1.0 and training.done == 1:
            raise KeyboardInterrupt
        return real(training)

    small.setattr(sparse_cae.CaeTraining, "step", step)
    lines: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        queue.run(request(tmp_path / "out"), 9, parts=tmp_path / "parts", report=lines.append)
    assert sum("failed, KeyError: 'key'" in line for line in lines) == 2
    assert "packed into" in lines[-1]
    records.unpack(tmp_path / "parts", tmp_path / "new")
    names = {path.name for path in (tmp_path / "new").rglob("*") if path.is_file()}
    assert {"training.json", "cae-high-seed-0-bundled-smoke.safetensors"} <= names


def test_what_is_too_much_to_travel_is_named_and_the_last_models_go(small, tmp_path):
    small.setattr(queue, "ENTRIES", (queue.Entry("paper", "cae", ("cae-high", "cae-low")),))
    lines: list[str] = []
    queue.run(request(tmp_path / "out"), 9, parts=tmp_path / "parts", most=0.3, report=lines.append)
    (line,) = [line for line in lines if line.startswith("left here")]
    assert "models/cae-high-seed-0-bundled-smoke.safetensors" in line and "more than 0.3 MiB" in line
    records.unpack(tmp_path / "parts", tmp_path / "new")
    assert [path.stem for path in (tmp_path / "new").rglob("*.safetensors")] == ["cae-low-seed-0-bundled-smoke"]


def test_sirens_are_fitted_in_float32_where_bfloat16_is_asked_for(small, tmp_path):
    asked = replace(request(tmp_path), arithmetic=Arithmetic("bfloat16", compiled=True))
    found = {plan.study: plan.arithmetic for plan in queue.plans_of(asked)}
    assert found["coin"] == Arithmetic(compiled=True) and found["cae"] == asked.arithmetic
    names = [plan.model_file.stem for plan in queue.plans_of(asked) if plan.study == "cae"]
    assert all(name.endswith("-smoke-bfloat16-compiled") for name in names)


def test_dry_run_needs_no_gpu_and_leaves_nothing(capsys, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main("queue --rehearse --device cuda --precision tf32 --dry-run --out runs".split()) == 0
    out = capsys.readouterr().out
    assert "preset smoke: about" in out and "0 of" in out and "waits" in out
    assert all(f"{entry.study} " in out for entry in queue.ENTRIES) and not list(tmp_path.iterdir())
    for command, message in (
        ("queue --device cuda --out runs", "PyTorch sees 0 CUDA devices here"),
        ("queue --minutes 0 --out runs", "minutes must be a finite number above 0"),
        ("queue --preset laptop --out runs", "preset must be one of paper-fast, paper"),
    ):
        assert cli.main(command.split()) != 0
        assert message in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.skipif(not (data.available("kodak") and data.available("bsds500")), reason="needs Kodak and BSDS500")
def test_every_entry_names_plans_and_every_preset_is_estimated():
    asked = runner.Request("", Path("no such folder"), "cuda")
    for entry in queue.ENTRIES:
        names = [plan.name for plan in STUDIES[entry.study](replace(asked, preset=entry.preset, planned=True))]
        assert all(any(name.startswith(begins) for name in names) for begins in entry.names), entry
    found = queue.tasks(asked)
    assert {task.plan.preset for task in found} == {"paper-fast", "paper"}
    assert all(0.1 < task.seconds / 60 < 1000 and not task.state.startswith("half") for task in found)
    assert [task.plan.study for task in found][:5] == ["coin"] * 5, "fitted networks come first"


# Where a record is made in two places ---------------------------------------------------------------------------------


def test_record_names_the_machine_that_trained(small, tmp_path, monkeypatch):
    monkeypatch.setattr(Plan, "on_device", lambda plan, piece: plan.trains(piece))
    (plan, *_) = plans("cae", tmp_path)
    monkeypatch.setattr(records, "device_name", lambda device: "a GPU")
    assert runner.run([plan], tmp_path, stage="train", commit="there", report=lambda line: None)
    assert not plan.path(tmp_path).exists()
    monkeypatch.setattr(records, "device_name", lambda device: "a CPU")
    monkeypatch.setattr(type(plan), "train", lambda plan, work: pytest.fail("trained again"))
    runner.run([plan], tmp_path, stage="measure", commit="here", report=lambda line: None)
    found = records.read(plan.path(tmp_path)).environment
    assert (found["device_name"], found["commit"]) == ("a GPU", "there")


def test_model_that_another_training_has_overwritten_is_not_measured(small, tmp_path):
    first, other, *_ = plans("cae", tmp_path)
    runner.run([first, other], tmp_path, stage="train", report=lambda line: None)
    assert not list(tmp_path.rglob("training.safetensors")), "a finished training needs no checkpoint"
    first.model_file.write_bytes(other.model_file.read_bytes())
    with pytest.raises(ValueError, match=rf"^model {first.model_file.stem} is \w+, not \w+, which this plan trained$"):
        runner.run([first], tmp_path, stage="measure", report=lambda line: None)


def test_nothing_is_measured_that_was_not_trained(small, tmp_path):
    every = plans("cae", tmp_path)
    lines: list[str] = []
    runner.run(every, tmp_path, stage="measure", report=lines.append)
    assert not lines and not list(tmp_path.rglob("*.json"))


# Estimates ------------------------------------------------------------------------------------------------------------


def test_estimate_is_the_slower_of_work_and_memory_and_what_is_launched():
    cost, speeds = Cost("siren adam", 100, macs=1e12, bytes=1e9, kernels=10, saved=0), {}
    machine = estimates.MACHINES["cuda"]

    def of(cost: Cost, arithmetic: Arithmetic = FLOAT32, device: str = "cuda:1") -> float:
        return estimates.seconds(cost, device, arithmetic, speeds)

    assert of(cost) == pytest.approx(100 * (2e12 / machine.rates["float32"] + 10 * machine.launch))
    assert of(cost, Arithmetic("bfloat16")) == pytest.approx(100 * (2e12 / machine.rates["bfloat16"] + 8e-5))
    moved = replace(cost, macs=0.0, bytes=1e12)
    assert of(moved) == pytest.approx(100 * (1e12 / machine.bandwidth + 8e-5))
    assert of(moved, Arithmetic(compiled=True)) == pytest.approx(of(moved) / 2)
    speeds["siren adam cuda float32"] = 3.0
    assert of(replace(cost, steps=200)) == pytest.approx(6 * estimates.seconds(cost, "cuda", FLOAT32, {}))
    assert of(cost, device="cpu") == estimates.seconds(cost, "cpu", FLOAT32, {}), "another device has its own"


def test_what_a_plan_took_corrects_the_estimates_of_its_kind(small, tmp_path):
    small.setattr(queue, "ENTRIES", (queue.Entry("paper", "cae", ("cae-high", "cae-low")),))
    clock = itertools.count(step=1.0)
    small.setattr(queue, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    asked, lines = request(tmp_path), []
    before = {task.plan.name: task.seconds for task in queue.tasks(asked)}
    (trained, *_) = queue.run(asked, (queue.LEAST_SECONDS + queue.LAST_SECONDS + 4) / 60, report=lines.append)
    every = queue.tasks(asked)
    (other,) = [task for task in every if task.state == "to do"]
    assert trained.state == "trained" and trained.plan.name != other.plan.name
    (ratio,) = estimates.read(tmp_path).values()
    assert ratio == pytest.approx(1.0 / before[trained.plan.name], rel=1e-3), "one look at the clock is a second"
    assert other.seconds == pytest.approx(before[other.plan.name] * ratio, rel=1e-3)


@pytest.mark.parametrize("study", ["coin", "cae", "cae_admm"])
def test_checkpoints_are_as_large_as_was_said(study, small, tmp_path):
    small.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    if study == "cae_admm":
        run_study("cae_admm_unpruned", tmp_path)
    plan = max(plans(study, tmp_path), key=lambda plan: plan.cost().saved)
    ticking(small)
    with pytest.raises(Paused):
        runner.run([plan], tmp_path, max_seconds=6, report=lambda line: None)
    (path,) = (tmp_path / study).glob(".partial/*/*.safetensors")
    share = len(plan.shown()) if study == "coin" else 1  # on a CPU a fit has one picture
    assert path.stat().st_size * share == pytest.approx(plan.cost().saved, rel=0.4)


# Parts ----------------------------------------------------------------------------------------------------------------


def test_parts_are_put_back_but_for_what_is_newer(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "PART_BYTES", 500)
    base, parts, other = tmp_path / "base", tmp_path / "parts", tmp_path / "other"
    content = {name: os.urandom(700) for name in ("runs/coin/a.json", "runs/coin/.partial/b", "models/c.safetensors")}
    for name, data_ in content.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_bytes(data_)
    packed = records.pack_into(parts, base, [base / "runs", base / "models", base / "absent"])
    assert len(packed) > 4 and all(path.stat().st_size <= 500 for path in packed)
    newer, older = other / "runs/coin/a.json", other / "runs/coin/.partial/b"
    for path, age in ((newer, 100), (older, -100)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"another")
        os.utime(path, (time.time() + age,) * 2)
    written = records.unpack(parts, other)
    assert sorted(written) == sorted([older, other / "models/c.safetensors"]) and newer.read_bytes() == b"another"
    assert older.read_bytes() == content["runs/coin/.partial/b"]
    assert records.unpack(parts, other) == [], "what is there stays"


def test_parts_that_are_no_whole_archive_or_lead_elsewhere_write_nothing(tmp_path, monkeypatch):
    base, parts, inside = tmp_path / "base", tmp_path / "parts", tmp_path / "safe" / "inside"
    (base / "runs").mkdir(parents=True)
    (base / "runs" / "a").write_bytes(os.urandom(3000))
    (path,) = records.pack_into(parts, base, [base / "runs"])
    whole = path.read_bytes()
    for broken in (b"", whole[:1000], b"no archive" * 10):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match="are no whole archive"):
            records.unpack(parts, inside)
    path.write_bytes(whole)
    monkeypatch.setattr(Path, "relative_to", lambda path, base: Path("../..") / path.name)
    records.pack_into(parts, base, [base / "runs"])
    monkeypatch.undo()
    with pytest.raises(ValueError, match="are no whole archive"):
        records.unpack(parts, inside)
    assert not (tmp_path / "safe").exists() and TRAINING
