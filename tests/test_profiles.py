"""Configurations of trainings, and the presets of each paper that are made of them."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, asdict, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reproduce.papers import cae_admm, loonie, sparse_cae
from reproduce.pictures import spread
from sparsecomp.training import configs
from sparsecomp.training.configs import PRESETS, CodeDescent, Descent, FitBudget, Pruning, Sparsity, sparsity_at

NAN, INF = math.nan, math.inf
LEGAL = {
    FitBudget: {"steps": 10, "lr": 1e-3},
    Sparsity: {},
    Descent: {"steps": 10, "finest": 1 / 64, "coarsest": 1 / 16},
    CodeDescent: {"steps": 10, "batch": 2, "codes": 8},
    Pruning: {},
}
COUNT, RATE = (0, 1.5, True, None), (0, 1, NAN)
WRONG = {
    FitBudget: {
        **dict.fromkeys(("steps", "score_every"), COUNT), "warmup": (-1, 0.5), "batch_pixels": (255, 300.0),
        "lr": RATE, "optimiser": ("sgd",), "schedule": ("linear",), "start": ("zero",),
    },
    Sparsity: {
        "rate": ("bytes", None), "gates": ("mean", "none"), "dual_lr": (0, INF), "gate_lr": (0, 1.01),
        "step_lr": (0.0, 2), "temperature": (0, 1.01), "stretch": (0, 10.1), "round_from": (0, 1.01),
        "multiplier": (-1e-9, INF), "log_alpha": (4.1, -4.1, NAN),
    },
    Descent: {
        **dict.fromkeys(("steps", "batch", "reduce", "score_every"), COUNT), "warmup": (-1, 0.5),
        "crop": (0, 6, 64.0), "lr": RATE, "weight_decay": (-1e-9, 1), "lam": (-1e-9, INF),
        "finest": (1 / 257, 1 / 15, NAN), "coarsest": (1 / 65, 4.01, NAN), "optimiser": ("soap",),
        "schedule": ("quadratic",), "quantiser": ("round",),
    },
    CodeDescent: {
        **dict.fromkeys(("steps", "codes", "settle", "score_every"), COUNT), "batch": (*COUNT, 9),
        "warmup": (-1, 0.5), "mse_steps": (-1, 0.5), "crop": (96, 103, 108, 112.0), "lr": RATE,
        "weight_decay": (-1e-9, 1), "momentum": (0, 1.01), "optimiser": ("soap",), "schedule": ("quadratic",),
    },
    Pruning: {
        "interval": COUNT, "keep": (0, 1.01), "rho": (0, INF), "z_update": ("paper",), "state": ("batch",),
        "penalty": ("l1",),
    },
}  # fmt: skip
EDGES = [
    FitBudget(1, 1e-9, "adam", None, "cosine", 0, "random", 1),
    *(Sparsity("file", "none", False, True, 1e-12, 1, 1, 0, log_alpha, 1, 10, 1) for log_alpha in (-4, 4)),
    *(Descent(1, 1e-9, "adam", "constant", 0, 0, 1, 4, 1, "none", step, step) for step in (1 / 256, 4)),
    CodeDescent(1, 0.999, "muon", "plateau", 0, 0, 1, 104, 1, 0, 1, 1, 1),
    Pruning(1, 1e-9, 1, "released", "data_set", "norm"),
]


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [(kind, name, value) for kind, names in WRONG.items() for name, values in names.items() for value in values],
)
def test_configuration_refuses(kind, name, value):
    with pytest.raises(ValueError, match=rf"\b{name}\b") as caught:
        kind(**LEGAL[kind] | {name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("config", EDGES, ids=str)
def test_as_dict_holds_a_configuration_whole(config):
    """As in a record: by way of JSON the same configuration comes back."""
    written = json.loads(json.dumps(configs.as_dict(config)))
    assert list(written) == [field.name for field in fields(config)] and type(config)(**written) == config
    with pytest.raises(FrozenInstanceError):
        config.steps = 2


@pytest.mark.parametrize("rate", ["file", "nonzeros", "positions"])
@given(bpp=st.floats(0.05, 1), steps=st.integers(6_000, 100_000))
def test_sparsity_at_scales_with_rate_and_steps(rate, bpp, steps):
    base = replace(configs.LOONIE_FILE if rate == "file" else configs.LOONIE_NONZEROS, rate=rate)
    found, longer = sparsity_at(rate, bpp, steps), sparsity_at(rate, bpp, 2 * steps)
    assert asdict(sparsity_at(rate, 0.3, 6000)) == asdict(base), "what it was chosen at"
    for name in ("dual_lr", "gate_lr", "step_lr"):
        assert getattr(longer, name) == pytest.approx(getattr(found, name) / 2) or getattr(found, name) >= 0.05
    smaller = sparsity_at(rate, bpp / 2, steps)
    assert smaller.dual_lr >= 2 * found.dual_lr and smaller.gate_lr >= found.gate_lr, "a bit is worth more"
    assert (smaller.multiplier > found.multiplier) == (rate == "file") and longer.multiplier == found.multiplier
    changes = {"multiplier": 0.5, "round_from": 0.5}
    assert sparsity_at(rate, bpp, steps, **changes) == replace(found, **changes)


# Presets --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("training", "optimiser", "lr", "steps", "schedule"),
    [
        # Dupont et al. 2021, and the released code: Adam at 2e-4, 50,000 steps.
        (loonie.PRESETS["paper"].fit, "adam", 2e-4, 50_000, "constant"),
        # Gille et al. 2022, the released code: Adam at 1e-4; 100 epochs are 757,000 steps on all 473 pictures.
        (sparse_cae.PRESETS["paper"].descent, "adam", 1e-4, 757_000, "constant"),
        # Zhao & Liao 2019: Adam at 4e-3, halved on a plateau; 300 epochs (of our 1,600 crops) in batches of 32.
        (cae_admm.PRESETS["paper"].descent, "adam", 4e-3, 300 * 1600 // 32, "plateau"),
    ],
    ids=["coin", "sparse_cae", "cae_admm"],
)
def test_paper_preset_trains_as_printed(training, optimiser, lr, steps, schedule):
    assert (training.optimiser, training.lr, training.steps) == (optimiser, lr, steps)
    assert (training.schedule, training.warmup) == (schedule, 0)


def test_paper_preset_has_the_networks_and_constraints_as_printed():
    coin, sparse, admm = (of.PRESETS["paper"] for of in (loonie, sparse_cae, cae_admm))
    # Dupont et al. 2021: five networks on Kodak, every pixel in every step, SIREN's first values.
    assert coin.architectures == ("5x20", "5x30", "10x28", "10x40", "13x49") and coin.pictures == 24
    assert (coin.fit.batch_pixels, coin.fit.start) == (None, "random")
    # Gille et al. 2022: 83 % of the weights are zero; the released code's batch, crop and weight decay.
    assert sparse_cae.S == 0.83 and sparse.width == 128
    assert (sparse.descent.batch, sparse.descent.crop, sparse.descent.weight_decay) == (16, 128, 1e-5)
    # Zhao & Liao 2019: 10 % of a code stays, updates every 20 epochs, 15 blocks; the released code's rho.
    assert (admm.pruning.keep, admm.pruning.rho) == (0.1, 0.1) and admm.pruning.interval == 20 * 1600 // 32
    assert (admm.descent.batch, admm.descent.crop, admm.width, admm.depth) == (32, 128, 128, 15)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_agree_with_themselves(name):
    siren, cae, code = (of.PRESETS[name] for of in (loonie, sparse_cae, cae_admm))
    for budget in (siren.file, siren.gates, siren.magnitude, siren.parts):
        assert budget.score_every <= budget.steps // 4, "too seldom to be kept, or to be restarted"
    assert cae.descent.score_every <= cae.descent.steps and code.descent.score_every <= code.descent.steps
    assert cae.descent.quantiser == "noise", "what is trained must know that it will be rounded"
    assert code.descent.steps // code.pruning.interval >= 15 and code.descent.steps >= 4 * code.descent.mse_steps
    assert code.descent.codes % code.descent.batch == 0, "in an epoch every crop has its turn"
    assert code.descent.settle <= code.descent.steps
    assert replace(code.pruning, interval=100) == Pruning(), "of ADMM only how often differs"
    assert set(siren.starts) <= set(loonie.DUAL) or name == "smoke", "the paper's game knows no other rate"


# Sets -----------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 80))
def test_spread_is_even(length, count):
    names = [str(i) for i in range(length)]
    chosen = [names.index(name) for name in spread(names, count)]
    assert len(set(chosen)) == len(chosen) == min(count, length) and chosen == sorted(chosen) and chosen[0] == 0
    steps = {b - a for a, b in zip(chosen, [*chosen[1:], chosen[0] + length], strict=True)}
    assert max(steps) - min(steps) <= 1


def test_spread_refuses_no_pictures():
    with pytest.raises(ValueError, match="count"):
        spread(["a"], 0)
