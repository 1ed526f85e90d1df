"""Surgery: an encoder of Sparse CAE without its zero filters, smaller and quicker, with the same latent.

A mask alone saves nothing: a convolution multiplies by zeros as slowly as by other numbers. What goes here, until
nothing more changes:

- a filter that is zero, weights and bias, and every weight that reads it in the next layer;
- a filter that nothing reads;
- a residual block whose second convolution is dead; a channel of the residual stream that nobody writes.

A filter whose weights are zero and whose bias b is not is a constant, b or leaky_relu(b). A layer that reads constants
pads them with zeros like everything else, so they are not constant at its borders and cannot move into its bias. But
convolution is linear: all constants ``c_i`` that a layer reads are worth one single channel of *ones* ::

    sum_i conv(c_i 1, w_i) = conv(1, sum_i c_i w_i)                    (exact, borders included)

One filter of weights 0 and bias 1 makes it. In the residual stream a constant is not added but remembered, until the
channel is next written by a convolution, whose bias takes it up.

What is left of the stream: each block reads some channels and adds to some. Picking channels apart costs time, too, so
the stream is put into another order: channels that the same layers read and write stand side by side, and a set of
them is a few slices. `RUN` and `COPY` say when a slice is worth it. Weights are channels last. On one core of a CPU,
indices in place of slices were measured to take 1.1 to 1.3 times as long, channels first 1.1 to 1.3 times. Channels
last, any number of filters takes about as long as the next multiple of 16 at most, so filling up gains nothing.

Departs from Gille et al. 2022, who only count whole zero filters and inputs, layer by layer
(`complexity.macs_paper`), and time nothing.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from sparsecomp.checks import InputError
from sparsecomp.models.inference import channels_last
from sparsecomp.models.siren import Architecture, layers
from sparsecomp.models.sparse_cae import SCALE, Encoder

# What handling the stream costs, in multiply-accumulates at one place, measured on one core of a CPU.
RUN = 500  # one slice more
COPY = 20  # one channel copied

Runs = list[tuple[int, int]]  # slices (first, behind the last) of the stream's channels


class PrunedBlock(nn.Module):
    """A residual block that reads some channels of the stream, adds to some, and may bring new ones.

    Parameters
    ----------
    conv1, conv2 : nn.Conv2d
    reads, writes : list of (int, int)
        Slices of the stream for conv1; slices that the filters of conv2 are added to, in their order.
    """

    def __init__(self, conv1: nn.Conv2d, conv2: nn.Conv2d, reads: Runs, writes: Runs) -> None:
        super().__init__()
        self.conv1, self.conv2, self.reads, self.writes = conv1, conv2, reads, writes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, channels, h, w)`` to the same, or with more channels; ``x`` is changed."""
        y = self.conv2(F.leaky_relu_(self.conv1(_picked(x, self.reads))))
        at = 0
        for first, behind in self.writes:
            x[:, first:behind] += y[:, at : at + behind - first]
            at += behind - first
        return torch.cat([x, y[:, at:]], 1) if at < y.shape[1] else x


