"""Configurations of trainings, and the presets of each paper that are made of them."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from pathlib import Path

import pytest

from reproduce.papers import cae_admm, loonie, sparse_cae
from reproduce.runner import Request
from sparsecomp.options import as_dict
from sparsecomp.training.configs import PRESETS, CodeDescent, Descent, FitBudget, Pruning, Sparsity

LEGAL = {
    FitBudget: {"steps": 10, "lr": 1e-3},
    Sparsity: {},
    Descent: {"steps": 10, "finest": 1 / 64, "coarsest": 1 / 16},
    CodeDescent: {"steps": 10, "batch": 2, "codes": 8},
    Pruning: {},
}
WRONG = {  # one value of each field, and bounds that follow from another field or from the format
    FitBudget: {"steps": [0], "lr": [1], "optimiser": ["sgd"], "batch_pixels": [255], "schedule": ["linear"],
                "warmup": [-1], "start": ["random"], "score_every": [0]},
    Sparsity: {"rate": ["bytes"], "gates": ["mean", "none"], "dual_lr": [0], "gate_lr": [1.01], "step_lr": [0.0],
               "multiplier": [-1e-9], "log_alpha": [4.1, -4.1], "temperature": [0], "stretch": [10.1],
               "round_from": [0], "drop_rate": [1.0], "proxy_bits": [8], "limit": [-1], "gate_betas": [(0.9, 1.0)],
               "loss": ["max"]},
    Descent: {"steps": [0], "batch": [0], "reduce": [0], "score_every": [0], "warmup": [-1], "crop": [6], "lr": [0],
              "weight_decay": [1], "lam": [math.inf], "finest": [1 / 257, 1 / 15], "coarsest": [1 / 65, 4.01],
              "optimiser": ["soap"], "schedule": ["quadratic"], "quantiser": ["round"], "start": ["mean"]},
    CodeDescent: {"steps": [0], "codes": [0], "settle": [-1], "score_every": [0], "batch": [9], "warmup": [-1],
                  "mse_steps": [-1], "crop": [96, 108], "lr": [1], "weight_decay": [1], "momentum": [0],
                  "optimiser": ["soap"], "schedule": ["quadratic"], "crops": ["new"], "slope": [1.1],
                  "start": ["torch"]},
    Pruning: {"interval": [0], "keep": [0], "rho": [math.inf], "z_update": ["paper"], "state": ["batch"],
              "penalty": ["l1"], "until": [-1, 0.5], "then": ["nothing", "projection"]},
}  # fmt: skip
EDGES = [
    FitBudget(1, 1e-9, "adam", None, "cosine", 0, "coin", 1),
    Sparsity(repair=False, drop_rate=0.5, proxy_bits=32, limit=3.0, loss="sum"),
    *(Sparsity("file", "none", False, True, 1e-12, 1, 1, 0, log_alpha, 1, 10, 1) for log_alpha in (-4, 4)),
    *(Descent(1, 1e-9, "adam", "constant", 0, 0, 1, 4, 1, "none", step, step) for step in (1 / 256, 4)),
    CodeDescent(1, 0.999, "muon", "plateau", 0, 0, 1, 104, 1, 0, 1, 1, 1),
    Pruning(1, 1e-9, 1, "released", "data_set", "norm"),
    Pruning(balance=True, until=0, then="projection"),
]


@pytest.mark.parametrize("kind", WRONG)
def test_configuration_refuses(kind):
    for name, values in WRONG[kind].items():
        for value in values:
            with pytest.raises(ValueError, match=rf"\b{name}\b") as caught:
                kind(**LEGAL[kind] | {name: value})
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("config", EDGES, ids=str)
def test_as_dict_holds_a_configuration_whole(config):
    """As in a record: by way of JSON the same configuration comes back."""
    written = json.loads(json.dumps(as_dict(config)))
    assert type(config)(**written) == config
    missing = [field.name for field in fields(config) if field.name not in written]
    assert all(field.metadata.get("later") and getattr(config, field.name) == field.default
               for field in fields(config) if field.name in missing)  # fmt: skip


def test_as_dict_keeps_the_names_of_old_records():
    """A field that came later is left out at its default, and a start keeps the name it had."""
    assert as_dict(FitBudget(1, 0.1, start="torch"))["start"] == "random"
    assert not as_dict(Sparsity()).keys() & {"drop_rate", "proxy_bits", "limit", "gate_betas", "loss", "repair"}
    assert as_dict(Sparsity(gate_betas=(0.9, 0.999)))["gate_betas"] == [0.9, 0.999]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_agree_with_themselves(name):
    siren, cae, code = (of.PRESETS[name] for of in (loonie, sparse_cae, cae_admm))
    for budget in (siren.file, siren.gates, siren.magnitude, siren.parts):
        assert budget.score_every <= budget.steps // 4, "too seldom to be kept, or to be restarted"
    assert cae.descent.score_every <= cae.descent.steps and code.descent.score_every <= code.descent.steps
    wanted = ("none", "torch", ("high",)) if name == "paper" else ("noise", "dct", None)
    assert (cae.descent.quantiser, cae.descent.start, cae.models) == wanted, "the released code knows of no rounding"
    assert code.descent.steps // code.pruning.interval >= 15 and code.descent.steps >= 4 * code.descent.mse_steps
    assert code.descent.codes % code.descent.batch == 0, "in an epoch every crop has its turn"
    assert code.descent.settle <= code.descent.steps
    remedies = {"balance": True, "until": 1000, "then": "projection"} if name == "desktop" else {}
    assert replace(code.pruning, interval=100) == Pruning(**remedies), "of ADMM only how often differs"


def test_preset_paper_of_the_siren_papers_begins_and_plays_as_released():
    """COIN's first values and coordinates everywhere; L0onie's game as released; the dense COIN at its own rate."""
    request = Request("paper", Path("runs"), pictures_of="bundled")
    plans = [plan for make in (loonie.coin_plans, loonie.race_plans) for plan in make(request)]
    plans += [plan for plan in loonie.loonie_plans(request) if not plan.name.startswith("file")]
    assert {plan.budget.start for plan in plans} == {"coin"}
    assert {plan.fitting.coordinates for plan in plans if plan.study == "coin"} == {"coin"}
    of = {plan.name.partition("-0.3")[0]: plan for plan in plans if "-0.3-" in plan.name}
    assert (of["nonzeros"].budget.lr, of["dense"].budget.lr, of["magnitude"].budget.lr) == (1e-3, 2e-4, 2e-4)
    game = of["nonzeros"].fitting.config["sparsity"]
    assert (game["drop_rate"], game["proxy_bits"], game["limit"], game["repair"]) == (0.5, 32, 3.0, False)
