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
from sparsecomp.training.configs import REFERENCE, FitBudget
from sparsecomp.training.fit import fit

needs_compiler = pytest.mark.skipif(kernel.library() is None, reason="there is no C compiler")
BUDGET = FitBudget(steps=20, lr=2e-3, batch_pixels=1024, score_every=10)


@pytest.fixture
def small():
    return data.load_picture("chelsea")[60:124, 120:184]


def test_table_compares_whole_times_with_the_recorded_course(small, tmp_path):
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
    (record,) = [records.read(bench.write(table, tmp_path, seed=0))]
    assert record.wall_seconds == pytest.approx(table.wall_seconds, abs=0.06)


def test_a_fit_that_takes_too_long_is_given_up(small, monkeypatch):
    monkeypatch.setattr(bench, "GIVE_UP", 0.0)
    told = {"psnr": [1.0]}
    monkeypatch.setattr(bench, "fit", lambda *a, on_score, **k: on_score(10, told) or pytest.fail("it went on"))
    assert bench.seconds_to(5.0, small, BUDGET, "torch", seed=0) is None


def test_loonie_is_timed_until_a_file_within_the_budget_is_good_enough(small):
    """A score that no file within the budget has does not stop the clock."""
    budget = replace(BUDGET, steps=60, schedule="quadratic")
    architecture, method = bench.network(small, budget, "loonie")
    scores: list[float] = []
    (fitted,) = fit([small], architecture, budget, coordinates="coin", method=method, stop_at=12.0,
                    on_score=lambda step, found: scores.append(found["psnr"][0]))  # fmt: skip
    assert fitted.bits <= bench.LOONIE_BPP * 64 * 64 and fitted.step >= 48 and fitted.psnr >= 12.0
    assert max(scores[:4]) >= 12.0, "it was that good before, but no file yet"
    assert bench.seconds_to(12.0, small, budget, "torch", seed=0, mode="loonie") > 0
    assert bench.seconds_to(99.0, small, budget, "torch", seed=0, mode="loonie") is None


@needs_compiler
def test_compilation_is_counted(small, monkeypatch):
    kernel.library()
    compiled, run = [], kernel.subprocess.run
    monkeypatch.setattr(kernel.subprocess, "run", lambda *a, **k: compiled.append(a) or run(*a, **k))
    assert bench.seconds_to(5.0, small, BUDGET, "kernel", seed=0) > 0
    assert compiled


def test_the_readers_cache_is_as_before(monkeypatch, tmp_path):
    for before in (str(tmp_path), None):
        monkeypatch.setenv("SPARSECOMP_CACHE", before) if before else monkeypatch.delenv("SPARSECOMP_CACHE")
        with pytest.raises(KeyError), bench.fresh_kernel():
            inside = os.environ["SPARSECOMP_CACHE"]
            assert inside != before and Path(inside).is_dir()
            raise KeyError
        assert os.environ.get("SPARSECOMP_CACHE") == before and not Path(inside).exists()
    kernel.library.cache_clear()


@pytest.mark.parametrize("kodak", [True, False])
def test_targets_are_what_reference_has_at_400_and_800_steps(monkeypatch, small, kodak):
    seen = []
    monkeypatch.setattr(data, "available", lambda name: kodak)
    monkeypatch.setattr(data, "kodak", lambda: {"kodim15": small})
    monkeypatch.setattr(bench, "measure", lambda name, picture, course, of, seed: seen.append((name, course)))
    bench.bench_fit()
    ((name, course),) = seen
    targets = [course[step] for step in bench.TARGET_STEPS]
    assert (name, targets) == (("kodim15", [23.90, 26.31]) if kodak else ("chelsea", [26.09, 28.07]))


@needs_compiler
def test_recorded_course_of_chelsea_is_what_reference_does():
    budget = replace(REFERENCE, steps=100, score_every=100, start="random")
    (fitted,) = fit([data.load_picture("chelsea")], bench.ARCHITECTURE, budget, coordinates="coin", backend="kernel")
    assert fitted.psnr == pytest.approx(bench.CHELSEA_COURSE[100], abs=0.2)


