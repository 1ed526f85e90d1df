"""`python -m reproduce bench` on a few steps of a small picture, and on small tensors; in earnest it takes a minute."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reproduce import bench, cli, records
from sparsecomp import data
from sparsecomp.sparsify.projections import PROJECTIONS
from sparsecomp.training import kernel
from sparsecomp.training.configs import FitBudget
from sparsecomp.training.fit import fit

needs_compiler = pytest.mark.skipif(kernel.library() is None, reason="there is no C compiler")
BUDGET = FitBudget(steps=20, lr=2e-3, batch_pixels=1024, score_every=10)


@pytest.fixture
def small():
    return data.load_picture("chelsea")[60:124, 120:184]


def test_measure_compares_whole_times_with_the_recorded_course(small, tmp_path):
    course = {100: 5.0, 200: 99.0}
    budgets = {"budget": BUDGET, "loonie": replace(BUDGET, schedule="quadratic")}
    table = bench.measure("small", small, course, "of a test", **budgets, target_steps=(100, 200))
    reference, *fast = table.rows
    backends = ["kernel", "torch"] if kernel.library() else ["torch"]
    assert [(row.mode, row.backend) for row in fast] == [(m, b) for b in backends for m in ("fast", "loonie")]
    assert table.targets == (5.0, 99.0)
    each = reference.nanoseconds * reference.pixels / 1e9
    assert reference.seconds == pytest.approx((100 * each, 200 * each)) and table.ratios(reference) == [1, 1]
    for row in fast:
        assert row.pixels == 1024 and row.nanoseconds > 0
        assert row.seconds[0] > 0 and row.seconds[1] is None, "99 dB are never reached, and that is said"
        assert table.ratios(row) == [pytest.approx(reference.seconds[0] / row.seconds[0]), None]
    assert table.wall_seconds > sum(row.seconds[0] for row in fast), "what never reached 99 dB took time, too"
    record = records.read(bench.write(table, tmp_path, seed=0))
    assert record.wall_seconds == pytest.approx(table.wall_seconds, abs=0.06)


def test_seconds_to_of_loonie_are_until_a_file_within_the_budget_is_good_enough(small):
    """A score that no file within the budget has does not stop the clock."""
    budget = replace(BUDGET, steps=60, schedule="quadratic")
    architecture, method = bench.network(small, budget, "loonie")
    scores: list[float] = []
    (fitted,) = fit([small], architecture, budget, coordinates="coin", method=method, stop_at=12.0,
                    on_score=lambda step, found: scores.append(found["psnr"][0]))  # fmt: skip
    assert fitted.bits <= bench.LOONIE_BPP * 64 * 64 and fitted.step >= 48 and fitted.psnr >= 12.0
    assert max(scores[:4]) >= 12.0, "it was that good before, but no file yet"
    assert bench.seconds_to(12.0, small, budget, "torch", seed=0, mode="loonie") > 0


@needs_compiler
def test_seconds_to_count_the_compilation(small, monkeypatch):
    kernel.library()
    compiled, run = [], kernel.subprocess.run
    monkeypatch.setattr(kernel.subprocess, "run", lambda *a, **k: compiled.append(a) or run(*a, **k))
    assert bench.seconds_to(5.0, small, BUDGET, "kernel", seed=0) > 0
    assert compiled


def test_fresh_kernel_leaves_the_readers_cache_as_before(monkeypatch, tmp_path):
    for before in (str(tmp_path), None):
        monkeypatch.setenv("SPARSECOMP_CACHE", before) if before else monkeypatch.delenv("SPARSECOMP_CACHE")
        with pytest.raises(KeyError), bench.fresh_kernel():
            inside = os.environ["SPARSECOMP_CACHE"]
            assert inside != before and Path(inside).is_dir()
            raise KeyError
        assert os.environ.get("SPARSECOMP_CACHE") == before and not Path(inside).exists()
    kernel.library.cache_clear()


# Projections ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def projected():
    return bench.bench_projections(seed=3, shape=(40, 10, 3, 3), rounds=3)


def test_bench_projections_are_at_the_radius_that_leaves_the_zeros(projected):
    v = torch.randn(40, 10, 3, 3, generator=torch.Generator().manual_seed(3))
    assert [row.projection for row in projected.rows] == list(PROJECTIONS)
    nearest = {"bilevel_l11": "l1", "bilevel_l1inf": "l1inf"}
    for row in projected.rows:
        w = PROJECTIONS[row.projection](v, row.radius)
        zeros = float((w == 0).double().mean())
        assert row.sparsity == pytest.approx(zeros) and bench.SPARSITY <= zeros < bench.SPARSITY + 1 / 40
        assert row.dead == pytest.approx(sum(not filters.any() for filters in w) / 40)
        assert row.distance == pytest.approx(float((v - w).norm() / v.norm()), rel=1e-5)
        assert row.milliseconds > 0 and projected.ratio(row) == row.milliseconds / projected.sort
        if row.projection in nearest:
            near = (PROJECTIONS[nearest[row.projection]](v, row.radius) - v).norm()
            assert row.over_euclidean == pytest.approx(float((w - v).norm() / near), rel=1e-5)
        else:
            assert row.over_euclidean is None


def test_bench_projections_prints_them_and_keeps_them(capsys, monkeypatch, projected, tmp_path):
    monkeypatch.setattr(bench, "bench_projections", lambda seed: projected)
    assert cli.main(["bench", "projections", "--seed", "3", "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = {line.split()[0]: line.split() for line in lines if line.split()[:1] and line.split()[0] in PROJECTIONS}
    (record,) = records.Records(tmp_path).find("bench", seed=3)
    assert list(cells) == list(PROJECTIONS) and "40x10x3x3" in lines[0] and "threads" in lines[0]
    for row, kept in zip(projected.rows, record.rows, strict=True):
        assert f"{projected.ratio(row):.2f}" in cells[row.projection]
        assert f"{100 * row.sparsity:.2f}" in cells[row.projection]
        assert (kept["projection"], kept["ratio"], kept["radius"]) == (
            row.projection, projected.ratio(row), row.radius)  # fmt: skip
    assert cli.main(["bench", "projections", "--out", str(tmp_path / "nowhere")]) == 2
    assert "there is no such folder" in capsys.readouterr().err


def test_relative_latency_is_that_of_pairs(monkeypatch):
    """Over five pairs the machine becomes ten times as slow, and a always takes twice as long as b, but for once."""
    now, calls = [0.0], []

    def call(name: str, seconds: float) -> None:
        slower = 10 ** (len(calls) // 2 / 4)  # the same for both calls of a pair
        calls.append(name)
        now[0] += seconds * slower * (3 if len(calls) == 3 else 1)  # the third call is b's, in the second pair

    monkeypatch.setattr(bench.time, "perf_counter", lambda: now[0])
    for repeats, warmup, expected in ((5, 0, (2, 2, 2)), (2, 1, (1, 4 / 3, 5 / 3)), (1, 0, (2, 2, 2))):
        calls.clear()
        pair = (lambda: call("a", 2e-6), lambda: call("b", 1e-6))
        found = bench.relative_latency(*pair, repeats=repeats, warmup=warmup)
        assert "".join(calls) == "abbaabbaab"[: 2 * (repeats + warmup)]
        assert found == pytest.approx(expected) and found._fields == ("lower", "median", "upper")
