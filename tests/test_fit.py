"""What is particular to fits of SIRENs: scores, first values, collapses, mini-batches, and sets of pictures."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_siren import FAST, SMALL, THREE, picture, run_to

from sparsecomp import codecs, metrics
from sparsecomp.codecs.network import Coin
from sparsecomp.models.siren import Architecture, initial_parameters, render
from sparsecomp.training import fit as fits
from sparsecomp.training import kernel
from sparsecomp.training.configs import FitBudget
from sparsecomp.training.fit import FitResult, SirenTraining, fit, stratified_order

WHOLE = replace(FAST, batch_pixels=None)  # every pixel in every step
needs_compiler = pytest.mark.skipif(kernel.library() is None, reason="no C compiler here")


def known(result: FitResult) -> dict:
    """All that a result holds, but for seconds, with what its network holds if there is one."""
    held = vars(result) | (vars(result.network) if getattr(result, "network", None) else {})
    held = {name: value for name, value in held.items() if name not in ("seconds", "network")}
    return {name: value.tolist() if isinstance(value, torch.Tensor) else value for name, value in held.items()}


@needs_compiler
def test_fit_does_not_depend_on_the_number_of_threads():
    budget, before = replace(FAST, steps=15, batch_pixels=4096), torch.get_num_threads()
    try:
        found = []
        for threads in (1, 4):
            torch.set_num_threads(threads)
            found += fit([picture(70, 130)], Architecture(5, 20), budget)
    finally:
        torch.set_num_threads(before)
    assert known(found[0]) == known(found[1])


def test_fit_learns_by_the_rate_of_its_budget_after_its_warmup(monkeypatch):
    """Each fit's schedule runs from its own start, and a restarted one warms up again."""
    budget = FitBudget(steps=100, lr=0.01, warmup=10, schedule="cosine", score_every=1000)
    training = SirenTraining(THREE[:2], SMALL, budget, seeds=[0, 0])
    training.fits[1].start, training.fits[1].rate, rates = 40, 0.5, []
    monkeypatch.setattr(training.optimiser, "step", lambda parameters, gradient, lr: rates.append(lr[:, 0].tolist()))
    for training.done in (0, 9, 40, 50, 99):
        training.method.step()

    def cosine(part: float) -> float:
        return 0.5 + 0.5 * math.cos(math.pi * part)

    assert [rate[0] for rate in rates] == pytest.approx(
        [0.001, 0.01 * cosine(0.09), 0.01 * cosine(0.4), 0.005, 0.01 * cosine(0.99)]
    )
    assert [rate[1] for rate in rates[2:]] == pytest.approx([5e-4, 5e-3 * cosine(10 / 60), 5e-3 * cosine(59 / 60)])


@pytest.mark.parametrize("start", ["mean", "torch", "coin"])
def test_fit_begins_with_the_values_of_its_seed(start):
    training = SirenTraining(THREE[:2], SMALL, replace(FAST, start=start), seeds=[3, 4])
    for row, image, seed in zip(training.parameters, THREE, (3, 4), strict=False):
        drawn = initial_parameters(SMALL, seed, "coin" if start == "coin" else "torch")
        assert torch.equal(row[:-3], drawn[:-3])
        expected = image.reshape(-1, 3).mean(0) / 255 if start == "mean" else drawn[-3:].numpy()
        np.testing.assert_allclose(row[-3:].numpy(), expected, atol=1e-6)


def test_fit_keeps_the_state_whose_file_is_best():
    restless = FitBudget(steps=200, lr=0.03, optimiser="adam", batch_pixels=None, schedule="constant", score_every=10)
    results = fit([THREE[2]] * 4, SMALL, restless, seeds=range(4), coordinates="coin")
    assert any(result.psnr > result.history[-1][1] + 1 for result in results), "the last is the best: nothing is tested"
    for result in results:
        best_step, best = max(result.history, key=lambda point: point[1])
        assert result.step == best_step and result.psnr == pytest.approx(best, abs=1e-3)
        shown = codecs.decode(Coin.write(SMALL, result.parameters, 24, 32, "coin"))
        assert metrics.psnr(reference=THREE[2], reconstruction=shown) == pytest.approx(result.psnr, abs=0.01)


