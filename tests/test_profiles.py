from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from sparsecomp import profiles
from sparsecomp.models.cae_admm import Shape
from sparsecomp.models.siren import Architecture
from sparsecomp.profiles import CodeDescent, Descent, FitBudget, Pruning, Sparsity, sparsity_at


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("steps", 1.5),
        ("steps", True),
        ("warmup", -1),
        ("score_every", 0),
        ("batch_pixels", 255),
        ("batch_pixels", 300.0),
        ("lr", 0),
        ("lr", 1),
        ("lr", -1e-3),
        ("lr", math.nan),
        ("optimiser", "sgd"),
        ("schedule", "linear"),
        ("start", "zero"),
    ],
)
def test_a_value_out_of_range_is_named(name, value):
    with pytest.raises(ValueError, match=f"{name}( must be|=)"):
        FitBudget(**({"steps": 10, "lr": 1e-3} | {name: value}))


def test_the_edges_of_the_ranges_are_legal():
    budget = FitBudget(steps=1, lr=0.999, warmup=0, score_every=1, batch_pixels=256)
    assert FitBudget(**profiles.as_dict(budget)) == budget
    assert FitBudget(steps=1, lr=1e-9, batch_pixels=None).batch_pixels is None
    with pytest.raises(FrozenInstanceError):
        budget.steps = 2


def test_a_budget_goes_into_a_record_whole():
    written = json.loads(json.dumps(profiles.as_dict(profiles.FAST)))
    assert set(written) == {field.name for field in fields(FitBudget)}
    assert FitBudget(**written) == profiles.FAST


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rate", "bytes"),
        ("rate", None),
        ("gates", "mean"),
        ("gates", "none"),
        ("dual_lr", 0),
        ("dual_lr", -1e-3),
        ("dual_lr", math.nan),
        ("dual_lr", math.inf),
        ("gate_lr", 0),
        ("gate_lr", 1.01),
        ("step_lr", 0.0),
        ("step_lr", 2),
        ("temperature", 0),
        ("temperature", 1.01),
        ("temperature", math.nan),
        ("stretch", 0),
        ("stretch", -0.1),
        ("stretch", 10.1),
        ("round_from", 0),
        ("round_from", 1.01),
        ("multiplier", -1e-9),
        ("multiplier", math.inf),
        ("multiplier", math.nan),
        ("log_alpha", 4.1),
        ("log_alpha", -4.1),
        ("log_alpha", math.nan),
    ],
)
def test_a_value_of_a_game_out_of_range_is_named(name, value):
    with pytest.raises(ValueError, match=f"{name}( must be|=)"):
        Sparsity(**{name: value})


def test_the_edges_of_a_game_are_legal():
    edges = {"dual_lr": 1e-12, "gate_lr": 1, "step_lr": 1, "temperature": 1, "round_from": 1, "stretch": 10}
    for log_alpha in (-4, 4):
        game = Sparsity("file", gates="none", multiplier=0, log_alpha=log_alpha, **edges)
        assert Sparsity(**json.loads(json.dumps(profiles.as_dict(game)))) == game
    assert set(profiles.as_dict(game)) == {field.name for field in fields(Sparsity)}
    with pytest.raises(FrozenInstanceError):
        game.rate = "nonzeros"


def test_gates_are_the_papers_by_default():
    """Louizos et al. 2018, sec. 4: beta = 2/3, gamma = -0.1, zeta = 1.1; L0onie: medians, dual restarts, lambda = 0."""
    game = Sparsity()
    assert (game.temperature, game.stretch) == (pytest.approx(2 / 3), 0.1)
    assert (game.rate, game.gates, game.restarts, game.multiplier) == ("nonzeros", "median", True, 0.0)
    assert not game.structured


def test_a_game_at_its_own_rate_and_length_is_the_one_that_was_chosen():
    assert sparsity_at("file", 0.3, 6000) == profiles.LOONIE_FILE
    assert sparsity_at("nonzeros", 0.3, 6000) == profiles.LOONIE_NONZEROS
    assert profiles.LOONIE_FILE.gates == "none" and profiles.LOONIE_FILE.rate == "file"
    assert profiles.LOONIE_NONZEROS.gates == "median" and profiles.LOONIE_NONZEROS.restarts
    positions = sparsity_at("positions", 0.3, 6000)
    assert Sparsity(**profiles.as_dict(positions) | {"rate": "nonzeros"}) == profiles.LOONIE_NONZEROS


