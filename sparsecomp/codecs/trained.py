"""What the codecs of trained networks share: a model that the receiver has too, which the file names by its hash.

Sections of their files: ``network`` (the first 8 bytes of the model's hash, and one number of the codec's own as u16;
little endian, 10 bytes) and ``values`` (the range-coded symbols). Header, sections and checksum cost 30 or 31 bytes on
a Kodak picture, 0.0006 bpp.
"""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from sparsecomp.coding import entropy
from sparsecomp.coding.bitstream import BitstreamError, Container, pack
from sparsecomp.complexity import count_macs
from sparsecomp.models import pretrained
from sparsecomp.models.inference import in_strips, pad, to_tensor
from sparsecomp.models.pretrained import Stored

_NETWORK = struct.Struct("<8sH")
# What no file may ask for, so none is written either: for 2^26 pixels the decoders of the papers take 2^44.1 (cae) and
# 2^45.4 (cae-admm) multiply-accumulates, and have at most 2^27 symbols, which are 512 MB. Long thin pictures, padded to
# whole places, take more.
MOST_MACS = 2**46
MOST_SYMBOLS = 2**28


# Models ---------------------------------------------------------------------------------------------------------------


def check_model(model: str | None) -> None:
    """Refuse what is no name (`ValueError`)."""
    if model is not None and not isinstance(model, str):
        raise ValueError(f"model={model!r}: the name of a model or the path of its file is needed")


def candidates(codec: str, model: str | None, study: str) -> list[Stored]:
    """The models that a codec may use: the one that is named, or all that may be chosen without.

    Raises
    ------
    ValueError
        If there is none, or the named one is for another codec; ``study`` makes models.
    """
    if model is not None:
        stored = pretrained.find(model)
        if stored.codec != codec:
            raise ValueError(f"model={model!r} is for {stored.codec}, not {codec}")
        return [stored]
    own = [stored for stored in map(pretrained.load, pretrained.available().values()) if stored.codec == codec]
    if found := [stored for stored in own if stored.about.get("search")]:
        return found
    if names := ", ".join(stored.name for stored in own):
        raise ValueError(f"{codec}: no model here may be chosen without being named; name one of {names}")
    raise ValueError(
        f"{codec}: there is no trained model in results/models; `sparsecomp study {study} --profile laptop` trains them"
    )


def macs(stored: Stored) -> int:
    """Multiply-accumulates of the decoder for one place of the code."""
    return count_macs(stored.model.decoder, (1, stored.model.shape.latent, 1, 1))


# Files ----------------------------------------------------------------------------------------------------------------


def write(stored: Stored, number: int, code: bytes, height: int, width: int) -> bytes:
    """A file: the model, the codec's own number, the code."""
    network = _NETWORK.pack(bytes.fromhex(stored.key), number)
    values = code.ljust(least(stored, height, width), b"\0")
    return pack(Container(stored.codec, height, width, {"network": network, "values": values}))


def read_network(container: Container) -> tuple[Stored, int]:
    """The model and the number of a file; `BitstreamError` if the model is not here, or on anything absurd."""
    if set(container.sections) != {"network", "values"} or len(container.sections["network"]) != _NETWORK.size:
        raise BitstreamError(
            f"a {container.codec} file has a network section of {_NETWORK.size} bytes and values, nothing else"
        )
    key, number = _NETWORK.unpack(container.sections["network"])
    try:
        stored = pretrained.by_key(key.hex(), container.codec)
    except LookupError as error:
        raise BitstreamError(error.args[0]) from None
    if stored.codec != container.codec:
        raise BitstreamError(f"a {container.codec} file of model {stored.name}, which is for {stored.codec}")
    if absurd(stored, container.height, container.width):
        raise BitstreamError(f"absurd size: {container.height} x {container.width} pixels of model {stored.name}")
    return stored, number


def read_code(stored: Stored, container: Container) -> tuple[bytes, tuple[int, int, int]]:
    """The code of a file, without the zeros that fill it up, and the shape of its symbols; `BitstreamError`."""
    values, needed = container.sections["values"], least(stored, container.height, container.width)
    if len(values) < needed or (len(values) > needed and values.endswith(b"\0")):
        raise BitstreamError(f"values of {len(values)} bytes: at least {needed}, and no zeros behind more, are needed")
    # The coder's own zeros at the end are left out by `entropy.words`, so that all that is here is padding.
    shape = (stored.model.shape.latent, *places(stored, container.height, container.width))
    return values.rstrip(b"\0"), shape


def places(stored: Stored, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the code."""
    return -(-height // stored.scale), -(-width // stored.scale)


def least(stored: Stored, height: int, width: int) -> int:
    """Bytes that the values have at least: a forged file must not ask for hours of work."""
    rows, columns = places(stored, height, width)
    return -(-rows * columns * stored.scale**2 // entropy.PIXELS_PER_BYTE)


def absurd(stored: Stored, height: int, width: int) -> bool:
    """Is the picture too large for this model? Such a file is neither written nor read."""
    rows, columns = places(stored, height, width)
    return rows * columns * stored.model.shape.latent > MOST_SYMBOLS or rows * columns * macs(stored) > MOST_MACS


# Networks -------------------------------------------------------------------------------------------------------------


def _on(network: nn.Module, device: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """A copy of a stored network where it is to run. (Channels last is how a CPU convolves fastest.)"""
    return copy.deepcopy(network).to(device, memory_format=torch.channels_last)


def encoded(stored: Stored, image: np.ndarray, device: str = "cpu") -> torch.Tensor:
    """What the encoder makes of a picture uint8 ``(H, W, 3)``: ``(C, h, w)``, on the CPU, not rounded.

    Raises
    ------
    ValueError
        If the model is too costly for a picture of this size.
    """
    height, width, _ = image.shape
    if absurd(stored, height, width):
        raise ValueError(f"model={stored.name!r} does not go with {height} x {width} pixels: no decoder will draw that")
    encoder = _on(stored.model.encoder, device)
    x = pad(to_tensor(image), stored.scale)
    return _in_strips(stored, lambda strip: encoder(strip.to(device).float() / 255).cpu(), x, down=True)[0]


def drawn(
    stored: Stored, symbols: np.ndarray, height: int, width: int, *, unit: float = 1.0, device: str = "cpu"
) -> np.ndarray:
    """The picture uint8 ``(H, W, 3)`` of symbols ``(C, h, w)`` in multiples of ``unit``.

    It is rounded strip by strip, so that little more than it is held.
    """
    decoder = _on(stored.model.decoder, device)

    def strip_of(strip: torch.Tensor) -> torch.Tensor:
        x = decoder(strip.to(device).float() * unit)
        return (x.clamp(0, 1) * 255).round().to(torch.uint8).cpu()

    picture = _in_strips(stored, strip_of, torch.from_numpy(symbols)[None], down=False)[0]
    return np.ascontiguousarray(picture[:, :height, :width].permute(1, 2, 0).numpy())


def _in_strips(
    stored: Stored, network: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, *, down: bool
) -> torch.Tensor:
    return in_strips(network, x, scale=stored.scale, margin=stored.model.shape.margin, down=down)


@contextmanager
def memory_for(container: Container) -> Iterator[None]:
    """Within it, where memory ends it is the file's fault: `BitstreamError`."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch says RuntimeError where memory ends
        raise BitstreamError(f"no memory to draw {container.height} x {container.width} pixels") from error
