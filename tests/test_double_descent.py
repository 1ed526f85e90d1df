"""Between two descents: what is grouped, what is projected, what is masked, and what begins anew."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds
from tiny_cae import model as drawn

from sparsecomp.complexity import count_macs
from sparsecomp.data import bundled
from sparsecomp.models.sparse_cae import Shape, SparseCAE
from sparsecomp.sparsify.projections import PROJECTIONS, ball_norm
from sparsecomp.sparsify.surgery import prune
from sparsecomp.training.autoencoder import CaeTraining
from sparsecomp.training.configs import Descent
from sparsecomp.training.double_descent import (
    CONSTRAINTS,
    LAYERS,
    RADII,
    Constraint,
    groups_of,
    project,
    second_start,
)
from sparsecomp.training.loop import run

COFFEE = {"coffee": bundled()["coffee"][:64, :64]}
FIRST = "encoder.conv1.weight"
LAST = "encoder.conv3.weight"  # its filters are the channels of the latent
DESCENT = Descent(steps=4, lr=0.02, warmup=0, batch=2, crop=16, reduce=1, schedule="constant")


@pytest.fixture(scope="module")
def first() -> SparseCAE:
    """Every weight and bias is drawn: none is zero."""
    return drawn(seed=5, width=16, latent=4)


def weights_of(model: SparseCAE, layers: str = "encoder") -> dict[str, torch.Tensor]:
    named = {name: p.detach() for name, p in model.named_parameters() if p.dim() == 4}
    return {name: p for name, p in named.items() if layers == "all" or name.startswith("encoder.")}


def state(model: SparseCAE) -> dict[str, torch.Tensor]:
    return {name: t.clone() for name, t in model.state_dict().items()}


def macs(model: SparseCAE, projected) -> int:
    left = SparseCAE(model.shape)
    left.load_state_dict(model.state_dict() | projected.weights)
    with torch.no_grad():
        for name, mask in projected.masks.items():
            left.get_parameter(name).mul_(mask)
    return count_macs(prune(left.encoder), (1, 3, 64, 64))


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("layers", LAYERS)
def test_groups_of_holds_every_weight_once(first, layers, coupled):
    weights, groups = weights_of(first, layers), groups_of(first, layers, coupled)
    assert sorted(name for group in groups for name in group.names) == sorted(weights), "each once, no bias among them"
    for group in groups:
        matrix, back = group.matrix(weights), group.split(group.matrix(weights), weights)
        assert matrix.numel() == sum(weights[name].numel() for name in group.names)
        assert set(back) == set(group.names) and all(torch.equal(back[name], weights[name]) for name in back)
    stream = [group for group in groups if len(group.names) > 1]
    writers = [f"encoder.{name}.weight" for name in ("conv2", *(f"blocks.{k}.conv2" for k in range(3)))]
    assert [sorted(group.names) for group in stream] == ([sorted(writers)] if coupled else [])


def check_masks(model: SparseCAE, found, layers: str, coupled: bool) -> int:
    """Weights shrink, masks say which are left, a filter without weights has no bias. Returns how many have none."""
    weights, dead = weights_of(model, layers), 0
    assert set(found.weights) == set(weights)
    assert set(found.masks) == {n for w in weights for n in (w, w.removesuffix("weight") + "bias")}
    zeros = sum(int((w == 0).sum()) for w in found.weights.values())
    assert found.sparsity == pytest.approx(zeros / sum(w.numel() for w in weights.values()), abs=1e-12)
    for name, weight in found.weights.items():
        assert torch.equal(found.masks[name], weight != 0) and weight.shape == weights[name].shape
        assert (weight.abs() <= weights[name].abs() + 1e-6).all() and (weight * weights[name] >= 0).all()
        bias = found.masks[name.removesuffix("weight") + "bias"]
        filters = weight.transpose(0, 1) if ".up" in name else weight
        assert bias.dtype == torch.bool and torch.equal(bias, (filters != 0).flatten(1).any(1)), name
        dead += int((~bias).sum())
    return dead


@pytest.mark.parametrize("kind", CONSTRAINTS)
@settings(max_examples=4)
@given(st.sampled_from(LAYERS), st.booleans(), st.floats(0.3, 0.9), st.sampled_from(RADII))
def test_project_reaches_the_sparsity(first, kind, layers, coupled, sparsity, radius):
    before = state(first)
    found = project(first, Constraint(kind, sparsity, layers, radius, coupled))
    assert all(torch.equal(before[name], t) for name, t in first.state_dict().items()), "the model was changed"
    dead, weights = check_masks(first, found, layers, coupled), weights_of(first, layers)
    total = sum(w.numel() for w in weights.values())
    group = max(g.matrix(weights).shape[1] for g in groups_of(first, layers, coupled)) / total
    per_layer = len(weights) if radius == "per_layer" else 1
    grain = 2 * group if kind in ("l21", "l1inf", "bilevel_l1inf") else group if "bilevel" in kind else 2 / total
    assert sparsity - 1 / total <= found.sparsity <= sparsity + grain * per_layer, "zeros come in groups at most"
    if kind in ("l21", "bilevel_l1inf") and sparsity > 0.7:
        assert dead >= 3
    if kind in PROJECTIONS:
        for g in groups_of(first, layers, coupled):
            was, is_ = g.matrix(weights), g.matrix(found.weights)
            eta = found.radius * ball_norm(was, kind) if radius == "per_layer" else found.radius
            assert ball_norm(is_, kind) == pytest.approx(min(eta, ball_norm(was, kind)), rel=1e-4)
            torch.testing.assert_close(is_, PROJECTIONS[kind](was, eta), atol=1e-6, rtol=1e-5)
    else:
        assert found.radius is None


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("kind", ["l1inf", "bilevel_l1inf"])
def test_project_empties_taps_where_they_are_the_groups(first, kind, radius):
    found, weights = project(first, Constraint(kind, 0.7, radius=radius, grouping="taps")), weights_of(first)
    assert found.sparsity == pytest.approx(0.7, abs=0.02)
    empty = 0
    for name, weight in found.weights.items():
        taps = weights[name].flatten(1).T.contiguous()
        eta = found.radius * ball_norm(taps, kind) if radius == "per_layer" else found.radius
        torch.testing.assert_close(weight.flatten(1).T, PROJECTIONS[kind](taps, eta), atol=1e-6, rtol=1e-5)
        assert torch.equal(found.masks[name], weight != 0)
        empty += int((weight == 0).all(0).sum())
    filters = project(first, Constraint(kind, 0.7, radius=radius))
    assert empty > sum(int((w == 0).all(0).sum()) for w in filters.weights.values())
    with pytest.raises(ValueError, match="grouping must be filters where they are coupled or go first, got 'taps'"):
        Constraint(kind, 0.7, coupled=True, grouping="taps")


@pytest.mark.parametrize("kind", ["magnitude", "random"])
@settings(max_examples=8)
@given(sparsity=st.floats(0, 0.999), seed=seeds)
def test_project_controls_keep_exactly_as_many(first, kind, sparsity, seed):
    found, weights = project(first, Constraint(kind, sparsity), seed), weights_of(first)
    kept = torch.cat([found.masks[name].flatten() for name in weights])
    assert int(kept.sum()) == round((1 - sparsity) * len(kept))
    assert all(torch.equal(w, weights[name] * found.masks[name]) for name, w in found.weights.items())
    if kind == "magnitude":
        sizes = torch.cat([w.abs().flatten() for w in weights.values()])
        assert sizes[kept].min() >= sizes[~kept].max() if 0 < kept.sum() < len(kept) else True
    else:
        other = project(drawn(seed=6, width=16, latent=4), Constraint(kind, sparsity), seed)
        assert all(torch.equal(found.masks[name], other.masks[name]) for name in weights), "of its seed alone"
        for name in weights:  # and spread evenly: no layer more than five deviations away
            share, n = float(found.masks[name].double().mean()), weights[name].numel()
            assert abs(share - (1 - sparsity)) < 5 * math.sqrt(sparsity * (1 - sparsity) / n) + 1 / n, name


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("kind", ["l1", "magnitude"])
def test_project_takes_filters_first_and_leaves_the_latents(first, kind, coupled):
    constraint = Constraint(kind, 0.8, coupled=coupled, filters=0.4)
    found, alone = project(first, constraint), project(first, replace(constraint, filters=0.0))
    gone = [check_masks(first, p, "encoder", coupled) for p in (found, alone)]
    weights, strongest, dead, largest = weights_of(first), {False: 0.0, True: 0.0}, 0, 0
    total = sum(w.numel() for w in weights.values())
    for group in groups_of(first, coupled=coupled):
        rows = group.matrix(found.weights)
        largest = max(largest, rows.shape[1])
        if group.names == (LAST,):
            assert rows.any(1).all(), "a channel of the latent is gone"
            continue
        dead += int((~rows.any(1)).sum()) * rows.shape[1]
        for before, after in zip(group.matrix(weights), rows, strict=True):
            alive = bool(after.any())
            strongest[alive] = max(strongest[alive], float(before.abs().max()))
    assert 0.4 <= dead / total < 0.4 + 2 * largest / total
    assert 0.8 - 1 / total <= found.sparsity <= 0.8 + 2 / total
    assert strongest[False] < strongest[True] and gone[0] > gone[1] and macs(first, found) < macs(first, alone)


@pytest.fixture(scope="module")
def trained() -> SparseCAE:
    """Of seed 7, and no longer what it began with."""
    return run(CaeTraining(SparseCAE(Shape(16, 4), 7), COFFEE, COFFEE, DESCENT, seed=7)).model


@pytest.mark.parametrize("restart", ["rewind", "random", "trained"])
def test_second_start_is_masked(trained, restart):
    constraint = Constraint("bilevel_l11", 0.8, layers="all", restart=restart)
    projected, before = project(trained, constraint), state(trained)
    made, again, seeded = (second_start(trained, projected, constraint, seed) for seed in (7, 7, 8))
    if restart == "rewind":
        drawn_by_torch = SparseCAE(trained.shape, 7, "torch").encoder.conv1.weight * projected.masks[FIRST]
        papers = second_start(trained, projected, constraint, 7, start="torch")
        assert torch.equal(papers.encoder.conv1.weight, drawn_by_torch)
    begun, found, other = SparseCAE(trained.shape, 7).state_dict(), state(made), seeded.state_dict()
    assert made.shape == trained.shape and all(torch.equal(t, found[n]) for n, t in again.state_dict().items())
    for name, tensor in found.items():
        mask = projected.masks.get(name, torch.ones_like(tensor, dtype=torch.bool))
        assert (tensor[~mask] == 0).all(), f"{name}: what is masked is zero"
        expected = begun[name] if restart == "rewind" else projected.weights.get(name, before[name])
        assert restart == "random" or torch.equal(tensor[mask], expected[mask]), name
    for name in ("encoder.conv1.weight", "decoder.conv4.weight"):
        assert torch.equal(found[name], other[name]) == (restart == "trained")
        assert restart != "random" or not torch.equal(found[name], begun[name] * projected.masks.get(name, True))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(1)
    assert all(torch.equal(before[n], t) for n, t in trained.state_dict().items()), "they share no memory"


def test_second_descent_stays_sparse(trained):
    constraint = Constraint("bilevel_l11", 0.8)
    projected = project(trained, constraint)
    assert projected.sparsity >= 0.8 and not any(name.startswith("decoder") for name in projected.masks)
    start = second_start(trained, projected, constraint, 7)
    before, adam = state(start), replace(DESCENT, optimiser="adam")
    ours = run(CaeTraining(start, COFFEE, COFFEE, adam, masks=projected.masks)).model
    assert not any(ours.get_parameter(n)[~projected.masks[n]].any() for n in projected.weights)
    free = [n for n in before if n.startswith("decoder.")]
    assert all((ours.get_parameter(n) != before[n]).any() for n in free), "the decoder trains as ever"