def test_a_game_at_another_rate_and_length():
    """A quarter of the rate: lambda times 8; twice the steps: rates halved, the multiplier's start as it was."""
    file, nonzeros = profiles.LOONIE_FILE, profiles.LOONIE_NONZEROS
    longer = sparsity_at("file", 0.3, 12_000)
    assert (longer.dual_lr, longer.step_lr) == pytest.approx((file.dual_lr / 2, file.step_lr / 2))
    assert longer.multiplier == file.multiplier
    small = sparsity_at("file", 0.075, 6000)
    assert small.multiplier == pytest.approx(8 * file.multiplier) and small.dual_lr == pytest.approx(16 * file.dual_lr)
    assert small.step_lr == file.step_lr and small.round_from == file.round_from
    gates = sparsity_at("nonzeros", 0.6, 12_000)
    assert gates.dual_lr == pytest.approx(nonzeros.dual_lr / 4), "half for the rate, half for the steps"
    assert gates.gate_lr == pytest.approx(nonzeros.gate_lr / 2) and gates.multiplier == 0
    pushed = sparsity_at("nonzeros", 0.075, 6000)
    assert pushed.dual_lr >= 4 * nonzeros.dual_lr and 0.1 > pushed.gate_lr >= nonzeros.gate_lr
    brief = sparsity_at("nonzeros", 0.3, 10)
    assert (brief.gate_lr, brief.step_lr) == (0.1, 0.05), "but never so fast that nothing is learnt"


def test_a_game_may_be_changed():
    changed = sparsity_at("file", 0.3, 6000, gates="median", multiplier=0.5, round_from=0.5)
    assert (changed.gates, changed.multiplier, changed.round_from) == ("median", 0.5, 0.5)
    assert changed.dual_lr == profiles.LOONIE_FILE.dual_lr
    for wrong in ({"rate": "bytes"}, {"rate": "nonzeros", "gates": "none"}, {"rate": "file", "stretch": 0}):
        with pytest.raises(ValueError):
            sparsity_at(wrong.pop("rate"), 0.3, 6000, **wrong)
    with pytest.raises(TypeError):
        sparsity_at("file", 0.3, 6000, width=3)


@pytest.mark.parametrize("bpp", profiles.LOONIE_STARTS)
def test_loonies_networks_are_named_by_the_rate_of_the_dense_one(bpp):
    start, dense = (Architecture.parse(name).n_parameters for name in profiles.LOONIE_STARTS[bpp])
    assert 16 * dense / (512 * 768) == pytest.approx(bpp, rel=0.08), "on Kodak"
    assert 1.2 < start / dense < 2.3
    assert profiles.LOONIE_DUAL[bpp] > 0 and set(profiles.LOONIE_DUAL) == set(profiles.LOONIE_STARTS)


def test_profiles_say_how_loonie_is_fitted():
    names = {field.name for field in fields(profiles.Profile)}
    assert {"loonie_file", "loonie", "loonie_parts"} <= names
    for profile in profiles.PROFILES.values():
        for budget in (profile.loonie_file, profile.loonie, profile.loonie_parts):
            assert isinstance(budget, FitBudget) and FitBudget(**profiles.as_dict(budget)) == budget
            assert budget.score_every <= budget.steps // 4, "too seldom to be kept, or to be restarted"
    smoke, laptop, paper = (profiles.get(name) for name in ("smoke", "laptop", "paper"))
    assert max(smoke.loonie_file.steps, smoke.loonie.steps, smoke.loonie_parts.steps) <= 300
    assert max(laptop.loonie.steps, laptop.loonie_parts.steps) <= laptop.loonie_file.steps
    assert paper.loonie.optimiser == "adam" and paper.loonie.batch_pixels is None, "the paper's own way"
    assert paper.loonie.steps == 50_000 and paper.loonie.lr == 1e-3
    assert (paper.loonie.schedule, paper.loonie.start) == ("constant", "random")


def test_the_reference_is_the_papers():
    reference = profiles.get("paper").fit
    assert (reference.steps, reference.lr, reference.optimiser) == (50_000, 2e-4, "adam")
    assert reference.batch_pixels is None, "every pixel in every step"
    assert reference.schedule == "constant" and reference.warmup == 0