class PrunedEncoder(nn.Module):
    """What `prune` leaves of an encoder; for inference only.

    A picture ``(B, 3, H, W)`` in [0, 1], sides multiples of 4, to a latent ``(B, latent, H/4, W/4)`` in (-1, 1): the
    same as the encoder's. Layers have the encoder's names (``blocks.1.conv2``); those that are gone are missing.

    Parameters
    ----------
    layers : tuple of (conv1, conv2, blocks, conv3, reads), or None
        Without them the latent is constant.
    bias : (latent,)
        tanh of it is a latent channel that no filter makes.
    alive : (n,)
        The latent channels that conv3 makes.
    """

    constant: torch.Tensor
    alive: torch.Tensor

    def __init__(
        self,
        layers: tuple[nn.Conv2d, nn.Conv2d, dict[str, PrunedBlock], nn.Conv2d, Runs] | None,
        bias: torch.Tensor,
        alive: torch.Tensor,
    ) -> None:
        super().__init__()
        self.register_buffer("constant", torch.tanh(bias))
        self.register_buffer("alive", alive)
        if layers is not None:
            self.conv1, self.conv2, blocks, self.conv3, self.reads = layers
            self.blocks = nn.ModuleDict(blocks)
        channels_last(self).requires_grad_(False)

    @torch.no_grad()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The latent z before any quantisation."""
        sides = len(x), len(self.constant), x.shape[2] // SCALE, x.shape[3] // SCALE
        if len(self.alive):
            x = (x - 0.5).contiguous(memory_format=torch.channels_last)
            x = F.leaky_relu_(self.conv2(F.leaky_relu_(self.conv1(x))))
            for block in self.blocks.values():
                x = block(x)
            x = torch.tanh_(self.conv3(_picked(x, self.reads)))
            if len(self.alive) == len(self.constant):
                return x
        z = self.constant.view(1, -1, 1, 1).expand(sides).contiguous()
        return z.index_copy_(1, self.alive, x) if len(self.alive) else z


def _picked(x: torch.Tensor, runs: Runs) -> torch.Tensor:
    """Some channels of the stream; all of them cost nothing."""
    if runs == [(0, x.shape[1])]:
        return x
    return torch.cat([x[:, first:behind] for first, behind in runs], 1)


# What is dead ---------------------------------------------------------------------------------------------------------


def bias_of(conv: nn.Conv2d) -> torch.Tensor:
    """The bias of a convolution that has one."""
    assert conv.bias is not None
    return conv.bias.detach()


class _Layer:
    """Weights and bias in float64, with one more filter and one more input, number -1, for the constant 1."""

    def __init__(self, conv: nn.Conv2d, *, ones_in: bool = True, ones_out: bool = True) -> None:
        self.conv = conv
        self.weight = F.pad(conv.weight.detach().double(), (0, 0, 0, 0, 0, int(ones_in), 0, int(ones_out)))
        self.bias = F.pad(bias_of(conv).double(), (0, int(ones_out)))

    def written(self) -> torch.Tensor:
        """Filters with a weight that is not zero; the ones do not count."""
        return self.weight.flatten(1).any(1)

    def read(self) -> torch.Tensor:
        """Inputs with a weight that is not zero."""
        return self.weight.transpose(0, 1).flatten(1).any(1)

    def made(self) -> torch.Tensor:
        """Filters that are not zero; after folding, the only one without weights is that of the ones."""
        return self.written() | (self.bias != 0)

    def add_constants(self, values: torch.Tensor) -> None:
        """Reads so much more of every input: ``values`` of them, the same at all places."""
        self.weight[:, -1] += torch.einsum("oiyx,i->oyx", self.weight, values)

    def drop(self, *, filters: torch.Tensor | None = None, inputs: torch.Tensor | None = None) -> None:
        if filters is not None:
            self.weight[filters], self.bias[filters] = 0, 0
        if inputs is not None:
            self.weight[:, inputs] = 0

    def small(self, filters: torch.Tensor, inputs: torch.Tensor) -> nn.Conv2d:
        """A dense convolution of these filters and inputs, by number."""
        layout: dict[str, Any] = {name: getattr(self.conv, name) for name in ("kernel_size", "stride", "padding")}
        where: dict[str, Any] = {"device": self.weight.device, "dtype": self.conv.weight.dtype}
        conv = nn.Conv2d(len(inputs), len(filters), **layout, **where)
        with torch.no_grad():
            conv.weight.copy_(self.weight[filters][:, inputs])
            bias_of(conv).copy_(self.bias[filters])
        return conv


class _Net:
    """The nine layers, and what happens to them."""

    def __init__(self, encoder: Encoder) -> None:
        self.first, self.second = _Layer(encoder.conv1, ones_in=False), _Layer(encoder.conv2)
        blocks: list[Any] = list(encoder.blocks)
        self.blocks = [(_Layer(block.conv1), _Layer(block.conv2)) for block in blocks]
        self.last = _Layer(encoder.conv3, ones_out=False)
        self.layers = [self.first, self.second, *(conv for block in self.blocks for conv in block), self.last]
        self.writers = [self.second, *(conv2 for _, conv2 in self.blocks)]
        self.readers = [*(conv1 for conv1, _ in self.blocks), self.last]

    def pattern(self) -> torch.Tensor:
        return torch.cat([t.flatten() != 0 for layer in self.layers for t in (layer.weight, layer.bias)])

    def shrink(self) -> None:
        """Carries zeros on through all layers, until nothing changes."""
        before = None
        while before is None or not torch.equal(before, self.pattern()):
            before = self.pattern()
            for made_by, read_by in [(self.first, self.second), *self.blocks]:
                _shrink_pair(made_by, read_by)
            self._shrink_stream()

    def _shrink_stream(self) -> None:
        present = torch.zeros_like(self.second.bias, dtype=torch.bool)  # channels that a convolution has written
        constant = torch.zeros_like(self.second.bias)  # what is remembered instead of being added
        for writer, reader in zip(self.writers, self.readers, strict=True):
            written, bias = writer.written(), writer.bias.clone()
            if writer is self.second:
                bias[-1] = 0  # the ones themselves
                bias = torch.where(written, bias, F.leaky_relu(bias))
            writer.bias = torch.where(written, bias + constant, 0)
            constant = torch.where(written, 0, bias + constant)
            present |= written
            reader.add_constants(constant)
            ones = reader.weight[:, -1].clone()
            reader.drop(inputs=~present)
            reader.weight[:, -1] = ones
        read = torch.zeros_like(present)
        for writer, reader in zip(reversed(self.writers), reversed(self.readers), strict=True):
            read |= reader.read()
            writer.drop(filters=~read)
        self.second.bias[-1] = float(read[-1])


def _shrink_pair(made_by: _Layer, read_by: _Layer) -> None:
    """Two layers of which the second alone reads the first, through a leaky ReLU."""
    live = made_by.written()
    constant = torch.where(live, 0, F.leaky_relu(made_by.bias))
    constant[-1] = 0
    read_by.add_constants(constant)
    live[-1] = True
    read_by.drop(inputs=~live)
    read = read_by.read()
    made_by.drop(filters=~(live & read))
    made_by.bias[-1] = float(read[-1])


# What is left ---------------------------------------------------------------------------------------------------------


def _gray(bits: tuple[bool, ...]) -> int:
    """The place of some bits in the Gray code: sorted by it, bit number k is set in at most about 2^(k - 1) runs."""
    place = parity = 0
    for bit in bits:
        parity ^= bit
        place = 2 * place + parity
    return place


def _runs(needed: torch.Tensor, price: int) -> Runs:
    """Slices that hold all places where ``needed (n,)`` is true; what stands between two of them is put in, too, if
    that costs less, at ``price`` a channel, than one slice more.
    """
    runs: Runs = []
    for place in needed.nonzero()[:, 0].tolist():
        if runs and (place - runs[-1][1]) * price < RUN:
            runs[-1] = (runs[-1][0], place + 1)
        else:
            runs.append((place, place + 1))
    return runs


def _reads(needed: torch.Tensor, price: int) -> Runs:
    """`_runs` for reading: the whole stream where picking would cost more than reading the rest."""
    runs = _runs(needed, price) or [(0, 1)]
    picked = sum(behind - first for first, behind in runs)
    saved = (len(needed) - picked) * price
    return runs if saved > COPY * picked + RUN * len(runs) else [(0, len(needed))]


def _members(runs: Runs, order: torch.Tensor) -> torch.Tensor:
    """The channels in slices of the stream, by number."""
    return torch.cat([order[first:behind] for first, behind in runs] + [order[:0]])


@torch.no_grad()
def prune(encoder: Encoder) -> PrunedEncoder:
    """The same function without dead filters, in smaller dense convolutions.

    Parameters
    ----------
    encoder : Encoder
        Not changed. A filter is dead if its weights are all zero and its bias is; one with a bias is a constant.

    Returns
    -------
    PrunedEncoder
        Its latent differs by rounding only (at most 1e-5 in float32), for pictures of any size. On the encoder's
        device; `complexity.count_macs` counts what is left.

    Raises
    ------
    ValueError
        If a weight is not finite: zeros times it would not be zero.
    """
    for name, parameter in encoder.named_parameters():
        if not parameter.isfinite().all():
            raise InputError(f"{name} holds numbers that are not finite")
    net = _Net(encoder)
    net.shrink()
    last = net.last
    alive = last.written().nonzero()[:, 0]
    if not len(alive):
        return PrunedEncoder(None, bias_of(encoder.conv3), alive)
    if not net.first.made().any():  # then conv2 makes ones at most; a convolution needs an input all the same
        net.first.bias[-1] = 1
    if not net.second.made().any():  # the same for the stream, if the first block's constants are all there is
        net.second.bias[-1] = 1
    inner = net.first.made().nonzero()[:, 0]

    # The order of the stream: by the block that brings a channel, then by who writes and reads it.
    uses = [net.second.made(), *(w.written() for w in net.writers[1:]), *(r.read() for r in net.readers)]
    entries = torch.stack(uses[: len(net.writers)]).int().argmax(0).tolist()
    signatures = list(zip(*(use.tolist() for use in uses), strict=True))
    there = [c for c, signature in enumerate(signatures) if any(signature[: len(net.writers)])]
    there.sort(key=lambda c: (entries[c], _gray(signatures[c])))
    order = torch.tensor(there, device=inner.device)
    counts = [sum(entries[c] <= k for c in there) for k in range(len(net.writers))]  # channels after each writer

    conv1 = net.first.small(inner, torch.arange(3, device=inner.device))
    conv2 = net.second.small(order[: counts[0]], inner)
    blocks = {}
    for k, (up, down) in enumerate(net.blocks):
        if down.written().any():
            hidden, stream = up.made().nonzero()[:, 0], order[: counts[k]]
            reads = _reads(up.read()[stream], len(hidden) * up.conv.weight[0, 0].numel())
            writes = _runs(down.written()[stream], len(hidden) * down.conv.weight[0, 0].numel())
            filters = torch.cat([_members(writes, stream), order[counts[k] : counts[k + 1]]])
            blocks[str(k)] = PrunedBlock(
                up.small(hidden, _members(reads, stream)), down.small(filters, hidden), reads, writes
            )
    reads = _reads(last.read()[order], len(alive) * last.conv.weight[0, 0].numel())
    conv3 = last.small(alive, _members(reads, order))
    return PrunedEncoder((conv1, conv2, blocks, conv3, reads), bias_of(encoder.conv3), alive)


def report(encoder: Encoder) -> list[dict[str, Any]]:
    """What `prune` leaves of each layer: a row a layer, and one for all of them.

    Returns
    -------
    list of dict
        ``layer``; ``filters``, ``inputs`` and ``macs`` (a pixel of the picture) left, and ``all_filters``,
        ``all_inputs``, ``all_macs`` before. In the last row, ``layer="encoder"``, the filters are sums and there are
        no inputs.
    """
    kept = dict(prune(encoder).named_modules())
    rows: list[dict[str, Any]] = []
    pixels = 1  # of the picture, for one place of a layer's output
    for name, conv in encoder.named_modules():
        if isinstance(conv, nn.Conv2d):
            pixels *= conv.stride[0] * conv.stride[1]
            row: dict[str, Any] = {"layer": name}
            for before, layer in (("", kept.get(name)), ("all_", conv)):
                weight = layer.weight if layer is not None else conv.weight[:0, :0]
                row |= {f"{before}filters": weight.shape[0], f"{before}inputs": weight.shape[1]}
                row[f"{before}macs"] = weight.numel() / pixels
            rows.append(row)
    sums = {key: sum(row[key] for row in rows) for key in ("filters", "macs", "all_filters", "all_macs")}
    return [*rows, {"layer": "encoder", **sums}]


# Neurons of a SIREN ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def remove_dead(
    architecture: Architecture, parameters: torch.Tensor, *, fold: bool = True
) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], list[torch.Tensor]]:
    """The network without its dead neurons: the same picture from smaller matrices.

    A neuron is dead if nothing reads it (its column in the next layer is zero), or if it reads nothing (its row is
    zero): then it is the constant sin(w0 b). A constant is folded into the biases of the next layer, b' = b + W[:, j]
    sin(w0 b_j), unless ``fold`` is false; then only the constant 0 counts as dead, and no value changes. Removing one
    neuron may kill another, so this repeats until nothing changes.

    Parameters
    ----------
    parameters : torch.Tensor
        One network ``(P,)``.

    Returns
    -------
    matrices : list of (W, b)
        ``W (out, in)`` and ``b (out,)`` of every layer, ``depth + 1`` of them; a layer may be left without neurons.
    alive : list of bool tensors ``(width,)``
        Which neurons of each sine layer are left.
    """
    matrices = [(w[0].clone(), b[0, :, 0].clone()) for w, b in layers(architecture, parameters[None])]
    alive = [torch.ones(architecture.width, dtype=torch.bool) for _ in range(architecture.depth)]
    changed = True
    while changed:
        changed = False
        for layer, here in enumerate(alive):
            (weight, bias), (after, after_bias) = matrices[layer], matrices[layer + 1]
            unread = (after == 0).all(0)
            constant = (weight == 0).all(1) & ((bias == 0) | fold)
            dead = here & (unread | constant)
            if dead.any():
                if fold:
                    after_bias += after @ (torch.sin(architecture.w0 * bias) * (dead & ~unread))
                weight[dead], bias[dead], after[:, dead], here[dead] = 0, 0, 0, False
                changed = True
    kept = [torch.ones(architecture.n_in, dtype=torch.bool), *alive, torch.ones(architecture.n_out, dtype=torch.bool)]
    small = [
        (weight[after][:, before], bias[after])
        for (weight, bias), before, after in zip(matrices, kept[:-1], kept[1:], strict=True)
    ]
    return small, alive


def assemble(
    matrices: list[tuple[torch.Tensor, torch.Tensor]], w0: float, width: int | None = None
) -> tuple[Architecture, torch.Tensor]:
    """Matrices of any widths as one network of equal widths, as `models.siren` draws it: the missing units are zeros.

    Returns the architecture, as narrow as the widest layer allows unless ``width`` says otherwise, and its parameters
    ``(P,)``.
    """
    width = width or max(1, *(len(bias) for _, bias in matrices[:-1]))
    architecture = Architecture(len(matrices) - 1, width, w0, n_in=matrices[0][0].shape[1], n_out=len(matrices[-1][1]))
    parameters = torch.zeros(1, architecture.n_parameters, dtype=matrices[0][0].dtype)
    for (weight, bias), (into, into_bias) in zip(matrices, layers(architecture, parameters), strict=True):
        into[0, : weight.shape[0], : weight.shape[1]] = weight
        into_bias[0, : len(bias), 0] = bias
    return architecture, parameters[0]
