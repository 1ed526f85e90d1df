"""How the networks of a training are computed: in which precision their products are, and whether they are compiled.

``precision`` applies to the convolutions and matrix products of a network, forward and backward. Weights, losses,
optimisers and scores stay float32; under ``tf32`` the way back through the loss is TF32, too::

    float32     as on a CPU; a GPU's TF32 units, which PyTorch uses for convolutions by default, stay off
    tf32        factors are rounded to 11 significant bits, sums are float32; GPUs only
    bfloat16    factors and results have 8 significant bits (`torch.autocast`)

A SIREN takes no bfloat16: the argument of its sines reaches 30, where numbers of 8 bits are 1/8 apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from sparsecomp.checks import one_of, require
from sparsecomp.options import later

PRECISIONS = ("float32", "tf32", "bfloat16")


@dataclass(frozen=True)
class Arithmetic:
    """The choice; the default is what every record without it was made with.

    Parameters
    ----------
    precision : {"float32", "tf32", "bfloat16"}
    compiled : bool
        Compile the networks (`torch.compile`): on a GPU what stands between two products becomes one kernel. The first
        steps take a minute, and last bits differ.
    """

    precision: str = later("float32")
    compiled: bool = later(False)

    def __post_init__(self) -> None:
        one_of("precision", self.precision, PRECISIONS)

    def check(self, device: torch.device | str, *, siren: bool = False) -> None:
        """Refuse what a device or a network cannot do (`ValueError`)."""
        on_cpu = torch.device(device).type == "cpu"
        require(self.precision != "tf32" or not on_cpu, "precision", "float32 or bfloat16 on a CPU", self.precision)
        require(self.precision != "bfloat16" or not siren, "precision", "float32 or tf32 for a SIREN", self.precision)

    def applied(self, network: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
        """The network as a function of one float32 tensor to another."""
        function = torch.compile(network) if self.compiled else network

        def call(x: torch.Tensor) -> torch.Tensor:
            low = self.precision == "bfloat16"
            with self.products(), torch.autocast(x.device.type, torch.bfloat16, enabled=low):
                return function(x).float()

        return call

    @contextmanager
    def products(self) -> Iterator[None]:
        """Within it a GPU multiplies float32 as `precision` says. To be used for the gradient, too."""
        matrices, allowed = torch.backends.cuda.matmul, self.precision == "tf32"
        before = matrices.allow_tf32
        matrices.allow_tf32 = allowed
        try:
            with torch.backends.cudnn.flags(
                enabled=torch.backends.cudnn.enabled, benchmark=torch.backends.cudnn.benchmark,
                deterministic=torch.backends.cudnn.deterministic, allow_tf32=allowed,
            ):  # fmt: skip
                yield
        finally:
            matrices.allow_tf32 = before


FLOAT32 = Arithmetic()
