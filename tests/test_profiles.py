"""Budgets: what is legal, what is refused, and how they scale."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsecomp import profiles
from sparsecomp.models.cae_admm import Shape
from sparsecomp.models.siren import Architecture
from sparsecomp.profiles import CodeDescent, Descent, FitBudget, Pruning, Sparsity, sparsity_at

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
    FitBudget(steps=1, lr=0.999, warmup=0, score_every=1, batch_pixels=256),
    FitBudget(steps=1, lr=1e-9, batch_pixels=None),
    *(Sparsity("file", "none", False, True, 1e-12, 1, 1, 0, log_alpha, 1, 10, 1) for log_alpha in (-4, 4)),
    *(Descent(1, 1e-9, "adam", "constant", 0, 0, 1, 4, 1, *quantised, 0, 1) for quantised in
      (("noise", 1 / 256, 1 / 256), ("none", 4, 4), ("straight_through", 1 / 256, 4))),
    *(CodeDescent(1, 1e-9, "muon", schedule, 0, 0, 1, 104, 1, 0, 1, 1, 1)
      for schedule in ("constant", "cosine", "plateau")),
    *(Pruning(1, 1e-9, 1, z_update, state, "norm") for z_update in ("top_l", "released")
      for state in ("per_code", "data_set")),
]  # fmt: skip


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
    written = json.loads(json.dumps(profiles.as_dict(config)))
    assert list(written) == [field.name for field in fields(config)] and type(config)(**written) == config
    with pytest.raises(FrozenInstanceError):
        config.steps = 2


@given(bpp=st.floats(0.05, 1), steps=st.integers(10, 100_000))
def test_sparsity_at_scales_with_rate_and_steps(bpp, steps):
    """At half the rate the multiplier and its steps grow; with twice the steps the rates are halved."""
    ratio, haste = 0.3 / bpp, 6000 / steps
    base = profiles.LOONIE_FILE
    file = {
        "multiplier": base.multiplier * ratio**1.5, "dual_lr": base.dual_lr * ratio**2 * haste,
        "gate_lr": min(0.1, base.gate_lr * max(1, ratio) ** 0.4 * haste), "step_lr": min(0.05, base.step_lr * haste),
    }  # fmt: skip
    assert vars(sparsity_at("file", bpp, steps)) == pytest.approx(vars(base) | file)
    base = profiles.LOONIE_NONZEROS
    nonzeros = file | {
        "multiplier": 0, "dual_lr": base.dual_lr * ratio ** (2.3 if bpp < 0.3 else 1) * haste,
        "gate_lr": min(0.1, base.gate_lr * max(1, ratio) ** 0.4 * haste),
    }  # fmt: skip
    assert vars(sparsity_at("nonzeros", bpp, steps)) == pytest.approx(vars(base) | nonzeros)
    changed = {"gates": "median", "multiplier": 0.5, "round_from": 0.5}
    found = sparsity_at("positions", bpp, steps, **changed)
    assert vars(found) == pytest.approx(vars(base) | nonzeros | changed | {"rate": "positions"})


@pytest.mark.parametrize("bpp", profiles.LOONIE_STARTS)
def test_loonie_starts_are_named_by_the_rate_of_the_dense_network(bpp):
    start, dense = (Architecture.parse(name).n_parameters for name in profiles.LOONIE_STARTS[bpp])
    assert 16 * dense / (512 * 768) == pytest.approx(bpp, rel=0.08), "on Kodak"
    assert 1.2 < start / dense < 2.3
    assert profiles.LOONIE_DUAL[bpp] > 0 and set(profiles.LOONIE_DUAL) == set(profiles.LOONIE_STARTS)


@pytest.mark.parametrize("name", profiles.PROFILES)
def test_profiles_agree_with_themselves(name):
    profile = profiles.get(name)
    assert profile.name == name and all(str(Architecture.parse(a)) == a for a in profile.architectures)
    for budget in (profile.loonie_file, profile.loonie, profile.loonie_parts):
        assert budget.score_every <= budget.steps // 4, "too seldom to be kept, or to be restarted"
    assert profile.cae.score_every <= profile.cae.steps and Shape(profile.cae_width)
    assert profile.cae.quantiser == "noise", "what is trained must know that it will be rounded"
    code, pruning = profile.code, profile.pruning
    assert Shape(profile.code_width, 32, profile.code_depth).depth == profile.code_depth
    assert code.steps // pruning.interval >= 15 and code.steps >= 4 * code.mse_steps
    assert code.codes % code.batch == 0, "in an epoch every crop has its turn"
    assert code.score_every <= code.steps and code.settle <= code.steps
    admm = profiles.get("paper").pruning
    assert replace(pruning, interval=admm.interval) == admm, "of ADMM only how often differs"


def test_paper_profile_trains_codes_for_300_epochs_and_updates_every_20():
    paper = profiles.get("paper")
    epoch = paper.code.codes // paper.code.batch
    assert (paper.code.steps, paper.pruning.interval) == (300 * epoch, 20 * epoch)


@given(st.integers(1, 60), st.integers(1, 80))
def test_spread_is_even(length, count):
    names = [str(i) for i in range(length)]
    chosen = [names.index(name) for name in profiles.spread(names, count)]
    assert len(set(chosen)) == len(chosen) == min(count, length) and chosen == sorted(chosen) and chosen[0] == 0
    steps = {b - a for a, b in zip(chosen, [*chosen[1:], chosen[0] + length], strict=True)}
    assert max(steps) - min(steps) <= 1


def test_profiles_refuse():
    with pytest.raises(ValueError, match="profile.*smoke"):
        profiles.get("huge")
    with pytest.raises(ValueError, match="count"):
        profiles.spread(["a"], 0)