@pytest.mark.parametrize("colour", [(0.5, 0.5, 0.5), (3.0, -2.0, 0.5)])
def test_score_is_of_fp16_parameters_and_8_bit_colours(colour):
    """A picture that the stored network draws exactly has a perfect score; colours not rounded stop at 59 dB."""
    parameters = initial_parameters(SMALL, 1) * 3
    parameters[-3:] = torch.tensor(colour)  # the second is clamped to what a screen shows
    drawn = render(SMALL, parameters.half().float(), 24, 32).numpy()
    assert (render(SMALL, parameters, 24, 32).numpy() != drawn).any(), "fp16 makes no difference"
    training = SirenTraining([drawn], SMALL, FAST, seeds=[0])
    training.parameters[0] = parameters
    assert training.score()["psnr"][0] > 70, "kernel and PyTorch may round a colour or two apart, not more"
    assert torch.equal(training.results()[0].parameters, parameters.half())


def test_fit_stops_when_every_picture_is_good_enough():
    budget = replace(FAST, steps=50)
    one, other = (fit([image], SMALL, budget)[0].history for image in THREE[:2])
    both = fit(THREE[:2], SMALL, budget, stop_at=min(one[0][1], other[0][1]) - 1e-3)
    assert [result.step for result in both] == [20, 20] and len(both[0].history) == 1
    both = fit(THREE[:2], SMALL, budget, stop_at=max(one[0][1], other[0][1]) - 1e-3)
    assert abs(one[0][1] - other[0][1]) > 0.1 and len(both[0].history) > 1


@pytest.mark.parametrize(("optimiser", "value"), [("adam", 1e30), ("soap", math.nan), ("soap", 0.0)])
def test_fit_restarts_a_collapsed_one_and_leaves_its_neighbours(optimiser, value):
    budget = replace(FAST, steps=90, optimiser=optimiser)
    harmed, calm = (run_to(SirenTraining(THREE, SMALL, budget, seeds=[0, 1, 2]), 60) for _ in range(2))
    assert harmed.fits[1].best > harmed.constant[1] + 3, "by now it is well above its mean colour"
    harmed.parameters[1] = value
    for training in (harmed, calm):
        run_to(training, 79)
        training.step()
        training.score()
    assert [made.restarts for made in harmed.fits] == [[], [{"step": 80, "from": "best", "lr": budget.lr / 2}], []]
    assert torch.equal(harmed.parameters[1], harmed.best[1].float())
    assert all((tensor[1] == 0).all() for tensor in harmed.optimiser.state.values()), "a fresh optimiser"
    assert harmed.optimiser.state["clock"][0] == 80
    for training in (harmed, calm):
        run_to(training, 90)
    for index in (0, 2):
        assert known(harmed.results()[index]) == known(calm.results()[index])
        assert torch.equal(harmed.parameters[index], calm.parameters[index])
    assert harmed.parameters.isfinite().all() and harmed.results()[1].psnr > harmed.constant[1] + 3


def test_fit_gives_a_new_start_its_time_again():
    slow = FitBudget(steps=1000, lr=1e-5, optimiser="adam", start="torch", batch_pixels=256, score_every=50)
    training = SirenTraining([THREE[0]], SMALL, slow, seeds=[0])
    training.done, (state,) = 500, training.fits
    state.best, state.history = training.constant[0] + 2, [(450, training.constant[0] + 2)]
    training.parameters[0] = 0
    training.score()
    assert [restart["from"] for restart in state.restarts] == ["new"]
    first = initial_parameters(SMALL, 1_000_003)
    assert torch.equal(training.parameters[0], first), "other values than the first time"
    run_to(training, 650)
    assert len(state.restarts) == 1, "a start that had no time to learn was taken for a collapse"
    for done in (699, 749):  # 200 steps without leaving the mean are a collapse
        training.done = done
        training.step()
        training.score()
    assert [restart["lr"] for restart in state.restarts] == [0.5e-5, 0.25e-5], "half as fast each time"