def test_profiles_by_name():
    assert list(profiles.PROFILES) == ["smoke", "laptop", "paper-fast", "paper"]
    for name, profile in profiles.PROFILES.items():
        assert profiles.get(name) is profile and profile.name == name
        for architecture in profile.architectures:
            assert str(Architecture.parse(architecture)) == architecture
    assert {"5x20", "5x30", "10x28"} <= set(profiles.get("laptop").architectures)
    assert profiles.get("laptop").pictures == profiles.get("paper").pictures == 24
    assert profiles.get("smoke").fit.steps <= 300
    with pytest.raises(ValueError, match="profile must be one of smoke, laptop, paper-fast, paper, got 'huge'"):
        profiles.get("huge")


def test_spread_is_even():
    names = [f"kodim{i:02d}" for i in range(1, 25)]
    assert profiles.spread(names, 24) == profiles.spread(names, 99) == names
    assert profiles.spread(names, 8) == names[::3]
    assert profiles.spread(names, 1) == names[:1]
    for count in range(1, 25):
        chosen = [names.index(name) for name in profiles.spread(names, count)]
        assert len(set(chosen)) == count and chosen == sorted(chosen)
        steps = {b - a for a, b in zip(chosen, [*chosen[1:], chosen[0] + 24], strict=True)}
        assert max(steps) - min(steps) <= 1
    with pytest.raises(ValueError, match="count must be a whole number of at least 1, got 0"):
        profiles.spread(names, 0)


# Autoencoders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("steps", "batch", "reduce", "score_every") for value in (0, -1, 1.5, True, None)),
        ("warmup", -1),
        ("warmup", 0.5),
        *(("crop", value) for value in (0, 2, 6, 63, 64.0)),
        *(("lr", value) for value in (0, 1, -1e-3, math.nan)),
        *(("weight_decay", value) for value in (-1e-9, 1, math.nan)),
        *(("lam", value) for value in (-1e-9, math.inf, math.nan)),
        *(("finest", value) for value in (0, 1 / 257, 1 / 15, math.nan)),
        *(("coarsest", value) for value in (1 / 65, 4.01, math.inf, math.nan)),
        ("optimiser", "soap"),
        ("schedule", "quadratic"),
        ("quantiser", "round"),
        ("quantiser", None),
    ],
)
def test_a_value_of_a_descent_out_of_range_is_named(name, value):
    with pytest.raises(ValueError, match=f"{name}( must be|=)") as caught:
        Descent(**({"steps": 10, "finest": 1 / 64, "coarsest": 1 / 16} | {name: value}))
    assert "\n" not in str(caught.value)


def test_the_edges_of_a_descent_are_legal():
    least = {"warmup": 0, "batch": 1, "crop": 4, "reduce": 1, "score_every": 1, "lr": 1e-9, "weight_decay": 0, "lam": 0}
    for steps in ((1 / 256, 1 / 256), (4, 4), (1 / 256, 4)):
        descent = Descent(1, finest=steps[0], coarsest=steps[1], **least)
        assert Descent(**json.loads(json.dumps(profiles.as_dict(descent)))) == descent
    assert set(profiles.as_dict(descent)) == {field.name for field in fields(Descent)}
    with pytest.raises(FrozenInstanceError):
        descent.steps = 2


def test_profiles_say_how_autoencoders_are_trained():
    for profile in profiles.PROFILES.values():
        assert isinstance(profile.cae, Descent) and profile.cae_width % 8 == 0
        assert profile.cae.score_every <= profile.cae.steps
        assert profile.cae.quantiser == "noise", "what is trained must know that it will be rounded"
    smoke, laptop, fast, paper = profiles.PROFILES.values()
    assert smoke.cae.steps <= 50 and smoke.cae_width <= 16
    assert laptop.cae_width < paper.cae_width == fast.cae_width == 128, "the paper's, and less on a CPU"
    assert (paper.cae.optimiser, paper.cae.lr, paper.cae.weight_decay) == ("adam", 1e-4, 1e-5)
    assert (paper.cae.batch, paper.cae.crop, paper.cae.schedule, paper.cae.warmup) == (16, 128, "constant", 0)


