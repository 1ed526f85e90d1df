from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, fields

import pytest

from sparsecomp import profiles
from sparsecomp.models.siren import Architecture
from sparsecomp.profiles import FitBudget


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
    with pytest.raises(ValueError, match=f"{name}="):
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
    with pytest.raises(ValueError, match="profile='huge': one of smoke, laptop, paper-fast, paper"):
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
    with pytest.raises(ValueError, match="count=0"):
        profiles.spread(names, 0)
