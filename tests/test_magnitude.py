"""Magnitude pruning against sorting by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sparsecomp.models.siren import Architecture, initial_parameters, layers
from sparsecomp.sparsify.magnitude import keep_largest, prune


@pytest.mark.parametrize("most", [0, 1, 7, 50, 119, 120, 500])
def test_the_largest_are_those_of_numpy(most):
    values = np.random.default_rng(0).normal(size=(10, 12)).astype(np.float32)
    kept = keep_largest(torch.from_numpy(values), most).numpy()
    expected = values.copy().ravel()
    expected[np.argsort(np.abs(expected))[: max(0, 120 - most)]] = 0
    np.testing.assert_array_equal(kept, expected.reshape(10, 12))


def test_of_equal_ones_the_first_stay():
    values = torch.tensor([[1.0, -3.0, 3.0], [3.0, -1.0, 0.0]])
    assert keep_largest(values, 2).tolist() == [[0, -3, 3], [0, 0, 0]]
    assert keep_largest(values, 4).tolist() == [[1, -3, 3], [3, 0, 0]]
    assert keep_largest(values, 5).tolist() == values.tolist()
    many = torch.ones(1000)
    assert keep_largest(many, 10).nonzero().flatten().tolist() == list(range(10))


def test_zeros_do_not_count():
    values = torch.tensor([0.0, 0.0, 2.0, 0.0, -1.0])
    assert keep_largest(values, 2).tolist() == values.tolist()
    assert keep_largest(values, 1).tolist() == [0, 0, 2, 0, 0]
    assert keep_largest(values, 0).tolist() == [0] * 5


def test_whole_numbers_and_nothing():
    assert keep_largest(torch.tensor([3, -7, 5]), 2).tolist() == [0, -7, 5]
    assert keep_largest(torch.zeros(0), 3).shape == (0,)


@pytest.mark.parametrize("most", [0, 2, 9])
def test_the_argument_stays_as_it_was(most):
    values = torch.tensor([1.0, 2.0, 3.0])
    kept = keep_largest(values, most)
    kept += 1
    assert values.tolist() == [1, 2, 3]


def test_fewer_than_none_cannot_be_kept():
    with pytest.raises(ValueError, match="most=-1"):
        keep_largest(torch.ones(3), -1)


# Networks -------------------------------------------------------------------------------------------------------------

ARCHITECTURE = Architecture(4, 10)  # 3 hidden matrices of 100 weights; 20 + 30 in the outer ones, 43 biases
DENSE = 93


@pytest.mark.parametrize("most", [DENSE, DENSE + 1, 123, 200, 241, 300, 392, 393, 9999])
def test_hidden_matrices_lose_the_same_share_and_nothing_else_is_touched(most):
    parameters = initial_parameters(ARCHITECTURE, 0)
    before = parameters.clone()
    pruned = prune(ARCHITECTURE, parameters, most)
    assert torch.equal(parameters, before), "the argument was changed"
    assert int((pruned != 0).sum()) <= most
    left = []
    for layer, ((weight, bias), (was, bias_was)) in enumerate(
        zip(layers(ARCHITECTURE, pruned[None]), layers(ARCHITECTURE, parameters[None]), strict=True)
    ):
        assert torch.equal(bias, bias_was)
        if layer in (0, 4):
            assert torch.equal(weight, was)
            continue
        kept = weight != 0
        assert torch.equal(weight[kept], was[kept]), "what stays keeps its value"
        if kept.any() and not kept.all():
            assert was[kept].abs().min() > was[~kept].abs().max()
        left.append(int(kept.sum()))
    assert left == [min(100, (most - DENSE) // 3)] * 3


def test_a_share_is_not_lost_to_rounding():
    """Where the number divides, it is met exactly: in float64, 1/49 times 49 is less than 1."""
    architecture = Architecture(3, 7)
    dense = architecture.n_parameters - 2 * 49
    parameters = initial_parameters(architecture, 0)
    found = [int((prune(architecture, parameters, dense + 2 * kept) != 0).sum()) for kept in range(50)]
    assert found == [dense + 2 * kept for kept in range(50)]


def test_a_network_without_hidden_matrices_is_only_copied():
    architecture = Architecture(1, 5)
    parameters = initial_parameters(architecture, 0)
    pruned = prune(architecture, parameters, architecture.n_parameters)
    assert torch.equal(pruned, parameters) and pruned.data_ptr() != parameters.data_ptr()


@pytest.mark.parametrize(
    ("architecture", "most"), [(ARCHITECTURE, DENSE - 1), (ARCHITECTURE, 0), (Architecture(1, 5), 32)]
)
def test_a_budget_below_what_stays_dense_is_refused(architecture, most):
    with pytest.raises(ValueError, match=f"most={most}"):
        prune(architecture, initial_parameters(architecture, 0), most)