# Short codes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("steps", "batch", "codes", "settle") for value in (0, -1, 1.5, True, None)),
        *((name, value) for name in ("warmup", "mse_steps") for value in (-1, 0.5, False)),
        ("score_every", 0),
        *(("crop", value) for value in (0, 96, 103, 108, 112.0)),
        ("batch", 9),
        *(("lr", value) for value in (0, 1, -1e-3, math.nan)),
        *(("weight_decay", value) for value in (-1e-9, 1, math.nan)),
        *(("momentum", value) for value in (0, -0.1, 1.01, math.nan)),
        ("optimiser", "soap"),
        ("optimiser", None),
        ("schedule", "quadratic"),
    ],
)
def test_a_value_of_a_descent_to_a_code_out_of_range_is_named(name, value):
    with pytest.raises(ValueError, match=f"{name}( must be|=)") as caught:
        CodeDescent(**({"steps": 10, "batch": 2, "codes": 8} | {name: value}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("interval", value) for value in (0, -1, 1.5, True, None)),
        *(("keep", value) for value in (0, -0.1, 1.01, math.nan)),
        *(("rho", value) for value in (0, -1, math.inf, math.nan)),
        ("z_update", "paper"),
        ("z_update", None),
        ("state", "batch"),
        ("penalty", "l1"),
    ],
)
def test_a_value_of_a_pruning_out_of_range_is_named(name, value):
    with pytest.raises(ValueError, match=f"{name}( must be|=)") as caught:
        Pruning(**{name: value})
    assert "\n" not in str(caught.value)


def test_the_edges_of_a_descent_to_a_code_and_of_a_pruning_are_legal():
    least = {"warmup": 0, "batch": 1, "codes": 1, "crop": 104, "mse_steps": 0, "settle": 1, "score_every": 1}
    for schedule in ("constant", "cosine", "plateau"):
        descent = CodeDescent(1, lr=1e-9, schedule=schedule, weight_decay=0, momentum=1, **least)
        assert CodeDescent(**json.loads(json.dumps(profiles.as_dict(descent)))) == descent
    assert set(profiles.as_dict(descent)) == {field.name for field in fields(CodeDescent)}
    for z_update in ("top_l", "released"):
        for state in ("per_code", "data_set"):
            pruning = Pruning(1, 1e-9, 1, z_update, state, "norm")
            assert Pruning(**json.loads(json.dumps(profiles.as_dict(pruning)))) == pruning
    assert set(profiles.as_dict(pruning)) == {field.name for field in fields(Pruning)}
    for frozen in (descent, pruning):
        with pytest.raises(FrozenInstanceError):
            frozen.steps = 2


def test_pruning_is_the_papers_by_default():
    """Zhao & Liao 2019: a tenth of the code is kept; each code has its Z and U; the squared penalty, the projection."""
    pruning = Pruning()
    assert (pruning.keep, pruning.z_update, pruning.state, pruning.penalty) == (0.1, "top_l", "per_code", "square")
    assert pruning.rho == 0.1, "the released code's"


def test_profiles_say_how_short_codes_are_trained():
    admm = profiles.get("paper").pruning
    for profile in profiles.PROFILES.values():
        code, pruning = profile.code, profile.pruning
        assert isinstance(code, CodeDescent) and isinstance(pruning, Pruning)
        assert Shape(profile.code_width, 32, profile.code_depth).depth == profile.code_depth
        assert code.steps // pruning.interval >= 15 and code.steps >= 4 * code.mse_steps
        assert code.codes % code.batch == 0, "in an epoch every crop has its turn"
        assert code.score_every <= code.steps and code.settle <= code.steps
        assert replace(pruning, interval=admm.interval) == admm, "of ADMM only how often differs"
    smoke, laptop, fast, paper = profiles.PROFILES.values()
    assert smoke.code.steps <= 50 and smoke.code_width <= 16 and smoke.code_depth <= 2
    assert laptop.code_width < paper.code_width == fast.code_width == 128
    assert laptop.code_depth < paper.code_depth == fast.code_depth == 15
    assert (paper.code.optimiser, paper.code.lr, paper.code.schedule) == ("adam", 4e-3, "plateau")
    assert (paper.code.batch, paper.code.crop, paper.code.warmup) == (32, 128, 0)
    epoch = paper.code.codes // paper.code.batch
    assert (paper.code.steps, paper.pruning.interval) == (300 * epoch, 20 * epoch), "300 epochs, an update every 20"
    assert paper.code.settle == paper.code.steps, "as PyTorch has it: the batch's statistics to the end"