@pytest.mark.parametrize("size", [(1, 1), (20, 30)])
def test_fit_of_one_colour_is_no_collapse(size):
    flat = np.full((*size, 3), (10, 120, 250), np.uint8)
    (result,) = fit([flat], Architecture(1, 4), FitBudget(steps=400, lr=2e-3, batch_pixels=256, score_every=100))
    assert result.restarts == [] and result.psnr > 60


@settings(max_examples=30)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 6), st.integers(0, 2**31))
def test_stratified_order_takes_one_pixel_of_each_cell_in_each_slice(rows, columns, side, seed):
    order = stratified_order(rows * side, columns * side, rows * columns, seed=seed)
    assert torch.equal(order.sort().values, torch.arange(rows * columns * side**2))
    for part in order.split(rows * columns):
        cells = part // (columns * side) // side * columns + part % (columns * side) // side
        assert torch.equal(cells.sort().values, torch.arange(rows * columns))
    odd = stratified_order(7 * rows + 3, 5 * columns + 1, rows * columns, seed=seed)
    assert torch.equal(odd.sort().values, torch.arange((7 * rows + 3) * (5 * columns + 1)))


def test_fit_walks_through_all_pixels_in_orders_of_its_seed(monkeypatch):
    image, slices, shown, real = picture(32, 40), 32 * 40 // 256, [], kernel.gradient
    monkeypatch.setattr(kernel, "gradient", lambda *given, **how: shown.append(given[2:4]) or real(*given, **how))

    def seen(seed: int, done: int) -> torch.Tensor:
        training = SirenTraining([image], SMALL, replace(FAST, steps=1000), seeds=[seed])
        training.done = done
        training.step()
        (x,), (y,) = shown[-1]
        assert x.shape == (2, 256) and y.shape == (3, 256)
        row, column = ((x[0] + 1) * 15.5).round().long(), ((x[1] + 1) * 19.5).round().long()
        np.testing.assert_allclose(y.T.numpy() * 255, image[row, column], atol=1e-4)
        return row * 40 + column

    epoch = [seen(9, step) for step in range(slices)]
    assert len(torch.cat(epoch).unique()) == 256 * slices
    assert torch.equal(seen(9, slices), epoch[0]), "an order serves for some epochs"
    assert not torch.equal(seen(9, slices * fits.SAME_ORDER), epoch[0]), "a new order is never drawn"
    assert not torch.equal(seen(8, 0), epoch[0]), "the seed changes nothing"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"pictures": [picture(24, 32), picture(16, 20)], "budget": WHOLE}, "same number of pixels"),
        ({"pictures": THREE, "seeds": [0, 1]}, "seeds must be as many as pictures, 3"),
        ({"seeds": [2**32]}, "seeds.* must be"),
        ({"max_seconds": 1}, "checkpoint"),
    ],
)
def test_fit_refuses_what_cannot_be_fitted(wrong, message):
    with pytest.raises(ValueError, match=message):
        fit(**{"pictures": [THREE[0]], "architecture": SMALL, "budget": FAST} | wrong)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("pixels", [256, None])
@pytest.mark.parametrize("optimiser", ["adam", "soap"])
def test_fit_learns_as_well_on_a_gpu(optimiser, pixels):
    budget = replace(FAST, optimiser=optimiser, batch_pixels=pixels, steps=200)
    on_gpu = fit(THREE[:2], SMALL, budget, device="cuda")
    for image, found in zip(THREE[:2], on_gpu, strict=True):
        assert found.psnr == pytest.approx(fit([image], SMALL, budget)[0].psnr, abs=1.5)
