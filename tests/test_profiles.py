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
COUNT, RATE, DECAY = (0, -1, 1.5, True, None), (0, 1, -1e-3, NAN), (-1e-9, 1, NAN)
WRONG = {
    FitBudget: {
        "steps": COUNT, "warmup": (-1, 0.5), "score_every": (0,), "batch_pixels": (255, 300.0), "lr": RATE,
        "optimiser": ("sgd",), "schedule": ("linear",), "start": ("zero",),
    },
    Sparsity: {
        "rate": ("bytes", None), "gates": ("mean", "none"), "dual_lr": (0, -1e-3, NAN, INF), "gate_lr": (0, 1.01),
        "step_lr": (0.0, 2), "temperature": (0, 1.01, NAN), "stretch": (0, -0.1, 10.1), "round_from": (0, 1.01),
        "multiplier": (-1e-9, INF, NAN), "log_alpha": (4.1, -4.1, NAN),
    },
    Descent: {
        **dict.fromkeys(("steps", "batch", "reduce", "score_every"), COUNT), "warmup": (-1, 0.5),
        "crop": (0, 2, 6, 63, 64.0), "lr": RATE, "weight_decay": DECAY, "lam": (-1e-9, INF, NAN),
        "finest": (0, 1 / 257, 1 / 15, NAN), "coarsest": (1 / 65, 4.01, INF, NAN), "optimiser": ("soap",),
        "schedule": ("quadratic",), "quantiser": ("round", None),
    },
    CodeDescent: {
        **dict.fromkeys(("steps", "codes", "settle"), COUNT), "batch": (*COUNT, 9), "warmup": (-1, 0.5, False),
        "mse_steps": (-1, 0.5, False), "score_every": (0,), "crop": (0, 96, 103, 108, 112.0), "lr": RATE,
        "weight_decay": DECAY, "momentum": (0, -0.1, 1.01, NAN), "optimiser": ("soap", None),
        "schedule": ("quadratic",),
    },
    Pruning: {
        "interval": COUNT, "keep": (0, -0.1, 1.01, NAN), "rho": (0, -1, INF, NAN), "z_update": ("paper", None),
        "state": ("batch",), "penalty": ("l1",),
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
    """Half the rate: lambda and its steps grow; twice the steps: rates are halved, the multiplier's start is not."""
    ratio, haste = 0.3 / bpp, 6000 / steps
    file, nonzeros = sparsity_at("file", bpp, steps), sparsity_at("nonzeros", bpp, steps)
    chosen = profiles.LOONIE_FILE
    assert file.multiplier == pytest.approx(chosen.multiplier * ratio**1.5)
    assert file.dual_lr == pytest.approx(chosen.dual_lr * ratio**2 * haste)
    assert file.step_lr == pytest.approx(min(0.05, chosen.step_lr * haste))
    chosen = profiles.LOONIE_NONZEROS
    assert nonzeros.dual_lr == pytest.approx(chosen.dual_lr * ratio ** (2.3 if bpp < 0.3 else 1) * haste)
    assert nonzeros.gate_lr == pytest.approx(min(0.1, chosen.gate_lr * max(1, ratio) ** 0.4 * haste))
    assert nonzeros.round_from == chosen.round_from and nonzeros.multiplier == 0


def test_sparsity_at_may_be_changed():
    assert sparsity_at("file", 0.3, 6000) == profiles.LOONIE_FILE
    assert sparsity_at("nonzeros", 0.3, 6000) == profiles.LOONIE_NONZEROS
    assert sparsity_at("positions", 0.3, 6000) == replace(profiles.LOONIE_NONZEROS, rate="positions")
    changed = sparsity_at("file", 0.3, 6000, gates="median", multiplier=0.5, round_from=0.5)
    assert changed == replace(profiles.LOONIE_FILE, gates="median", multiplier=0.5, round_from=0.5)
    for rate, changes in (("bytes", {}), ("nonzeros", {"gates": "none"}), ("file", {"stretch": 0})):
        with pytest.raises(ValueError):
            sparsity_at(rate, 0.3, 6000, **changes)


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


def test_profiles_grow():
    smoke, laptop, fast, paper = profiles.PROFILES.values()
    assert max(b.steps for b in (smoke.fit, smoke.loonie_file, smoke.loonie, smoke.loonie_parts)) <= 300
    assert smoke.cae.steps <= 50 and smoke.cae_width <= 16 and smoke.code.steps <= 50 and smoke.code_width <= 16
    assert laptop.code_width < paper.code_width and laptop.cae_width < paper.cae_width
    epoch = paper.code.codes // paper.code.batch
    assert (paper.code.steps, paper.pruning.interval) == (300 * epoch, 20 * epoch), "300 epochs, an update every 20"


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
