"""Magnitude pruning against sorting by hand."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds, tensors

from sparsecomp.models.siren import Architecture, initial_parameters, layers
from sparsecomp.sparsify.magnitude import keep_largest, prune


def largest_by_sorting(values: list[float], most: int) -> list[float]:
    """Python's sort is stable: of equal magnitudes the first stay."""
    kept = sorted(range(len(values)), key=lambda i: -abs(values[i]))[:most]
    return [x if i in kept else 0 for i, x in enumerate(values)]


@given(values=tensors(side=6), most=st.integers(0, 300))
def test_keep_largest_agrees_with_sorting(values, most):
    before = values.clone()
    for v in (values, values.round().clamp(-9e9, 9e9).long()):
        kept = keep_largest(v, most)
        assert kept.dtype == v.dtype and kept.shape == v.shape
        assert kept.flatten().tolist() == largest_by_sorting(v.flatten().tolist(), most)
        kept += 1
    assert torch.equal(values, before), "the argument was changed"


@given(
    architecture=st.builds(Architecture, st.integers(1, 5), st.integers(1, 9)),
    seed=seeds,
    more=st.one_of(st.integers(0, 40), st.integers(0, 400)),
)
def test_prune_takes_the_same_share_of_every_hidden_matrix(architecture, seed, more):
    parameters = initial_parameters(architecture, seed)
    before, width, hidden = parameters.clone(), architecture.width, architecture.depth - 1
    dense = architecture.n_parameters - hidden * width**2
    pruned = prune(architecture, parameters, dense + more)
    assert torch.equal(parameters, before) and pruned.data_ptr() != parameters.data_ptr()
    pairs = zip(layers(architecture, pruned[None]), layers(architecture, parameters[None]), strict=True)
    for layer, ((weight, bias), (was, bias_was)) in enumerate(pairs):
        assert torch.equal(bias, bias_was)
        most = min(width**2, more // hidden) if 0 < layer < architecture.depth else was.numel()
        assert weight.flatten().tolist() == largest_by_sorting(was.flatten().tolist(), most)
