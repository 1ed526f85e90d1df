"""Magnitude pruning: keep the largest weights, and train on without the others (Han et al. 2015).

The baseline of L0onie (Ramirez & Gallego-Posada 2022): a dense COIN is trained, every hidden layer loses the same share
of its smallest weights, first and last layer stay whole, and what is left is fine-tuned.
"""

from __future__ import annotations

import torch

from sparsecomp.checks import in_range, require
from sparsecomp.models.siren import Architecture, layers


def keep_largest(values: torch.Tensor, most: int) -> torch.Tensor:
    """A copy of which only the ``most`` entries of largest magnitude are not zero; of equal ones the first stay.

    Raises
    ------
    ValueError
        If ``most`` is negative.
    """
    in_range("most", most, 0)
    flat = values.flatten()
    if int((flat != 0).sum()) <= most:
        return values.clone()
    order = flat.abs().argsort(descending=True, stable=True)
    kept = torch.zeros_like(flat)
    kept[order[:most]] = flat[order[:most]]
    return kept.view_as(values)


def prune(architecture: Architecture, parameters: torch.Tensor, most: int) -> torch.Tensor:
    """The network ``(P,)`` with at most ``most`` nonzero parameters: each hidden matrix keeps the same share of its
    weights, those of largest magnitude; biases, first and last layer stay as they are (the released code prunes hidden
    biases, too).

    Raises
    ------
    ValueError
        If ``most`` does not even hold what stays dense.
    """
    pruned = parameters.clone()
    hidden = [weight[0] for weight, _ in layers(architecture, pruned[None])[1:-1]]
    prunable = sum(weight.numel() for weight in hidden)
    dense = architecture.n_parameters - prunable
    require(most >= dense, "most", f"at least {dense}, the parameters of {architecture} that are never pruned", most)
    for weight in hidden:
        weight.copy_(keep_largest(weight, (most - dense) * weight.numel() // prunable))
    return pruned
