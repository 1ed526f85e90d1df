"""Between two descents: what is grouped, what is projected, what is masked, and what begins anew."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tiny_cae import model as drawn
from torch import nn

from sparsecomp.complexity import count_macs
from sparsecomp.data import bundled
from sparsecomp.models.sparse_cae import Shape, SparseCAE
from sparsecomp.profiles import Descent
from sparsecomp.sparsify.projections import PROJECTIONS, ball_norm
from sparsecomp.sparsify.surgery import prune
from sparsecomp.training.autoencoder import Training
from sparsecomp.training.double_descent import CONSTRAINTS, Constraint, groups_of, project, second_start, stream_writers

WAYS = [("encoder", False), ("encoder", True), ("all", False), ("all", True)]
S = 0.7
COFFEE = {"coffee": bundled()["coffee"][:64, :64]}


@pytest.fixture(scope="module")
def first() -> SparseCAE:
    """Every weight and bias is drawn: none is zero."""
    return drawn(seed=5, width=16, latent=4)


def weights_of(model: SparseCAE, layers: str) -> dict[str, torch.Tensor]:
    return {
        name: p.detach()
        for name, p in model.named_parameters()
        if p.dim() == 4 and (layers == "all" or name.startswith("encoder."))
    }


def state(model: SparseCAE) -> dict[str, torch.Tensor]:
    return {name: t.clone() for name, t in model.state_dict().items()}


def macs(model: SparseCAE, projected) -> int:
    left = SparseCAE(model.shape)
    left.load_state_dict(model.state_dict() | projected.weights)
    with torch.no_grad():
        for name, mask in projected.masks.items():
            left.get_parameter(name).mul_(mask)
    return count_macs(prune(left.encoder), (1, 3, 64, 64))


# Groups ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layers", "coupled"), WAYS)
def test_every_weight_is_in_one_group(first, layers, coupled):
    named = dict(first.named_parameters())
    groups = groups_of(first, layers, coupled)
    names = [name for group in groups for name in group.names]
    assert sorted(names) == sorted(weights_of(first, layers)), "each one once, no bias among them"
    numbered, at = {}, 0
    for name, weight in named.items():  # weights that are their own numbers
        numbered[name] = torch.arange(at, at + weight.numel(), dtype=torch.float64).view(weight.shape)
        at += weight.numel()
    seen = torch.cat([group.matrix(numbered).flatten() for group in groups]).sort().values
    expected = torch.cat([numbered[name].flatten() for name in weights_of(first, layers)]).sort().values
    assert torch.equal(seen, expected)


@pytest.mark.parametrize(("layers", "coupled"), WAYS)
def test_split_is_the_way_back(first, layers, coupled):
    named = dict(first.named_parameters())
    for group in groups_of(first, layers, coupled):
        back = group.split(group.matrix(named), named)
        assert set(back) == set(group.names)
        assert all(torch.equal(back[name], named[name]) for name in group.names)


def test_a_row_is_all_that_makes_one_channel():
    """Marked filter by filter: a layer's output channel is what the row's number says, transposed layers too."""
    model = SparseCAE(Shape(16, 4))
    for coupled in (False, True):
        for group in groups_of(model, "all", coupled):
            for name in group.names:
                layer, weight = model.get_submodule(name.removesuffix(".weight")), model.get_parameter(name)
                marked = torch.zeros(weight.shape)
                rows = group.filters(marked)
                assert len(rows) == layer.out_channels
                rows[3 % len(rows)] = 1
                with torch.no_grad():
                    layer.weight.copy_(marked)
                    layer.bias.zero_()
                    made = layer(torch.ones(1, layer.in_channels, 8, 8))[0].flatten(1).any(1)
                assert made.nonzero().flatten().tolist() == [3 % len(rows)], name
                assert group.transposed == isinstance(layer, nn.ConvTranspose2d)


def test_a_coupled_row_is_a_channel_of_the_stream(first):
    named = dict(first.named_parameters())
    writers = [f"encoder.{name}.weight" for name in stream_writers(first.encoder)]
    assert writers == [f"encoder.{layer}.weight" for layer in
                       ("conv2", "blocks.0.conv2", "blocks.1.conv2", "blocks.2.conv2")]  # fmt: skip
    (stream,) = (group for group in groups_of(first, coupled=True) if len(group.names) > 1)
    assert sorted(stream.names) == sorted(writers)
    expected = torch.cat([named[name][7].flatten() for name in stream.names])
    assert torch.equal(stream.matrix(named)[7], expected)
    assert all(len(group.names) == 1 for group in groups_of(first))


# Projections ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CONSTRAINTS)
@pytest.mark.parametrize(("layers", "coupled"), [("encoder", False), ("encoder", True), ("all", False)])
def test_the_sparsity_that_was_asked_for_is_reached(first, kind, layers, coupled):
    before = state(first)
    found = project(first, Constraint(kind, S, layers=layers, coupled=coupled))
    assert all(torch.equal(before[name], t) for name, t in first.state_dict().items()), "the model was changed"
    weights = weights_of(first, layers)
    assert set(found.weights) == set(weights)
    total = sum(w.numel() for w in weights.values())
    zeros = sum(int((w == 0).sum()) for w in found.weights.values())
    assert found.sparsity == pytest.approx(zeros / total, abs=1e-12)
    group = max(g.matrix(weights).shape[1] for g in groups_of(first, layers, coupled)) / total
    grain = 2 * group if kind in ("l21", "l1inf", "bilevel_l1inf") else group if "bilevel" in kind else 2 / total
    assert S - 1 / total <= found.sparsity <= S + grain, "zeros come in groups at most"
    for name, weight in found.weights.items():
        assert weight.shape == weights[name].shape
        assert torch.equal(found.masks[name], weight != 0) and found.masks[name].dtype == torch.bool
        assert (weight.abs() <= weights[name].abs() + 1e-6).all() and (weight * weights[name] >= 0).all()


@pytest.mark.parametrize("kind", PROJECTIONS)
@pytest.mark.parametrize("radius", ["common", "per_layer"])
@pytest.mark.parametrize("coupled", [False, True])
def test_the_radius_is_each_groups(first, kind, radius, coupled):
    named = weights_of(first, "encoder")
    found = project(first, Constraint(kind, S, radius=radius, coupled=coupled))
    assert found.sparsity >= S and found.radius > 0
    shrunk = 0
    for group in groups_of(first, coupled=coupled):
        before, after = group.matrix(named), group.matrix(found.weights)
        whole = ball_norm(before, kind)
        eta = found.radius * whole if radius == "per_layer" else found.radius
        shrunk += whole > eta
        assert ball_norm(after, kind) == pytest.approx(min(eta, whole), rel=1e-4)
        torch.testing.assert_close(after, PROJECTIONS[kind](before, eta), atol=1e-6, rtol=1e-5)
    assert shrunk == len(groups_of(first, coupled=coupled)) if radius == "per_layer" else shrunk


@pytest.mark.parametrize(("layers", "coupled"), WAYS)
@pytest.mark.parametrize("kind", ["bilevel_l11", "bilevel_l1inf", "l21"])
def test_a_dead_filter_loses_its_bias(first, kind, layers, coupled):
    found = project(first, Constraint(kind, 0.8, layers=layers, coupled=coupled))
    dead = 0
    for name in found.weights:
        layer = name.removesuffix(".weight")
        bias, weight = found.masks[f"{layer}.bias"], found.weights[name]
        filters = weight.transpose(0, 1) if ".up" in name else weight
        assert bias.shape == first.get_parameter(f"{layer}.bias").shape and bias.dtype == torch.bool
        assert torch.equal(bias, (filters != 0).flatten(1).any(1)), name
        dead += int((~bias).sum())
    assert dead >= 3, "no filter is dead: nothing is tested"
    assert set(found.masks) == {n for w in found.weights for n in (w, w.removesuffix("weight") + "bias")}


@pytest.mark.parametrize("sparsity", [0, 0.5, 0.83, 0.999])
@pytest.mark.parametrize("kind", ["magnitude", "random"])
def test_controls_keep_exactly_as_many(first, kind, sparsity):
    found = project(first, Constraint(kind, sparsity), seed=3)
    weights = weights_of(first, "encoder")
    total = sum(w.numel() for w in weights.values())
    kept = torch.cat([found.masks[name].flatten() for name in weights])
    assert int(kept.sum()) == round((1 - sparsity) * total)
    assert found.radius is None
    for name, weight in found.weights.items():
        assert torch.equal(weight, weights[name] * found.masks[name]), "what is kept is kept as it is"


def test_magnitude_keeps_the_largest_of_all_layers(first):
    found = project(first, Constraint("magnitude", S))
    weights = weights_of(first, "encoder")
    assert any((w < 0).any() for w in weights.values())
    kept = torch.cat([weights[name][found.masks[name]].abs() for name in weights])
    gone = torch.cat([weights[name][~found.masks[name]].abs() for name in weights])
    assert kept.min() >= gone.max()
    shares = [float(found.masks[name].double().mean()) for name in weights]
    assert max(shares) - min(shares) > 0.1, "all layers together, not each by itself"


def test_a_random_mask_is_of_its_seed_and_of_nothing_else(first):
    other = drawn(seed=6, width=16, latent=4)
    one, again, elsewhere, seeded = (
        project(model, Constraint("random", S), seed=seed).masks
        for model, seed in ((first, 1), (first, 1), (other, 1), (first, 2))
    )
    name = "encoder.blocks.0.conv1.weight"
    assert torch.equal(one[name], again[name]) and torch.equal(one[name], elsewhere[name])
    assert not torch.equal(one[name], seeded[name])
    for weight in weights_of(first, "encoder"):  # and spread evenly: no layer more than four deviations away
        share, n = float(one[weight].double().mean()), one[weight].numel()
        assert abs(share - (1 - S)) < 4 * math.sqrt(S * (1 - S) / n), weight


def test_coupling_lets_channels_of_the_stream_disappear(first):
    """A filter of one layer alone leaves the channel to the other writers; surgery can only cut what all leave."""
    for sparsity in (0.7, 0.83):
        loose, coupled = (project(first, Constraint("bilevel_l1inf", sparsity, coupled=c)) for c in (False, True))
        assert abs(loose.sparsity - coupled.sparsity) < 0.05
        gone = [
            ~torch.stack([p.masks[f"encoder.{n}.bias"] for n in stream_writers(first.encoder)]).any(0)
            for p in (loose, coupled)
        ]
        assert int(gone[1].sum()) > int(gone[0].sum())
        assert macs(first, coupled) < macs(first, loose), sparsity


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("kind", ["l1", "magnitude"])
def test_filters_go_first_and_the_latents_stay(first, kind, coupled):
    constraint = Constraint(kind, 0.8, coupled=coupled, filters=0.4)
    found, alone = project(first, constraint), project(first, replace(constraint, filters=0.0))
    total, dead, largest = sum(w.numel() for w in found.weights.values()), 0, 0
    for group in groups_of(first, coupled=coupled):
        rows = group.matrix(found.weights)
        largest = max(largest, rows.shape[1])
        if group.names == ("encoder.conv3.weight",):
            assert rows.any(1).all(), "a channel of the latent is gone"
        dead += int((~rows.any(1)).sum()) * rows.shape[1]
    assert 0.4 <= dead / total < 0.4 + 2 * largest / total
    assert 0.8 - 1 / total <= found.sparsity <= 0.8 + 2 / total
    gone = [sum(int((~p.masks[n]).sum()) for n in p.masks if n.endswith("bias")) for p in (found, alone)]
    assert gone[0] > gone[1]
    assert macs(first, found) < macs(first, alone)
    weights = weights_of(first, "encoder")
    weights, strongest = weights_of(first, "encoder"), {False: 0.0, True: 0.0}
    for group in groups_of(first, coupled=coupled):
        if group.names != ("encoder.conv3.weight",):
            for before, after in zip(group.matrix(weights), group.matrix(found.weights), strict=True):
                alive = bool(after.any())
                strongest[alive] = max(strongest[alive], float(before.abs().max()))
    assert strongest[False] < strongest[True]


def test_a_weak_filter_of_the_last_layer_stays(first):
    """Its filters are the channels of the latent; where no more zeros are asked for, nothing else touches them."""
    model = SparseCAE(first.shape)
    model.load_state_dict(first.state_dict())
    with torch.no_grad():
        model.encoder.conv3.weight.mul_(torch.tensor([1e-3, 50, 50, 50]).view(4, 1, 1, 1))
    found = project(model, Constraint("l1", 0.4, filters=0.4))
    assert (
        found.sparsity >= 0.4 and found.masks["encoder.conv3.weight"].all() and found.masks["encoder.conv3.bias"].all()
    )
    gone = project(model, Constraint("bilevel_l1inf", 0.4))
    assert not gone.masks["encoder.conv3.bias"][0], "the projection alone would have taken it"


# The second start -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained() -> SparseCAE:
    """Of seed 7, and no longer what it began with."""
    descent = Descent(steps=4, lr=0.02, warmup=0, batch=2, crop=16, reduce=1, schedule="constant")
    training = Training(SparseCAE(Shape(16, 4), 7), COFFEE, COFFEE, descent, seed=7)
    for _ in range(descent.steps):
        training.advance()
    return training.model


@pytest.mark.parametrize("layers", ["encoder", "all"])
@pytest.mark.parametrize("restart", ["rewind", "random", "trained"])
def test_what_a_second_descent_begins_with(trained, restart, layers):
    constraint = Constraint("bilevel_l11", 0.8, layers=layers, restart=restart)
    projected, before = project(trained, constraint), state(trained)
    made = second_start(trained, projected, constraint, seed=7)
    assert made.shape == trained.shape and all(torch.equal(before[n], t) for n, t in trained.state_dict().items())
    begun = SparseCAE(trained.shape, 7).state_dict()
    found = made.state_dict()
    for name, tensor in found.items():
        mask = projected.masks.get(name, torch.ones_like(tensor, dtype=torch.bool))
        assert (tensor[~mask] == 0).all(), f"{name}: what is masked is zero"
        if restart == "rewind":
            assert torch.equal(tensor[mask], begun[name][mask]), name
        if restart == "trained":
            expected = projected.weights.get(name, before[name])
            assert torch.equal(tensor[mask], expected[mask]), name
    moved = [not torch.equal(before[name], begun[name]) for name in found if name in projected.masks]
    assert all(moved), "the first descent changed nothing: nothing is tested"
    if restart == "random":
        other = [n for n in ("encoder.conv1.weight", "decoder.conv4.weight")]
        assert not any(torch.equal(found[n], begun[n] * projected.masks.get(n, True)) for n in other)
        again = second_start(trained, projected, constraint, seed=7).state_dict()
        seeded = second_start(trained, projected, constraint, seed=8).state_dict()
        assert all(torch.equal(found[n], again[n]) for n in found)
        assert not torch.equal(found["decoder.conv4.weight"], seeded["decoder.conv4.weight"])
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(1)
    assert all(torch.equal(before[n], t) for n, t in trained.state_dict().items()), "they share no memory"
    assert all(torch.equal(mask, projected.weights[n] != 0) for n, mask in projected.masks.items() if "weight" in n)


def test_the_second_descent_as_printed_would_not_be_sparse(trained):
    """Algorithm 2 begins with W_init and masks gradients alone: pruned weights keep their first values."""
    constraint = Constraint("bilevel_l11", 0.8)
    projected = project(trained, constraint)
    descent = Descent(steps=3, lr=0.01, warmup=0, batch=2, crop=16, reduce=1, optimiser="adam")

    def pruned_but_there(model: SparseCAE) -> int:
        return sum(int((model.get_parameter(n)[~projected.masks[n]] != 0).sum()) for n in projected.weights)

    ours = Training(second_start(trained, projected, constraint, 7), COFFEE, COFFEE, descent, masks=projected.masks)
    printed = Training(SparseCAE(trained.shape, 7), COFFEE, COFFEE, descent)
    printed.masks = projected.masks
    for training in (ours, printed):
        while training.step < descent.steps:
            training.advance()
    assert pruned_but_there(ours.model) == 0
    kept = pruned_but_there(printed.model)
    assert kept == pruned_but_there(SparseCAE(trained.shape, 7)) > 100
    zeros = sum(int((ours.model.get_parameter(n) == 0).sum()) for n in projected.weights)
    assert zeros / sum(w.numel() for w in projected.weights.values()) >= projected.sparsity >= 0.8


def test_the_rest_of_the_network_is_free(trained):
    """A constraint on the encoder leaves the decoder to train as ever."""
    constraint = Constraint("bilevel_l11", 0.8)
    projected = project(trained, constraint)
    assert not any(name.startswith("decoder") for name in projected.masks)
    start = second_start(trained, projected, constraint, 7)
    before = state(start)
    descent = Descent(steps=3, lr=0.01, warmup=0, batch=2, crop=16, reduce=1)
    training = Training(start, COFFEE, COFFEE, descent, masks=projected.masks)
    while training.step < descent.steps:
        training.advance()
    assert all((training.model.get_parameter(n) != before[n]).any() for n in before if n.startswith("decoder."))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kind", "l2"),
        ("kind", None),
        ("layers", "decoder"),
        ("radius", "free"),
        ("coupled", 2),
        ("restart", "again"),
        ("sparsity", 1),
        ("sparsity", -0.1),
        ("sparsity", math.nan),
        ("filters", -0.1),
        ("filters", 0.84),
        ("filters", math.nan),
    ],
)
def test_a_constraint_that_cannot_be(name, value):
    with pytest.raises(ValueError, match=f"{name}=") as caught:
        Constraint(**{name: value})
    assert "\n" not in str(caught.value)
    assert Constraint("l1", 0).sparsity == 0 and Constraint("l1", 0.999)