def test_command_prints_ratios_and_dashes(capsys, monkeypatch):
    rows = (
        bench.Row("reference", "torch", "adam", 393216, 2300.0, (361.76, 723.5)),
        bench.Row("fast", "kernel", "soap", 8192, 410.4, (4.16, None)),
    )
    table = bench.Bench("kodim15", "of the official code", 4, (23.9, 26.31), rows, 5.0)
    monkeypatch.setattr(bench, "bench_fit", lambda seed: table)
    assert cli.main(["bench", "fit"]) == 0
    out = capsys.readouterr().out
    cells = [line.split() for line in out.splitlines() if line.split()[:1] in (["reference"], ["fast"])]
    assert cells[1] == ["fast", "kernel", "soap", "8,192", "410", "4.16", "-", "87x", "-"]
    assert "10x28 on kodim15, threads: 4" in out and "23.9 dB" in out and "26.31 dB" in out


# Projections ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def projected():
    return bench.bench_projections(seed=3, shape=(40, 10, 3, 3), rounds=3)


def test_every_projection_leaves_the_zeros_that_are_asked_for(projected):
    v = torch.randn(40, 10, 3, 3, generator=torch.Generator().manual_seed(3))
    assert [row.projection for row in projected.rows] == list(PROJECTIONS)
    for row in projected.rows:
        w = PROJECTIONS[row.projection](v, row.radius)
        zeros = float((w == 0).double().mean())
        assert row.sparsity == pytest.approx(zeros) and bench.SPARSITY <= zeros < bench.SPARSITY + 1 / 40
        assert row.dead == pytest.approx(sum(not filters.any() for filters in w) / 40)
        assert row.distance == pytest.approx(float((v - w).norm() / v.norm()), rel=1e-5)
        assert row.milliseconds > 0 and projected.ratio(row) == row.milliseconds / projected.sort
    assert projected.threads == torch.get_num_threads()


def test_bilevel_projections_are_compared_at_their_own_radius(projected):
    v = torch.randn(40, 10, 3, 3, generator=torch.Generator().manual_seed(3))
    rows = {row.projection: row for row in projected.rows}
    for name, exact in {"bilevel_l11": "l1", "bilevel_l1inf": "l1inf"}.items():
        near, far = ((PROJECTIONS[which](v, rows[name].radius) - v).norm() for which in (exact, name))
        assert rows[name].over_euclidean == pytest.approx(float(far / near), rel=1e-5) and far >= near
    assert [name for name, row in rows.items() if row.over_euclidean is None] == ["l1", "l1inf", "l21"]


def test_times_of_the_released_code_stand_only_beside_its_own_tensor(projected, monkeypatch):
    assert not any(row.released for row in projected.rows)
    monkeypatch.setattr(bench, "SHAPE", projected.shape)
    rows = bench.bench_projections(shape=projected.shape, rounds=1).rows
    assert [row.projection for row in rows if row.released] == ["l1", "bilevel_l11", "l1inf"]


def test_command_prints_projections_and_keeps_them(capsys, monkeypatch, projected, tmp_path):
    monkeypatch.setattr(bench, "bench_projections", lambda seed: projected)
    assert cli.main(["bench", "projections", "--seed", "3", "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = {line.split()[0]: line.split() for line in lines if line.split()[:1] and line.split()[0] in PROJECTIONS}
    assert list(cells) == list(PROJECTIONS) and "40x10x3x3" in lines[0] and "threads" in lines[0]
    for row in projected.rows:
        assert f"{projected.ratio(row):.2f}" in cells[row.projection]
        assert f"{100 * row.sparsity:.2f}" in cells[row.projection]
    (record,) = records.Records(tmp_path).find("bench", seed=3)
    assert [kept["projection"] for kept in record.rows] == list(PROJECTIONS)
    for kept, row in zip(record.rows, projected.rows, strict=True):
        assert kept["ratio"] == projected.ratio(row) and kept["radius"] == row.radius
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
        found = bench.relative_latency(
            lambda: call("a", 2e-6), lambda: call("b", 1e-6), repeats=repeats, warmup=warmup
        )  # fmt: skip
        assert "".join(calls) == "abbaabbaab"[: 2 * (repeats + warmup)]
        assert found == pytest.approx(expected) and found._fields == ("lower", "median", "upper")


@pytest.mark.parametrize("options", [{"repeats": 0}, {"warmup": -1}])
def test_relative_latency_refuses(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        bench.relative_latency(list, list, **options)
