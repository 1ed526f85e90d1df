"""Double descent, which is how Gille et al. (2022, algorithm 2) make an autoencoder's encoder sparse.

::

    first descent     W_1  <-  train from W_init
    projection        W_0  <-  project(W_1, eta), layer by layer;   M_0 <- 1[W_0 != 0]
    second descent    W    <-  train from W_init * M_0, gradients masked by M_0

As printed, the second descent begins from W_init itself: pruned weights would keep their first values, and nothing
would be sparse. Groups are output filters: the first dimension of a convolution's weight, the second of a transposed
one's. A filter that the projection sends to zero loses its bias, too. (The released l1,inf has other groups: what all
filters read at one place of one input channel, `Constraint.grouping`.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from sparsecomp.checks import in_range, require
from sparsecomp.models.sparse_cae import Encoder, SparseCAE
from sparsecomp.options import later
from sparsecomp.sparsify.projections import PROJECTIONS, ball_norm, radius_for_sparsity
from sparsecomp.training.autoencoder import Masks

CONSTRAINTS = (*PROJECTIONS, "magnitude", "random")
LAYERS = ("encoder", "all")
RESTARTS = ("rewind", "random", "trained")
RADII = ("common", "per_layer")
GROUPINGS = ("filters", "taps")
LATENT = "encoder.conv3.weight"


@dataclass(frozen=True)
class Constraint:
    """What is asked of the weights between the two descents.

    Parameters
    ----------
    kind : str
        A projection of `sparsify.projections`; or a control: "magnitude" keeps the largest entries of all layers
        together, "random" as many drawn ones.
    sparsity : float
        Share of zeros among the weights (not the biases) of the chosen layers, in [0, 1); the radius is searched.
    layers : {"encoder", "all"}
        The paper's is the encoder.
    radius : {"common", "per_layer"}
        One eta for all layers (the paper), or a share of each layer's own norm.
    coupled : bool
        Group the residual stream: the filters that write to one channel, in `conv2` and the second layers of the blocks
        of the encoder, are one group, so that the channel can disappear.
    filters : float
        Beyond the paper: whole filters go first, until so many of the weights are zero, those that the bilevel l1,inf
        projection (one radius) sends to zero; those of the last layer stay, as they are the channels of the latent.
        `kind` then makes the rest of the zeros among what is left. At most `sparsity`. (The studies' 0.23 was chosen
        for its multiply-accumulates, before any such model was measured.)
    restart : {"rewind", "random", "trained"}
        What the second descent begins with, masked: the first descent's first values, those of another seed, or what
        the projection left of the trained weights.
    grouping : {"filters", "taps"}
        What a projection takes for a group: an output filter, or an input tap, which is what all filters read at one
        place of one input channel. The released l1,inf has taps. A tap that is zero everywhere takes no filter with it,
        so surgery finds less to remove.
    """

    kind: str = "bilevel_l11"
    sparsity: float = 0.83
    layers: str = "encoder"
    radius: str = "common"
    coupled: bool = False
    filters: float = 0.0
    restart: str = "rewind"
    grouping: str = later("filters")

    def __post_init__(self) -> None:
        coupled, radius = ("coupled", (False, True)), ("radius", RADII)
        kind, grouping = ("kind", CONSTRAINTS), ("grouping", GROUPINGS)
        for name, known in (kind, ("layers", LAYERS), radius, coupled, ("restart", RESTARTS), grouping):
            value = getattr(self, name)
            require(value in known, name, f"one of {', '.join(map(str, known))}", value)
        in_range("sparsity", self.sparsity, 0, 1, "[)")
        whole = self.coupled or self.filters
        require(not whole or self.grouping == "filters", "grouping", "filters where they are coupled or go first",
                self.grouping)  # fmt: skip
        require(0 <= self.filters <= self.sparsity, "filters", f"in [0, sparsity={self.sparsity:g}]", self.filters)


# Groups ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Group:
    """Weights that are projected as one matrix: output filters first, the columns of several layers side by side."""

    names: tuple[str, ...]
    transposed: bool = False

    def matrix(self, named: dict[str, torch.Tensor]) -> torch.Tensor:
        """``(filters, entries)``."""
        return torch.cat([self.filters(named[name]).flatten(1) for name in self.names], 1)

    def split(self, matrix: torch.Tensor, named: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The way back: tensors of the weights' shapes."""
        found, at = {}, 0
        for name in self.names:
            filters = self.filters(named[name])
            columns = filters[0].numel()
            found[name] = self.filters(matrix[:, at : at + columns].reshape(filters.shape))
            at += columns
        return found

    def filters(self, weight: torch.Tensor) -> torch.Tensor:
        """A weight (or its mask) with its output filters first."""
        return weight.transpose(0, 1) if self.transposed else weight


