"""The autoencoders as a codec: a trained model that the receiver has too, and a step that says how finely its latent is
rounded.

Sections of the file: ``network`` (the first 8 bytes of the model's hash, and the step in 1/16384 as u16; little endian,
10 bytes) and ``values`` (the symbols of the latent, range-coded by `coding.entropy`). Header, sections and checksum
cost 30 or 31 bytes on a Kodak picture, 0.0006 bpp.

One model serves many rates: the same latent, rounded by another step, is another file.
"""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from sparsecomp import metrics
from sparsecomp.codecs.base import BudgetError, check_bpp, check_image
from sparsecomp.coding import entropy
from sparsecomp.coding.bitstream import BitstreamError, Container, pack, unpack
from sparsecomp.complexity import count_macs
from sparsecomp.models import store
from sparsecomp.models.sparse_cae import SCALE, Decoder, Encoder, in_strips, pad
from sparsecomp.models.store import Stored

_NETWORK = struct.Struct("<8sH")
# What no file may ask for, so none is written either: the paper's decoder takes 2^44.1 multiply-accumulates for 2^26
# pixels, whose 2^27 symbols are 512 MB. Long thin pictures, padded to multiples of 4, may take twice that.
MOST_MACS = 2**45
MOST_SYMBOLS = 2**28


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
        if self.model is not None and not isinstance(self.model, str):
            raise ValueError(f"model={self.model!r}: the name of a model or the path of its file is needed")
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
        return _write(stored, _latent(stored, image, self.device), step, *image.shape[:2])

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
            z = _latent(stored, image, self.device)
            step, written = _smallest_step(stored, z, bpp, *size)
            if len(candidates) == 1:
                return written
            drawn = _draw(stored, entropy.quantise(z, step)[0].numpy(), step, *size, self.device)
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
        return _macs(stored) / SCALE**2

    def _candidates(self) -> list[Stored]:
        """The models that may be used; `ValueError` if there is none."""
        if self.model is not None:
            return [store.find(self.model)]
        found = [stored for stored in map(store.load, store.available().values()) if stored.about.get("search")]
        if found:
            return found
        if names := ", ".join(store.available()):
            raise ValueError(f"cae: no model here may be chosen without being named; name one of {names}")
        raise ValueError(
            "cae: there is no trained model in results/models; `sparsecomp study cae --profile laptop` trains them"
        )


def decode_cae(container: Container) -> np.ndarray:
    """The picture of a ``cae`` file, uint8 ``(H, W, 3)``."""
    stored, step = read_network(container)
    try:
        symbols = _read(stored, step, container)
        return _draw(stored, symbols, step, container.height, container.width)
    except (RuntimeError, MemoryError) as error:  # torch says RuntimeError where memory ends
        raise BitstreamError(f"no memory to draw {container.height} x {container.width} pixels") from error


def read_network(container: Container) -> tuple[Stored, int]:
    """The model and the step of a file, checked; `BitstreamError` if the model is not here, or on anything absurd."""
    if set(container.sections) != {"network", "values"} or len(container.sections["network"]) != _NETWORK.size:
        raise BitstreamError(f"a cae file has a network section of {_NETWORK.size} bytes and values, nothing else")
    key, step = _NETWORK.unpack(container.sections["network"])
    if step < entropy.FINEST:
        raise BitstreamError(f"step {step}: at least {entropy.FINEST} is needed")
    try:
        stored = store.by_key(key.hex())
    except LookupError as error:
        raise BitstreamError(error.args[0]) from None
    if _absurd(stored, container.height, container.width):
        raise BitstreamError(f"absurd size: {container.height} x {container.width} pixels of model {stored.name}")
    return stored, step


# Files ----------------------------------------------------------------------------------------------------------------


def _read(stored: Stored, step: int, container: Container) -> np.ndarray:
    """The symbols ``(C, h, w)`` of a file."""
    values = container.sections["values"]
    rows, columns = _places(container.height, container.width)
    least = _least(container.height, container.width)
    if len(values) < least or (len(values) > least and values.endswith(b"\0")):
        raise BitstreamError(f"values of {len(values)} bytes: at least {least}, and no zeros behind more, are needed")
    # The coder's own zeros at the end are left out by `entropy.encode`, so that all that is here is padding.
    return entropy.decode(values.rstrip(b"\0"), (stored.model.shape.latent, rows, columns), stored.counts, step)


def _write(stored: Stored, z: torch.Tensor, step: int, height: int, width: int) -> bytes:
    code = entropy.encode(entropy.quantise(z, step)[0].numpy(), stored.counts, step)
    network = _NETWORK.pack(bytes.fromhex(stored.key), step)
    values = code.ljust(_least(height, width), b"\0")
    return pack(Container("cae", height, width, {"network": network, "values": values}))


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
    rest = len(smallest) - _least(height, width)  # header, network, checksum; the coarsest step writes no code at all

    def fits(step: int) -> bool:
        estimate = rest + entropy.bits(entropy.quantise(z, step)[0].numpy(), stored.counts, step) / 8
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


def _places(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the latent."""
    return -(-height // SCALE), -(-width // SCALE)


def _least(height: int, width: int) -> int:
    """Bytes that the values have at least: a forged file must not ask for hours of work."""
    rows, columns = _places(height, width)
    return -(-rows * columns * SCALE**2 // entropy.PIXELS_PER_BYTE)


def _macs(stored: Stored) -> int:
    """Of the decoder, for one place of the latent."""
    return count_macs(stored.model.decoder, (1, stored.model.shape.latent, 1, 1))


def _absurd(stored: Stored, height: int, width: int) -> bool:
    """Is the picture too large for this model? Such a file is neither written nor read."""
    rows, columns = _places(height, width)
    symbols = rows * columns * stored.model.shape.latent
    return symbols > MOST_SYMBOLS or rows * columns * _macs(stored) > MOST_MACS


# Networks -------------------------------------------------------------------------------------------------------------


def _on(network: Encoder | Decoder, device: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """A copy of a stored network where it is to run. (Channels last is how a CPU convolves fastest.)"""
    return copy.deepcopy(network).to(device, memory_format=torch.channels_last)


def _latent(stored: Stored, image: np.ndarray, device: str) -> torch.Tensor:
    """What the encoder makes of a picture: ``(1, C, h, w)``, on the CPU."""
    height, width, _ = image.shape
    if _absurd(stored, height, width):
        raise ValueError(f"model={stored.name!r} does not go with {height} x {width} pixels: no decoder will draw that")
    encoder = _on(stored.model.encoder, device)
    x = pad(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None])
    return in_strips(lambda strip: encoder(strip.to(device).float() / 255).cpu(), x, down=True)


def _draw(stored: Stored, symbols: np.ndarray, step: int, height: int, width: int, device: str = "cpu") -> np.ndarray:
    """The picture uint8 ``(H, W, 3)`` of symbols; rounded strip by strip, so that little more than it is held."""
    decoder = _on(stored.model.decoder, device)

    def drawn(strip: torch.Tensor) -> torch.Tensor:
        x = decoder(strip.to(device).float() * (step / entropy.UNIT))
        return (x.clamp(0, 1) * 255).round().to(torch.uint8).cpu()

    picture = in_strips(drawn, torch.from_numpy(symbols)[None], down=False)[0]
    return np.ascontiguousarray(picture[:, :height, :width].permute(1, 2, 0).numpy())
