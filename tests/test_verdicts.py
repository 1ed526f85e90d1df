"""The numbers behind the claims on COIN, L0onie and Sparse CAE. Of CAE-ADMM: test_cae_admm_verdicts.py."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from records import descent

from sparsecomp import results
from sparsecomp.verdicts import autoencoders, networks

# Standard codecs, COIN and L0onie -------------------------------------------------------------------------------------


def test_curve_is_the_better_of_its_records(monkeypatch):
    def record(*points):
        rows = [{"picture": "a", "setting": i, "bpp": r, "psnr": q} for i, (r, q) in enumerate(points)]
        return results.RunRecord("s", "n", {}, rows, 0.0, {})

    two = [record((0.1, 20.0), (0.4, 30.0), (0.8, 31.0)), record((0.2, 22.0), (0.8, 40.0), (1.6, 39.0))]
    monkeypatch.setattr(networks, "baselines", lambda label, high: two)
    # 0.2: on the first record's line there are 25 dB; 0.4: 31 dB on the second's; 1.6: worse than a smaller file.
    assert networks.curve("jpeg") == ([0.1, 0.8], [20.0, 40.0])
    middle = 20 + 20 * math.log(4) / math.log(8)
    assert networks.psnr_at("jpeg", 0.4) == pytest.approx(middle)
    for beyond in (0.05, 50.0):
        with pytest.raises(LookupError, match="was measured from"):
            networks.psnr_at("jpeg", beyond)


def test_gain_at_rate_is_between_the_neighbours(monkeypatch):
    def record(rate: float, psnr: float) -> results.RunRecord:
        rows = [{"picture": "a", "bpp": rate, "estimated_bits": 1000 * rate, "bytes": 125, "psnr": psnr}]
        return results.RunRecord("loonie", "n", {}, rows, 0.0, {})

    # counted = bpp * estimated_bits / (8 * bytes) = rate^2
    curve = ([0.25, 1.0], [20.0, 24.0], [record(0.5, 20.0), record(1.0, 24.0)])
    monkeypatch.setattr(networks, "third", lambda: ["a"])
    monkeypatch.setattr(networks, "loonie", lambda method, bpp: record(0.5**0.5, 23.0))
    monkeypatch.setattr(networks, "loonie_curve", lambda method, accounting, pictures: curve)
    assert networks.gain_at_rate() == pytest.approx(1.0), "0.5 lies half-way in the logarithm: 22 dB"
    monkeypatch.setattr(networks, "loonie", lambda method, bpp: record(0.1, 23.0))
    with pytest.raises(LookupError, match="both sides"):
        networks.gain_at_rate()


def test_paper_race_is_the_ratio_of_seconds_to_the_goal(monkeypatch):
    def record(runner: str, psnr: list[float], seconds: float) -> results.RunRecord:
        history = {"step": [10, 20, 30, 40], "psnr": psnr}
        rows = [{"picture": "a", "psnr": psnr[-1], "history": history, "encode_seconds": seconds}]
        if runner.startswith("L0onie"):
            rows[0]["course"] = {"rate": [0.6, 0.3, 0.3, 0.3]}
        return results.RunRecord("loonie_race", "n", {"runner": runner, "bpp": 0.3}, rows, 0.0, {})

    runs = [
        record("COIN at 1e-3", [20, 21, 22, 25], 40.0),  # at its end after 40 s
        record("L0onie at 1e-3", [25, 25, 26, 27], 80.0),  # as good within its budget after half of 80 s
        record("COIN at 2e-4", [1, 2, 3, 4], 40.0),
    ]
    monkeypatch.setattr(results, "records", lambda study, **where: runs if where == {"profile": "paper"} else [])
    assert networks.paper_race() == pytest.approx(1.0)
    del runs[2]
    with pytest.raises(LookupError, match="profile paper"):
        networks.paper_race()


# Sparse CAE -----------------------------------------------------------------------------------------------------------


def test_relative_loss_is_a_mean_over_pictures_below_zero_where_the_error_grew(kept):
    kept(descent("high", mse=2.0), descent("l1", mse=4.0), descent("l21", mse=1.0))
    assert autoencoders.relative_loss("l1") == pytest.approx(-10 * math.log10(2))
    assert autoencoders.relative_loss("l21") == pytest.approx(10 * math.log10(2))
    sparse = descent("l1", seed=1)
    for row in sparse.rows:
        row["mse_unquantised"] *= 10 if row["picture"] == "a" else 1000
    kept(descent("high", seed=1), sparse, replace(descent("l21", seed=1), rows=sparse.rows[:5]))
    assert autoencoders.relative_loss("l1", 1) == pytest.approx(-20), "dB of each picture, then the mean; of its seed"
    with pytest.raises(LookupError, match="different pictures"):
        autoencoders.relative_loss("l21", 1)
    with pytest.raises(LookupError, match="sparsecomp study cae_sparse"):
        autoencoders.relative_loss("l1", 2)


@pytest.mark.parametrize("shift", [-1.5, 0.0, 0.25])
def test_loss_at_rate_is_the_vertical_distance_at_the_steps_that_both_have(kept, shift):
    dense, sparse = descent("high"), descent("l1", shift=shift, rates=(0.6, 1.1, 1.7, 3.0, 7.0))
    kept(dense, sparse)
    assert autoencoders.loss_at_rate("l1") == pytest.approx(shift, abs=1e-2)
    # a curve of few points, between which nothing bends, against one that is bad where the other was not measured
    for row in dense.rows:
        row["psnr"] -= 3 if row["setting"] == 2 else 0
    few = descent("l1", shift=shift)
    kept(dense, replace(few, rows=[row for row in few.rows if row["setting"] != 2]))
    assert autoencoders.loss_at_rate("l1") == pytest.approx(shift, abs=1e-9)
    assert autoencoders.at_rate("l1").overlap == (0.5, 8.0)


def test_loss_at_low_rates_is_to_the_best_of_the_dense_models(kept):
    """The dense model was trained for steps up to 256 of 1/16384; another, of few channels, has lower rates."""
    settings, low = {0: 1024, 1: 512, 2: 256, 3: 128, 4: 64}, tuple(r / 8 for r in (0.5, 1.0, 2.0, 4.0, 8.0))
    dense, other = descent("high"), descent("l1inf", rates=low, shift=-2.0)
    for row in (*dense.rows, *other.rows):
        row["setting"] = settings[row["setting"]]
    kept(dense, other, descent("low", shift=3.0, rates=low))
    assert autoencoders.loss_at_rate("l1inf") == pytest.approx(-5, abs=0.3)


def test_over_seeds_compares_each_with_the_one_it_came_from(kept):
    kept(*(descent("high", seed=s, shift=s) for s in range(3)), descent("l21", seed=1))
    kept(*(descent("l1", seed=s, shift=s + d) for s, d in enumerate((-1, -2, -3))))
    assert autoencoders.seeds_of("l1") == [0, 1, 2] and autoencoders.seeds_of("l21") == [1]
    assert autoencoders.over_seeds("l1", autoencoders.loss_at_rate) == pytest.approx((-2, 1), abs=1e-3)
    assert autoencoders.over_seeds("l21", lambda label, seed: 7.0 * seed) == (7, pytest.approx(math.nan, nan_ok=True))
    with pytest.raises(LookupError, match="sparsecomp study cae_sparse"):
        autoencoders.over_seeds("l1inf", autoencoders.loss_at_rate)


def test_macs_and_memory_saved_are_of_the_dense_model(kept):
    kept(descent("high", macs=200.0, macs_paper=180.0, encoder_bytes=1, dense_bytes=1000))
    kept(descent("l1", macs=50.0, macs_paper=150.0, encoder_bytes=250, dense_bytes=1))
    assert autoencoders.macs_saved("l1") == pytest.approx(75) == autoencoders.memory_saved("l1")
    assert autoencoders.macs_saved("l1", accounting="macs_paper") == pytest.approx(25)


def test_macs_at_density_are_between_two_measurements(kept):
    rows = [
        {"kind": kind, "radius_rule": radius, "coupled": coupled, "asked": s, "sparsity": s,
         "macs_paper": 1 - s / 2 + shift, "macs": 1 - s + shift}
        for kind, radius, coupled, shift in (("l1", "common", False, 0), ("l1", "common", True, 0.3),
                                             ("l1", "per_layer", False, 0.2), ("l21", "common", False, 0.1))
        for s in (0.8, 0.4, 0.9)
    ]  # fmt: skip
    kept(results.RunRecord("cae_density", "density", {"profile": "laptop"}, rows, 1.0, {}))
    assert [row["sparsity"] for row in autoencoders.density("l1")] == [0.9, 0.8, 0.4], "densest last"
    assert autoencoders.density("l1", coupled=True)[0]["macs"] == pytest.approx(0.4)
    assert autoencoders.macs_at_density("l1", 0.4) == pytest.approx(20)
    assert autoencoders.macs_at_density("l1", 0.86) == pytest.approx(43)
    assert autoencoders.macs_at_density("l1", 0.86, "macs") == pytest.approx(86)
    assert autoencoders.macs_at_density("l21", 0.6) == pytest.approx(20)
    for beyond in (0.3, 0.95):
        with pytest.raises(LookupError, match="projected from 0.40 to 0.90"):
            autoencoders.macs_at_density("l1", beyond)


def test_hull_is_the_best_of_the_dense_models_that_count(kept):
    kept(descent("high", shift=-3.0, rates=(1.0, 2.0, 4.0, 8.0)), descent("low", rates=(0.25, 0.5, 1.0, 1.5)))
    kept(descent("high", seed=1, shift=50.0), descent("low", profile="smoke", shift=50.0))
    kept(descent("high", shift=50.0, train="mine"), descent("bilevel_l11", shift=1.0))
    rates, qualities = autoencoders.hull()
    assert rates == sorted(rates) and qualities == sorted(qualities) and rates[0] == 0.25 and rates[-1] == 8
    assert (1.0, 31.0) in zip(rates, qualities, strict=True), "the better of two at one rate"
    assert autoencoders.psnr_near(1.0) == pytest.approx(31) and autoencoders.psnr_near(8.0) == pytest.approx(43)
    assert autoencoders.psnr_near(6.0) == pytest.approx((38 + 43) / 2)
    assert autoencoders.psnr_near(6.0, "bilevel_l11") == pytest.approx((42 + 47) / 2)
    for beyond, label in ((0.2, None), (9.0, None), (0.4, "bilevel_l11")):
        with pytest.raises(LookupError, match="measured from"):
            autoencoders.psnr_near(beyond, label)


def test_what_goes_on_is_compared_with_what_went_on_too(kept):
    kept(descent("high", mse=2.0), descent("l1", shift=-1.0, mse=4.0, restart="trained"))
    with pytest.raises(LookupError):
        autoencoders.loss_at_rate("l1")
    kept(descent("dense, trained on", shift=0.5, mse=1.0, restart="trained"), descent("own", train="mine"))
    assert autoencoders.loss_at_rate("l1") == pytest.approx(-1.5, abs=1e-2)
    assert autoencoders.relative_loss("l1") == pytest.approx(-10 * math.log10(4))
    assert autoencoders.loss_at_rate("dense, trained on") == pytest.approx(0.5, abs=1e-2), "beside the first descent"
    assert autoencoders.labels() == ["dense, trained on", "l1"], "a reader's own are left out"
