"""The autoencoders of Sparse CAE as a codec: a trained model that the receiver has too (`codecs.trained`), and a step
that says how finely its latent is rounded, in 1/16384: the number in the section ``network``. The symbols are
range-coded by `coding.entropy`.

One model serves many rates: the same latent, rounded by another step, is another file.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from sparsecomp import metrics
from sparsecomp.codecs import trained
from sparsecomp.codecs.base import BudgetError, check_bpp, check_image
from sparsecomp.coding import entropy
from sparsecomp.coding.bitstream import BitstreamError, Container, unpack
from sparsecomp.models.pretrained import Stored


@dataclass(frozen=True)
class Cae:
    """A trained convolutional autoencoder (Gille et al. 2022) with a quantiser and a range coder.

    Parameters
    ----------
    model : str, optional
        Name of a model in ``results/models``, or the path of a model's file. (Who decodes needs it in
        ``results/models``.) By default `encode` takes, of the models with ``search`` in their `about`, the least
        sparse one, and of these the one for the finest steps; `at_bpp` tries them all.
    step : int, optional
        Of `encode`: the latent is rounded to multiples of ``step / 16384``, 64 .. 65535. By default the geometric
        mean of the steps that the model was trained for. `at_bpp` finds its own.
    device : str
        Where the networks run while a picture is written; a file is always decoded on the CPU.
    """

    model: str | None = None
    step: int | None = None
    device: str = "cpu"

    name = "cae"

    def __post_init__(self) -> None:
        trained.check_model(self.model)
        if self.step is not None:
            entropy.check_step(self.step)

    def encode(self, image: np.ndarray) -> bytes:
        """Write the picture with `model` at `step`.

        Raises
        ------
        ValueError
            If the picture is not one, there is no such model, or the model is too costly for a picture of this size.
        """
        check_image(image, codec=self.name)
        stored = min(self._candidates(), key=lambda m: (m.about.get("sparsity") or 0, m.about["finest"]))
        step = stored.step if self.step is None else self.step
        return _write(stored, trained.encoded(stored, image, self.device), step, *image.shape[:2])

    def at_bpp(self, image: np.ndarray, bpp: float) -> bytes:
        """The best file of at most ``bpp``: each model at the smallest step that fits, of these the highest PSNR.

        Raises
        ------
        ValueError
            As `encode`; `BudgetError` where even the coarsest step is too much.
        """
        check_image(image, codec=self.name)
        check_bpp(bpp)
        size, candidates, scored = image.shape[:2], self._candidates(), []
        for stored in candidates:
            z = trained.encoded(stored, image, self.device)
            step, written = _smallest_step(stored, z, bpp, *size)
            if len(candidates) == 1:
                return written
            drawn = _draw(stored, entropy.quantise(z, step).numpy(), step, *size, self.device)
            scored.append((metrics.psnr(reference=image, reconstruction=drawn), written))
        return max(scored, key=lambda pair: pair[0])[1]

    def decode(self, data: bytes) -> np.ndarray:
        """The picture of a file of this codec; `BitstreamError` if it is not one, or its model is not here."""
        container = unpack(data)
        if container.codec != self.name:
            raise BitstreamError(f"a {container.codec} file, not {self.name}")
        return decode_cae(container)

    def macs_per_pixel(self, data: bytes) -> float:
        """Multiply-accumulates of the decoder for one pixel, whatever of its weights is zero."""
        stored, _ = read_network(unpack(data))
        return trained.macs(stored) / stored.scale**2

    def _candidates(self) -> list[Stored]:
        return trained.candidates(self.name, self.model, "cae")


def decode_cae(container: Container) -> np.ndarray:
    """The picture of a ``cae`` file, uint8 ``(H, W, 3)``."""
    stored, step = read_network(container)
    with trained.memory_for(container):
        return _draw(stored, _read(stored, step, container), step, container.height, container.width)


def read_network(container: Container) -> tuple[Stored, int]:
    """The model and the step of a file, checked; `BitstreamError` if the model is not here, or on anything absurd."""
    stored, step = trained.read_network(container)
    if step < entropy.FINEST:
        raise BitstreamError(f"step {step}: at least {entropy.FINEST} is needed")
    return stored, step


def _read(stored: Stored, step: int, container: Container) -> np.ndarray:
    """The symbols ``(C, h, w)`` of a file."""
    code, shape = trained.read_code(stored, container)
    return entropy.decode(code, shape, stored.counts, step)


def _write(stored: Stored, z: torch.Tensor, step: int, height: int, width: int) -> bytes:
    code = entropy.encode(entropy.quantise(z, step).numpy(), stored.counts, step)
    return trained.write(stored, step, code, height, width)


def _draw(stored: Stored, symbols: np.ndarray, step: int, height: int, width: int, device: str = "cpu") -> np.ndarray:
    return trained.drawn(stored, symbols, height, width, unit=step / entropy.UNIT, device=device)


def _smallest_step(stored: Stored, z: torch.Tensor, bpp: float, height: int, width: int) -> tuple[int, bytes]:
    """The smallest step, and its file, that is not over ``bpp``.

    Coarser steps make smaller files, but for a few bytes here and there, and not where few levels are left. So steps
    are tried from the finest on, three an octave, and bisection ends the search. Files are written where the estimate
    alone cannot say whether they fit, and the last one always.
    """
    budget = bpp * height * width / 8
    smallest = _write(stored, z, entropy.COARSEST, height, width)
    if len(smallest) > budget:
        raise BudgetError("cae", bpp, 8 * len(smallest) / (height * width))
    # Header, network, checksum; the coarsest step writes no code at all.
    rest = len(smallest) - trained.least(stored, height, width)

    def fits(step: int) -> bool:
        estimate = rest + entropy.bits(entropy.quantise(z, step).numpy(), stored.counts, step) / 8
        if abs(estimate - budget) > 16 + estimate / 256:
            return estimate < budget
        return len(_write(stored, z, step, height, width)) <= budget

    tried = [min(entropy.COARSEST, round(entropy.FINEST * 2 ** (i / 3))) for i in range(31)]
    low, high = next(pair for pair in pairwise([entropy.FINEST - 1, *tried]) if fits(pair[1]))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    while len(written := _write(stored, z, high, height, width)) > budget:
        high += 1  # where the estimate was far off; the coarsest step ends this
    return high, written
