from __future__ import annotations

import math
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sparsecomp.training.running import Paused

from sparsecomp import codecs, metrics
from sparsecomp.codecs.network import Coin
from sparsecomp.models.siren import Architecture, initial_parameters, render
from sparsecomp.profiles import FitBudget
from sparsecomp.training import fit as engine_module
from sparsecomp.training import kernel, running
from sparsecomp.training.fit import Engine, fit, fit_set, stratified_order

SMALL = Architecture(3, 10)
FAST = FitBudget(steps=60, lr=5e-3, batch_pixels=256, score_every=20)
needs_compiler = pytest.mark.skipif(kernel.library() is None, reason="no C compiler here")
BACKENDS = [pytest.param("kernel", marks=needs_compiler), "torch"]
BUDGETS = [
    pytest.param(replace(FAST, optimiser=optimiser, batch_pixels=pixels), id=f"{optimiser}-{pixels or 'all'}")
    for optimiser in ("adam", "soap")
    for pixels in (256, None)
]


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth waves of colour: a small network can learn them."""
    generator = np.random.default_rng(seed)
    slopes = generator.uniform(0.05, 0.3, (3, 2))
    y, x = np.mgrid[:height, :width]
    waves = [127 + 90 * np.sin(a * y + b * x + seed) for a, b in slopes]
    return np.stack(waves, axis=-1).round().astype(np.uint8)


THREE = [picture(24, 32, seed) for seed in range(3)]


def assert_same(one, other) -> None:
    """Two results are the same to the last bit, all but the seconds."""
    assert torch.equal(one.parameters, other.parameters)
    assert (one.psnr, one.step, one.history, one.restarts) == (other.psnr, other.step, other.history, other.restarts)


class HereAndNow:
    """Stands in for a pool of processes and does the work at once."""

    def __init__(self, workers, **options):
        self.workers = workers

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False

    def submit(self, function, *arguments):
        future = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


@pytest.fixture
def clock(monkeypatch):
    """Time that goes on by one second with every look at it, so that pauses come at known steps."""
    now = iter(range(10**9))
    ticking = SimpleNamespace(perf_counter=lambda: next(now), monotonic=lambda: next(now))
    monkeypatch.setattr(running, "time", ticking)
    monkeypatch.setattr(engine_module, "time", ticking)


# Same bits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("budget", BUDGETS)
def test_a_batch_is_its_fits_one_by_one(budget, backend):
    together = fit(THREE, SMALL, budget, seeds=[5, 6, 6], backend=backend)
    for image, seed, result in zip(THREE, (5, 6, 6), together, strict=True):
        (alone,) = fit([image], SMALL, budget, seeds=[seed], backend=backend)
        assert_same(result, alone)
        assert result.psnr > result.history[0][1] - 1e-3 and result.psnr > 12
    other = fit([THREE[0]], SMALL, budget, seeds=[8], backend=backend)[0]
    assert not torch.equal(other.parameters, together[0].parameters), "the seed changes nothing"


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_fit_paused_at_every_step_is_one_never_stopped(budget, tmp_path, monkeypatch):
    whole = fit(THREE[:2], SMALL, budget, seeds=[0, 1])
    path, pauses = tmp_path / "deeper" / "fit.safetensors", 0
    while True:
        try:
            paused = fit(THREE[:2], SMALL, budget, seeds=[0, 1], checkpoint=path, max_seconds=0)
            break
        except Paused:
            pauses += 1
            assert path.exists()
    assert pauses == budget.steps - 1
    for one, other in zip(paused, whole, strict=True):
        assert_same(one, other)
    monkeypatch.setattr(Engine, "advance", None)  # asked again, a finished fit takes no step
    for one, other in zip(fit(THREE[:2], SMALL, budget, seeds=[0, 1], checkpoint=path), whole, strict=True):
        assert_same(one, other)


def test_restarts_survive_a_pause(tmp_path, clock):
    wild = FitBudget(steps=420, lr=0.9, optimiser="adam", batch_pixels=256, schedule="constant", score_every=30)
    (whole,) = fit([THREE[0]], SMALL, wild)
    assert whole.restarts, "this rate should make it collapse"
    pauses = 0
    while True:
        try:
            (result,) = fit([THREE[0]], SMALL, wild, checkpoint=tmp_path / "fit", max_seconds=50)
            break
        except Paused:
            pauses += 1
    assert pauses > 4
    assert_same(result, whole)


@needs_compiler
@pytest.mark.parametrize("optimiser", ["adam", "soap"])
def test_a_fit_does_not_depend_on_the_number_of_threads(optimiser):
    image, budget, before = picture(130, 300), replace(FAST, steps=25, optimiser=optimiser), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            found += fit([image], Architecture(5, 20), replace(budget, batch_pixels=16384))
    finally:
        torch.set_num_threads(before)
    for result in found[1:]:
        assert torch.equal(result.parameters, found[0].parameters) and result.history == found[0].history


@needs_compiler
@pytest.mark.parametrize("pixels", [256, None])
def test_kernel_and_pytorch_take_the_same_way(pixels):
    """By Adam: the null spaces of a young SOAP are at the mercy of rounding."""
    budget = replace(FAST, steps=12, score_every=4, optimiser="adam", batch_pixels=pixels)
    (by_kernel,), (by_torch,) = (fit([THREE[1]], SMALL, budget, backend=b) for b in ("kernel", "torch"))
    assert [step for step, _ in by_kernel.history] == [4, 8, 12]
    for (_, one), (_, other) in zip(by_kernel.history, by_torch.history, strict=True):
        assert one == pytest.approx(other, abs=0.05)


# What is kept ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coordinates", ["per_axis", "coin"])
def test_the_state_kept_is_the_one_whose_file_is_best(coordinates):
    restless = FitBudget(steps=200, lr=0.03, optimiser="adam", batch_pixels=None, schedule="constant", score_every=10)
    results = fit([THREE[2]] * 4, SMALL, restless, seeds=range(4), coordinates=coordinates)
    assert any(result.psnr > result.history[-1][1] + 1 for result in results), "the last is the best: nothing is tested"
    for result in results:
        best_step, best = max(result.history, key=lambda point: point[1])
        assert len(result.history) == 20
        assert result.step == best_step and result.psnr == pytest.approx(best, abs=1e-3)
        shown = codecs.decode(Coin.write(SMALL, result.parameters, 24, 32, coordinates))
        assert metrics.psnr(reference=THREE[2], reconstruction=shown) == pytest.approx(result.psnr, abs=0.01)
        assert result.parameters.dtype == torch.float16


def test_scores_are_of_fp16_parameters_and_8_bit_colours():
    """A picture that the stored network draws exactly has a perfect score; colours not rounded stop at 59 dB."""
    parameters = initial_parameters(SMALL, 1) * 3
    parameters[-3:] = 0.5
    drawn = render(SMALL, parameters.half().float(), 24, 32).numpy()
    assert (render(SMALL, parameters, 24, 32).numpy() != drawn).mean() > 0.1, "fp16 makes no difference"
    engine = Engine([drawn], SMALL, FAST, seeds=[0])
    engine.parameters[0] = parameters
    (score,) = engine.score()
    assert score > 70, "kernel and PyTorch may round a colour or two apart, not more"
    assert torch.equal(engine.results()[0].parameters, parameters.half())


def test_scores_are_those_of_the_file():
    engine = Engine([THREE[0]], SMALL, FAST, seeds=[0])
    engine.parameters[0, -3:] = torch.tensor([3.0, -2.0, 0.5])  # far outside of what a screen shows
    (score,) = engine.score()
    shown = render(SMALL, engine.parameters[0].half().float(), 24, 32).numpy()
    assert score == pytest.approx(metrics.psnr(reference=THREE[0], reconstruction=shown), abs=1e-3)
    assert torch.equal(engine.results()[0].parameters, engine.parameters[0].half())


def test_first_values():
    for start in ("mean", "random"):
        engine = Engine(THREE[:2], SMALL, replace(FAST, start=start), seeds=[3, 4])
        for row, image, seed in zip(engine.parameters, THREE, (3, 4), strict=False):
            drawn = initial_parameters(SMALL, seed)
            assert torch.equal(row[:-3], drawn[:-3])
            expected = image.reshape(-1, 3).mean(0) / 255 if start == "mean" else drawn[-3:].numpy()
            np.testing.assert_allclose(row[-3:].numpy(), expected, atol=1e-6)


def test_learning_rates_rise_and_fall():
    budget = FitBudget(steps=100, lr=0.01, warmup=10, schedule="cosine")
    engine = Engine(THREE[:2], SMALL, budget, seeds=[0, 0])
    engine.fits[1].start, engine.fits[1].rate = 40, 0.5
    found = {}
    for engine.step in (0, 9, 40, 50, 99):
        found[engine.step] = engine._learning_rates()[:, 0].tolist()
    cosine = lambda part: 0.5 + 0.5 * math.cos(math.pi * part)  # noqa: E731
    assert found[0][0] == pytest.approx(0.001)
    assert found[9][0] == pytest.approx(0.01 * cosine(0.09))
    assert found[50] == pytest.approx([0.005, 0.005 * cosine(10 / 60)])
    assert found[40][1] == pytest.approx(0.0005), "a restarted fit warms up again"
    assert found[99][0] < 1e-5 and found[99][1] < 1e-5
    flat = Engine(THREE[:1], SMALL, replace(budget, schedule="constant", warmup=0), seeds=[0])
    flat.step = 99
    assert flat._learning_rates().tolist() == [[pytest.approx(0.01)]]


def test_the_fast_way_is_good():
    (result,) = fit([THREE[0]], SMALL, FitBudget(steps=400, lr=5e-3, batch_pixels=256, score_every=100))
    assert result.psnr > 20, "a tiny network learns these waves"
    assert result.restarts == []


# Collapses ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimiser", ["adam", "soap"])
def test_a_collapse_is_noticed_restarted_and_recorded(optimiser):
    wild = FitBudget(steps=900, lr=0.5, optimiser=optimiser, batch_pixels=256, schedule="constant", score_every=50)
    together = fit(THREE, SMALL, wild, seeds=[0, 1, 2])
    for image, seed, result in zip(THREE, (0, 1, 2), together, strict=True):
        assert result.restarts, "this rate should make it collapse"
        rates = [restart["lr"] for restart in result.restarts]
        assert rates == [0.5 / 2 ** (n + 1) for n in range(len(rates))]
        assert all(restart["from"] in ("new", "best") and restart["step"] % 50 == 0 for restart in result.restarts)
        assert result.parameters.isfinite().all() and math.isfinite(result.psnr)
        assert_same(result, fit([image], SMALL, wild, seeds=[seed])[0])


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30, 0.0])
@pytest.mark.parametrize("optimiser", ["adam", "soap"])
def test_the_neighbours_of_a_collapse_notice_nothing(optimiser, value):
    budget = replace(FAST, steps=120, optimiser=optimiser)
    harmed, calm = (Engine(THREE, SMALL, budget, seeds=[0, 1, 2]) for _ in range(2))
    for step in range(1, 121):
        if step == 70:  # by now it is well above its mean colour
            assert harmed.fits[1].best > harmed.constant[1] + 3
            harmed.parameters[1] = value
        for engine in (harmed, calm):
            engine.advance()
            if step % 20 == 0:
                engine.score()
    restarts = [result.restarts for result in harmed.results()]
    assert restarts[0] == restarts[2] == []
    assert restarts[1] == [{"step": 80, "from": "best", "lr": budget.lr / 2}]
    assert harmed.parameters.isfinite().all()
    for index in (0, 2):
        assert_same(harmed.results()[index], calm.results()[index])
        assert torch.equal(harmed.parameters[index], calm.parameters[index])
    assert harmed.results()[1].psnr > harmed.constant[1] + 3, "what was best is lost"


def test_a_new_start_has_its_time_again():
    slow = FitBudget(steps=1000, lr=1e-5, optimiser="adam", start="random", batch_pixels=256, score_every=50)
    engine = Engine([THREE[0]], SMALL, slow, seeds=[0])
    engine.step, (state,) = 500, engine.fits
    state.best, state.history = engine.constant[0] + 2, [(450, engine.constant[0] + 2)]
    engine.parameters[0] = 0
    engine.score()
    assert [restart["from"] for restart in state.restarts] == ["new"]
    while engine.step < 650:
        engine.advance()
        if engine.step % 50 == 0:
            engine.score()
    assert len(state.restarts) == 1, "a start that had no time to learn was taken for a collapse"
    for step in (699, 749):  # 200 steps without leaving the mean are a collapse
        engine.step = step
        engine.advance()
        engine.score()
    assert len(state.restarts) == 2


@pytest.mark.parametrize("size", [(1, 1), (20, 30)])
def test_a_picture_of_one_colour_is_no_collapse(size):
    flat = np.full((*size, 3), (10, 120, 250), np.uint8)
    (result,) = fit([flat], Architecture(1, 4), FitBudget(steps=600, lr=2e-3, batch_pixels=256, score_every=100))
    assert result.restarts == [] and result.psnr > 60


# Pixels ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width", "pixels"),
    [(64, 96, 256), (61, 93, 500), (512, 768, 16384), (1, 700, 256), (9, 9, 81), (3, 3, 1)],
)
def test_a_stratified_order_is_a_permutation(height, width, pixels):
    order = stratified_order(height, width, pixels, seed=4)
    assert torch.equal(order.sort().values, torch.arange(height * width))
    assert torch.equal(order, stratified_order(height, width, pixels, seed=4))
    if height * width > pixels > 1:
        assert not torch.equal(order, stratified_order(height, width, pixels, seed=5))


@pytest.mark.parametrize(("height", "width", "pixels"), [(64, 96, 384), (512, 768, 16384), (300, 200, 1000)])
def test_each_slice_is_spread_over_the_picture(height, width, pixels):
    side = round(math.sqrt(height * width / pixels))
    cells = (height // side, width // side)  # those that lie inside as a whole

    def missed(order: torch.Tensor) -> float:
        """Share of all cells that a slice has no pixel of, averaged over the slices."""
        shares = []
        for part in order.split(pixels)[: height * width // pixels]:
            row, column = part // width // side, part % width // side
            inside = (row < cells[0]) & (column < cells[1])
            there = (row * cells[1] + column)[inside].unique()
            shares.append(1 - len(there) / (cells[0] * cells[1]))
        return float(np.mean(shares))

    assert missed(torch.randperm(height * width, generator=torch.Generator().manual_seed(0))) > 0.3, "chance: 1/e"
    assert missed(stratified_order(height, width, pixels, seed=0)) < 0.05


def test_steps_walk_through_all_pixels():
    image = picture(32, 40)
    engine = Engine([image], SMALL, replace(FAST, steps=1000), seeds=[9])
    slices = 32 * 40 // 256
    seen = []
    for engine.step in range(slices):
        (x,), (y,) = engine._pixels()
        assert x.shape == (2, 256) and y.shape == (3, 256)
        row, column = ((x[0] + 1) * 15.5).round().long(), ((x[1] + 1) * 19.5).round().long()
        np.testing.assert_allclose(y.T.numpy() * 255, image[row, column], atol=1e-4)
        seen.append(row * 40 + column)
    assert len(torch.cat(seen).unique()) == 256 * slices
    engine.step = slices * engine_module.SAME_ORDER
    (x,), _ = engine._pixels()
    again = ((x[0] + 1) * 15.5).round().long() * 40 + ((x[1] + 1) * 19.5).round().long()
    assert not torch.equal(again, seen[0]), "a new order is never drawn"


def test_pictures_of_different_sizes_share_a_mini_batch():
    images = [picture(24, 32), picture(16, 20, 1), picture(1, 300, 2)]
    results = fit(images, SMALL, FAST, seeds=[0, 1, 2])
    for image, seed, result in zip(images, (0, 1, 2), results, strict=True):
        assert_same(result, fit([image], SMALL, FAST, seeds=[seed])[0])


# Errors ---------------------------------------------------------------------------------------------------------------


def test_what_cannot_be_fitted():
    whole = replace(FAST, batch_pixels=None)
    with pytest.raises(ValueError, match="same number of pixels"):
        fit([picture(24, 32), picture(16, 20)], SMALL, whole)
    fit([picture(24, 32), picture(32, 24)], SMALL, replace(whole, steps=1))  # as many pixels is enough
    with pytest.raises(ValueError, match="0 pictures"):
        fit([], SMALL, FAST)
    with pytest.raises(ValueError, match="3 pictures and 2 seeds"):
        fit(THREE, SMALL, FAST, seeds=[0, 1])
    for seed in (-1, 2**32, 1.5, None):
        with pytest.raises(ValueError, match="seeds="):
            fit([THREE[0]], SMALL, FAST, seeds=[seed])
    with pytest.raises(ValueError, match="coordinates='polar'"):
        fit([THREE[0]], SMALL, FAST, coordinates="polar")
    with pytest.raises(ValueError, match="backend must be one of"):
        fit([THREE[0]], SMALL, FAST, backend="numpy")
    with pytest.raises(ValueError, match="uint8"):
        fit([THREE[0].astype(float)], SMALL, FAST)
    with pytest.raises(ValueError, match="checkpoint"):
        fit([THREE[0]], SMALL, FAST, max_seconds=1)


@pytest.fixture
def paused(tmp_path):
    """The checkpoint of a fit that was paused after one step."""
    path = tmp_path / "fit.safetensors"
    with pytest.raises(Paused, match="step 1 of 60"):
        fit([THREE[0]], SMALL, FAST, checkpoint=path, max_seconds=0)
    return path


@pytest.mark.parametrize(
    "other",
    [
        {"pictures": [THREE[1]]},
        {"architecture": Architecture(3, 11)},
        {"architecture": replace(SMALL, w0=29.0)},
        {"budget": replace(FAST, lr=4e-3)},
        {"budget": replace(FAST, optimiser="adam")},
        {"seeds": [1]},
        {"coordinates": "coin"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_checkpoint_of_another_configuration(paused, other):
    before = paused.read_bytes()
    call = {"pictures": [THREE[0]], "architecture": SMALL, "budget": FAST} | other
    with pytest.raises(ValueError, match="another configuration"):
        fit(checkpoint=paused, **call)
    assert paused.read_bytes() == before


def test_a_broken_checkpoint(paused):
    whole, tensors = paused.read_bytes(), load_file(paused)
    for broken in (b"", b"junk", whole[:50], whole[:-1], whole + b"\0"):
        paused.write_bytes(broken)
        with pytest.raises(ValueError, match="cannot be read"):
            fit([THREE[0]], SMALL, FAST, checkpoint=paused)
    for about in (None, {}, {"about": "{"}, {"about": "[]"}, {"about": "{}"}, {"about": '{"fits": [{"x": 1}]}'}):
        save_file(tensors, paused, metadata=about)
        with pytest.raises(ValueError, match="cannot be read"):
            fit([THREE[0]], SMALL, FAST, checkpoint=paused)
    Engine([THREE[0]], SMALL, FAST, seeds=[0]).save(paused)
    with safe_open(paused, "pt") as file:
        about = file.metadata()
    lacking = {name: tensor for name, tensor in tensors.items() if name != "optimiser.m0"}
    for wrong in (lacking, tensors | {"more": torch.zeros(1)}, tensors | {"best": torch.zeros(1, 3)}):
        save_file(wrong, paused, metadata=about)
        with pytest.raises(ValueError, match="tensors"):
            fit([THREE[0]], SMALL, FAST, checkpoint=paused)


# Progress and pauses --------------------------------------------------------------------------------------------------


def test_scores_are_told_and_stop_a_fit_that_is_good_enough():
    told = []
    (result,) = fit([THREE[0]], SMALL, replace(FAST, steps=50), on_score=lambda *told_now: told.append(told_now))
    assert [step for step, _ in told] == [20, 40, 50]
    assert [(step, pytest.approx(scores[0], abs=1e-3)) for step, scores in told] == result.history
    enough = told[0][1][0] - 1e-6
    (early,) = fit([THREE[0]], SMALL, replace(FAST, steps=50), stop_at=enough)
    assert early.step == 20 and len(early.history) == 1
    # In a batch all must be good enough.
    apart = fit([THREE[1]], SMALL, replace(FAST, steps=50))[0].history[0][1]
    assert abs(apart - enough) > 0.1
    both = fit(THREE[:2], SMALL, replace(FAST, steps=50), stop_at=max(enough, apart - 1e-3))
    assert len(both[0].history) > 1


def test_the_time_of_a_batch_is_shared_by_its_fits():
    engine = Engine(THREE[:2], SMALL, FAST, seeds=[0, 1])
    engine.seconds = 10.0
    assert [result.seconds for result in engine.results()] == [5.0, 5.0]


def test_checkpoints_are_written_while_a_fit_runs(tmp_path, monkeypatch, clock):
    saved = []
    real = Engine.save
    monkeypatch.setattr(Engine, "save", lambda engine, path: (saved.append(engine.step), real(engine, path)))
    monkeypatch.setattr(running, "CHECKPOINT_SECONDS", 15.0)
    (result,) = fit([THREE[0]], SMALL, FAST, checkpoint=tmp_path / "fit")
    assert 4 <= len(saved) <= 6 and saved[0] < 20 and saved[-1] == FAST.steps
    assert result.seconds > FAST.steps - 1, "by a clock of one second a step"


def test_a_set_is_its_pictures_one_by_one(tmp_path):
    """Two real processes."""
    images, done = {f"p{i}": image for i, image in enumerate(THREE)}, {}
    fit_set(images, SMALL, FAST, folder=tmp_path, seed=4, workers=2, on_done=done.__setitem__)
    assert set(done) == set(images)
    for name, image in images.items():
        assert_same(done[name], fit([image], SMALL, FAST, seeds=[4])[0])
    assert {path.stem for path in tmp_path.iterdir()} == set(images), "one checkpoint a picture"


def test_a_set_pauses_and_goes_on(tmp_path, monkeypatch, clock):
    monkeypatch.setattr(running, "ProcessPoolExecutor", HereAndNow)
    images, done, pauses = {f"p{i}": image for i, image in enumerate(THREE)}, {}, 0
    while set(images) - set(done):
        left = {name: image for name, image in images.items() if name not in done}
        try:
            fit_set(left, SMALL, FAST, folder=tmp_path, max_seconds=40, on_done=done.__setitem__)
        except Paused:
            pauses += 1
            assert any(path.suffix == ".safetensors" for path in tmp_path.iterdir()) or len(done) < 3
        assert pauses < 50
    assert pauses >= 3
    for name, image in images.items():
        assert_same(done[name], fit([image], SMALL, FAST)[0])
    with pytest.raises(Paused):
        fit_set(images, SMALL, FAST, folder=tmp_path / "none", max_seconds=0)
    assert not (tmp_path / "none").exists(), "no time, no work"


def test_an_error_in_a_set_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "ProcessPoolExecutor", HereAndNow)
    (tmp_path / "p.safetensors").write_bytes(b"junk")
    with pytest.raises(ValueError, match="cannot be read"):
        fit_set({"p": THREE[0]}, SMALL, FAST, folder=tmp_path)


def test_what_a_gpu_gets_is_one_batch_a_size(tmp_path, monkeypatch):
    """How a set is cut into batches for a GPU, played on the CPU; the GPU's own arithmetic is the next test's."""
    calls, done, real = [], {}, fit

    def on_cpu(pictures, *arguments, device, checkpoint, **options):
        calls.append((device, [p.shape for p in pictures], checkpoint.name))
        return real(pictures, *arguments, device="cpu", checkpoint=checkpoint, **options)

    monkeypatch.setattr(engine_module, "fit", on_cpu)
    images = {"a": THREE[0], "b": picture(16, 20), "c": picture(32, 24, 5)}
    whole = replace(FAST, batch_pixels=None)
    fit_set(images, SMALL, whole, folder=tmp_path, seed=2, device="cuda", on_done=done.__setitem__)
    assert calls == [
        ("cuda", [(16, 20, 3)], "batch-320.safetensors"),
        ("cuda", [(24, 32, 3), (32, 24, 3)], "batch-768.safetensors"),
    ]
    for name, image in images.items():
        assert_same(done[name], real([image], SMALL, whole, seeds=[2])[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("budget", BUDGETS)
def test_a_gpu_learns_as_well(budget, tmp_path):
    budget, done = replace(budget, steps=200), {}
    fit_set({"a": THREE[0], "b": THREE[1]}, SMALL, budget, folder=tmp_path, device="cuda", on_done=done.__setitem__)
    for name, image in (("a", THREE[0]), ("b", THREE[1])):
        assert done[name].psnr == pytest.approx(fit([image], SMALL, budget)[0].psnr, abs=1.5)