def groups_of(model: SparseCAE, layers: str = "encoder", coupled: bool = False) -> list[Group]:
    """The groups of a network's weights; each weight is in one."""
    part = model.encoder if layers == "encoder" else model
    prefix = "encoder." if layers == "encoder" else ""
    convs = {f"{prefix}{name}": m for name, m in part.named_modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))}
    stream = tuple(f"encoder.{name}" for name in stream_writers(model.encoder)) if coupled else ()
    groups = [Group(tuple(f"{name}.weight" for name in stream))] if coupled else []
    for name, layer in convs.items():
        if name not in stream:
            groups.append(Group((f"{name}.weight",), isinstance(layer, nn.ConvTranspose2d)))
    return groups


def stream_writers(encoder: Encoder) -> list[str]:
    """The layers that write to the residual stream, in order."""
    return ["conv2", *(f"blocks.{number}.conv2" for number in range(len(encoder.blocks)))]


# From weights to masks ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Projected:
    """What a constraint makes of trained weights.

    Attributes
    ----------
    weights : dict of tensors
        The projected weights, by name.
    masks : dict of bool tensors
        Of weights and biases: what the second descent may move.
    radius : float or None
        The eta (or share of each layer's norm) that was found; None for the controls.
    sparsity : float
        Share of zeros that it leaves.
    """

    weights: dict[str, torch.Tensor]
    masks: Masks
    radius: float | None
    sparsity: float


@torch.no_grad()
def project(model: SparseCAE, constraint: Constraint, seed: int = 0) -> Projected:
    """Project the trained weights of a network so that `Constraint.sparsity` of them are zero; ``model`` is unchanged.

    ``seed`` is for the random control only.
    """
    named = {name: p.detach() for name, p in model.named_parameters()}
    groups = groups_of(model, constraint.layers, constraint.coupled)
    matrices = [group.matrix(named) for group in groups]
    taps = constraint.grouping == "taps"
    if taps:
        matrices = [matrix.T.contiguous() for matrix in matrices]
    if constraint.filters:
        matrices = _without_filters(matrices, groups, constraint.filters)
    radius = None
    if constraint.kind in PROJECTIONS:
        kind, per_layer = constraint.kind, constraint.radius == "per_layer"
        radius, _ = radius_for_sparsity(matrices, constraint.sparsity, kind, per_layer=per_layer)
        radii = [radius * ball_norm(matrix, kind) if per_layer else radius for matrix in matrices]
        projected = [PROJECTIONS[kind](matrix, eta) for matrix, eta in zip(matrices, radii, strict=True)]
    else:
        projected = _control(matrices, constraint, seed)
    weights: dict[str, torch.Tensor] = {}
    for group, matrix in zip(groups, projected, strict=True):
        weights |= group.split(matrix.T if taps else matrix, named)
    masks = {name: weight != 0 for name, weight in weights.items()}
    zeros = sum(int((~mask).sum()) for mask in masks.values()) / sum(mask.numel() for mask in masks.values())
    for group in groups:
        for name in group.names:
            alive = group.filters(masks[name]).flatten(1).any(1)
            masks[name.removesuffix("weight") + "bias"] = alive.clone()
    return Projected(weights, masks, radius, zeros)


def _without_filters(matrices: list[torch.Tensor], groups: list[Group], share: float) -> list[torch.Tensor]:
    """The matrices with whole filters zero; ``share`` of all entries, those of the last layer among them."""
    of_code = [group.names == (LATENT,) for group in groups]
    free = [m for m, last in zip(matrices, of_code, strict=True) if not last]
    asked = min(1.0, share * sum(m.numel() for m in matrices) / sum(m.numel() for m in free))
    radius, _ = radius_for_sparsity(free, asked, "bilevel_l1inf")
    left = [PROJECTIONS["bilevel_l1inf"](m, radius).any(1, keepdim=True) for m in matrices]
    return [m if last else m * alive for m, alive, last in zip(matrices, left, of_code, strict=True)]


def _control(matrices: list[torch.Tensor], constraint: Constraint, seed: int) -> list[torch.Tensor]:
    """Keep the largest entries of all matrices together, or as many random ones."""
    sizes = [m.numel() for m in matrices]
    generator = torch.Generator().manual_seed(seed)
    score = torch.cat([m.abs().flatten() for m in matrices])
    if constraint.kind == "random":
        score = torch.rand(score.shape, generator=generator).to(score.device)
    kept = torch.zeros_like(score, dtype=torch.bool)
    kept[score.topk(round((1 - constraint.sparsity) * len(score))).indices] = True
    return [m * part.view_as(m) for m, part in zip(matrices, kept.split(sizes), strict=True)]


def second_start(
    first: SparseCAE, projected: Projected, constraint: Constraint, seed: int, start: str = "dct"
) -> SparseCAE:
    """The network that the second descent begins with; its masked weights are zero.

    Parameters
    ----------
    first : SparseCAE
        As the first descent left it.
    seed : int
        The seed whose first values ``first`` began with.
    start : {"dct", "torch"}
        And how they were drawn.
    """
    if constraint.restart == "trained":
        model = SparseCAE(first.shape)
        model.load_state_dict(first.state_dict() | projected.weights)
    else:
        model = SparseCAE(first.shape, seed if constraint.restart == "rewind" else seed + 1_000_003, start)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in projected.masks:
                parameter.mul_(projected.masks[name].to(parameter.device))
    return model
