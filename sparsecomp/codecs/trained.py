"""Codecs of trained autoencoders: Sparse CAE, CAE-ADMM, and the same network trained by an estimate of the rate.

The receiver has the model too, and the file names it by its hash. Sections: ``network`` (the first 8 bytes of the
model's hash, and one number as u16, or as u32 where it is larger; little endian, 10 or 12 bytes) and ``values`` (the
range-coded symbols). Header, sections and checksum cost 30 to 33 bytes on a Kodak picture, 0.0006 or 0.0007 bpp.

One model serves many rates: the same latent at another *setting* is another file. What a setting is, and what the
number says, depends on the family of networks. For Sparse CAE both are the step by which the latent is rounded, in
1/16384. A code of CAE-ADMM is whole numbers already: its setting is how many entries are kept, those of largest
magnitude, and the number is the smallest magnitude of a nonzero symbol. A code whose entropy was estimated has a step
again, in 1/16, and the number says both: the smallest magnitude in its lower 16 bits, and above them how much larger
the step is than that of the training.
"""

from __future__ import annotations

import math
import struct
from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import torch

from sparsecomp import metrics
from sparsecomp.checks import InputError, in_range, refuse, whole
from sparsecomp.codecs.base import (
    REGISTRY,
    BudgetError,
    Codec,
    check_bpp,
    check_image,
    codec_of,
    memory_for,
    register,
)
from sparsecomp.coding import contexts, integer_latents, latents
from sparsecomp.coding.container import BitstreamError, Container, pack
from sparsecomp.models.pretrained import Models, Stored, default_models
from sparsecomp.sparsify.admm import kept, top_l

_NETWORK = struct.Struct("<8sH")  # a model's key, and a number
_WIDER = struct.Struct("<8sI")  # where the number is larger
Latent = Any  # what an encoder makes of a picture, (C, h, w): a float tensor (cae), or an int32 array (cae-admm)
# What no file may ask for, so none is written either: for 2^26 pixels the decoders of the papers take 2^44.1 (cae) and
# 2^45.4 (cae-admm) multiply-accumulates, and have at most 2^27 symbols, which are 512 MB. Long thin pictures, padded to
# whole places, take more.
MOST_MACS = 2**46
MOST_SYMBOLS = 2**28


# The codecs -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Trained(Codec):
    """A trained autoencoder with a quantiser and a range coder; what the three codecs share.

    Parameters
    ----------
    model : str, optional
        Name of a model of `models`, or the path of a model's file. (Who decodes needs it among theirs.) By default
        `encode` takes the first in the codec's order, of the models with ``search`` in their `about`; `at_bpp` tries
        them all on tiles of the picture.
    models : Models, optional
        Where models are looked up; by default `models.pretrained.default_models`.
    device : str
        Where the networks run while a picture is written; a file is always decoded on the CPU.
    """

    model: str | None = None
    models: Models | None = field(default=None, repr=False)
    device: str = "cpu"

    note: ClassVar[str] = "trained before on other pictures; the model is not in the file"
    study: ClassVar[str]  # that makes models
    coder: ClassVar[ModuleType]  # from symbols to bytes and back, by the model's counts
    check: ClassVar[Any]  # refuses a number that no file can hold (`ValueError`)

    def __post_init__(self) -> None:
        if self.model is not None and not isinstance(self.model, str):
            refuse("model", "the name of a model or the path of its file", self.model)

    # What the families differ in. A latent is what the encoder makes of a picture, (C, h, w); symbols are int32.

    @staticmethod
    def latent(stored: Stored, z: torch.Tensor) -> Latent:
        """Take the latent from the encoder's output; `ValueError` for values that no file can hold."""
        return z

    @staticmethod
    @abstractmethod
    def symbols(latent: Latent, setting: int) -> np.ndarray:
        """Make the symbols at a setting."""

    @staticmethod
    def number_of(symbols: np.ndarray, setting: int) -> int:
        """The number that the file has besides the symbols."""
        return setting

    @staticmethod
    def setting_of(number: int) -> int:
        """What `number_of` needs beside the symbols to give this number again."""
        return number

    @staticmethod
    def tables(stored: Stored, number: int) -> tuple:
        """What the coder takes beside the symbols."""
        return stored.counts, number

    @staticmethod
    def unit(number: int) -> float:
        """The value of the latent that a symbol of 1 stands for."""
        return 1.0

    @staticmethod
    @abstractmethod
    def ladder(latent: Latent) -> list[int]:
        """Settings for the search, from the best file to the smallest."""

    @staticmethod
    @abstractmethod
    def order(about: dict) -> tuple:
        """By what models are sorted: `encode` takes the first by itself."""

    @staticmethod
    def quality(reference: np.ndarray, reconstruction: np.ndarray) -> float:
        """What decides between models at the same rate: PSNR."""
        return metrics.psnr(reference=reference, reconstruction=reconstruction)

    @abstractmethod
    def _setting(self, stored: Stored, latent: Latent) -> int:
        """The setting of `encode`."""

    # What they share.

    def _latent(self, stored: Stored, image: np.ndarray) -> Latent:
        return latent_of(stored, image, self.device)

    def encode(self, image: np.ndarray) -> bytes:
        """Write the picture with `model` at this codec's setting.

        Raises
        ------
        ValueError
            If the picture is not one, there is no such model, the model is too costly for a picture of this size, or
            its code has a value that no file can hold.
        """
        check_image(image, codec=self.name)
        stored = min(self._candidates(), key=lambda m: self.order(m.about))
        latent = self._latent(stored, image)
        return _write(stored, latent, self._setting(stored, latent), image.shape[:2])

    def at_bpp(self, image: np.ndarray, bpp: float) -> bytes:
        """The best file of at most ``bpp``: a model at the best setting that fits.

        Of several models the one is taken that has the highest `quality` at this rate on tiles of the picture
        (`tiles`), so that the whole picture is encoded once and never decoded.

        Raises
        ------
        ValueError
            As `encode`; `BudgetError` where even the smallest file of every model is too much.
        """
        check_image(image, codec=self.name)
        check_bpp(bpp)
        candidates, refused = self._candidates(), []
        if len(candidates) > 1:
            some, pixels = tiles(image), image.shape[0] * image.shape[1]
            header = len(_file(candidates[0], 0, image.shape[:2], b""))
            rate = bpp / 8 - header / pixels  # bytes for a pixel's values: the tiles need no header of their own
            candidates = sorted(candidates, key=lambda stored: self._quality_at(stored, some, rate), reverse=True)
        for stored in candidates:
            try:
                return _best(stored, self._latent(stored, image), bpp, image.shape[:2])
            except BudgetError as error:
                refused.append(error)
        raise min(refused, key=lambda error: error.smallest)

    def _quality_at(self, stored: Stored, image: np.ndarray, rate: float) -> float:
        """Quality at the best setting of a model whose coded symbols are estimated to take at most ``rate`` bytes for
        each pixel; below all others where none does.
        """
        size = image.shape[:2]
        latent, budget = self._latent(stored, image), rate * size[0] * size[1]
        ladder = self.ladder(latent)
        if _estimate(stored, latent, ladder[-1]) > budget:
            return -math.inf
        setting = _first(ladder, lambda setting: _estimate(stored, latent, setting) <= budget)
        symbols = self.symbols(latent, setting)
        unit = self.unit(self.number_of(symbols, setting))
        return self.quality(image, stored.decode(symbols, *size, unit=unit, device=self.device))

    def _candidates(self) -> list[Stored]:
        """The models that the codec may use: the one that is named, or all that may be chosen without."""
        models = self.models or default_models()
        if self.model is not None:
            stored = models.find(self.model)
            if stored.codec != self.name:
                raise InputError(f"model={self.model!r} is for {stored.codec}, not {self.name}")
            return [stored]
        own = models.of_codec(self.name)
        if found := [stored for stored in own if stored.about.get("search")]:
            return found
        if names := ", ".join(stored.name for stored in own):
            raise InputError(f"{self.name}: no model here may be chosen without being named; name one of {names}")
        command = f"python -m reproduce study {self.study} --preset laptop"
        raise InputError(f"{self.name}: there is no trained model in results/models; `{command}` trains them")

    @classmethod
    def read(cls, container: Container, models: Models | None = None) -> np.ndarray:
        """Draw the picture with the model that the file names, which must be among ``models``."""
        with memory_for(container):
            stored, symbols, number = read_symbols(container, models)
            return stored.decode(symbols, container.height, container.width, unit=cls.unit(number))

    @classmethod
    def describe(cls, container: Container, models: Models | None = None) -> list[tuple[str, str]]:
        """The model and its shape; each codec adds its number."""
        stored, _ = read_network(container, models)
        shape = stored.model.shape
        sizes = [f"{name} {getattr(shape, name)}" for name in ("width", "latent", "depth") if hasattr(shape, name)]
        return [("model", ", ".join([stored.name, stored.key, *sizes]))]

    @classmethod
    def macs_per_pixel(cls, container: Container, models: Models | None = None) -> float:
        """Multiply-accumulates of the decoder for one pixel, whatever of its weights is zero."""
        stored, _ = read_network(container, models)
        return stored.macs / stored.scale**2


@register
@dataclass(frozen=True, kw_only=True)
class Cae(Trained):
    """A convolutional autoencoder of Sparse CAE (Gille et al. 2022): its latent is rounded to multiples of a step.

    Parameters
    ----------
    step : int, optional
        Of `encode`, in 1/16384, 32 .. 65535. By default the geometric mean of the steps that the model was trained
        for. `at_bpp` finds its own.
    model, models, device
        As `Trained`. The least sparse model comes first, and of these the one for the finest steps.
    """

    step: int | None = None

    name: ClassVar[str] = "cae"
    number: ClassVar[int] = 18
    study: ClassVar[str] = "cae"
    coder: ClassVar[ModuleType] = latents
    check: ClassVar[Any] = staticmethod(latents.check_step)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.step is not None:
            self.check(self.step)

    @staticmethod
    def symbols(latent: Latent, step: int) -> np.ndarray:
        return latents.quantise(latent, step).numpy()

    @staticmethod
    def unit(step: int) -> float:
        return step / latents.UNIT

    @staticmethod
    def ladder(latent: Latent) -> list[int]:
        # Three an octave.
        return [min(latents.COARSEST, round(latents.FINEST * 2 ** (i / 3))) for i in range(34)]

    @staticmethod
    def order(about: dict) -> tuple:
        return about.get("sparsity") or 0, about["finest"]

    def _setting(self, stored: Stored, latent: Latent) -> int:
        return stored.step if self.step is None else self.step

    @classmethod
    def describe(cls, container: Container, models: Models | None = None) -> list[tuple[str, str]]:
        """The model, its shape, the step, and whether symbols are coded with contexts."""
        stored, step = read_network(container, models)
        text = f"{step} / {latents.UNIT} = {step / latents.UNIT:.5f}"
        coded = [("coded", "with contexts")] if stored.contexts else []
        return [*super().describe(container, models), ("step", text), *coded]


@register
@dataclass(frozen=True, kw_only=True)
class CaeAdmm(Trained):
    """A compressive autoencoder whose code was pruned in training by ADMM (Zhao & Liao 2019).

    Parameters
    ----------
    keep : float, optional
        Of `encode`: the share of the code's entries, in (0, 1], that are kept, those of largest magnitude
        (`sparsify.admm.top_l`). By default the code stays as the encoder makes it. `at_bpp` finds its own.
    draws : int, optional
        Round up or down at random, with the mean z, as in training and as the released code does in use; this is the
        seed, 0 .. 2^63 - 1. By default z is rounded to the nearest.
    model, models, device
        As `Trained`. The model that kept most in training comes first, and of these the one with the lowest price of a
        bit.
    """

    keep: float | None = None
    draws: int | None = None

    name: ClassVar[str] = "cae-admm"
    number: ClassVar[int] = 19
    study: ClassVar[str] = "cae_admm"
    coder: ClassVar[ModuleType] = integer_latents
    check: ClassVar[Any] = staticmethod(integer_latents.check_threshold)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep is not None:
            in_range("keep", self.keep, 0, 1, "(]")
        if self.draws is not None:
            whole("draws", self.draws, 0, 2**63 - 1)

    def _latent(self, stored: Stored, image: np.ndarray) -> Latent:
        if self.draws is None:
            return super()._latent(stored, image)
        z = _encoded(stored, image, self.device)
        up = torch.rand(z.shape, generator=torch.Generator().manual_seed(self.draws))
        return self.latent(stored, torch.floor(z + up))

    @staticmethod
    def latent(stored: Stored, z: torch.Tensor) -> np.ndarray:
        if not bool((z.abs() < integer_latents.MOST + 0.5).all()):
            raise InputError(f"model={stored.name!r}: of this picture it makes values beyond {integer_latents.MOST}")
        code = z.round().to(torch.int32).numpy()
        return pruned(code, stored.about["keep"]) if stored.about.get("projects") else code

    @staticmethod
    def symbols(latent: Latent, entries: int) -> np.ndarray:
        return latent if entries >= np.count_nonzero(latent) else pruned(latent, entries / latent.size)

    @staticmethod
    def number_of(symbols: np.ndarray, setting: int) -> int:
        return integer_latents.threshold_of(symbols)

    @staticmethod
    def ladder(latent: Latent) -> list[int]:
        return [max(1, int(np.count_nonzero(latent))), 1]

    @staticmethod
    def order(about: dict) -> tuple:
        return -(about.get("keep") or 1), about.get("lam") or 0

    @staticmethod
    def quality(reference: np.ndarray, reconstruction: np.ndarray) -> float:
        """SSIM; PSNR where that is not defined, below 11 pixels a side."""
        ssim = metrics.ssim(reference=reference, reconstruction=reconstruction)
        return Trained.quality(reference, reconstruction) if ssim is None else ssim

    def _setting(self, stored: Stored, latent: Latent) -> int:
        return latent.size if self.keep is None else kept(self.keep, latent.size)

    @classmethod
    def describe(cls, container: Container, models: Models | None = None) -> list[tuple[str, str]]:
        """The model, its shape, the threshold, and the share of zeros."""
        _, symbols, _ = read_symbols(container, models)
        return [
            *super().describe(container, models),
            ("threshold", f"{integer_latents.threshold_of(symbols)}, the least magnitude beside zero"),
            ("zeros", f"{100 * float((symbols == 0).mean()):.2f} % of {symbols.size:,} entries"),
        ]


@register
@dataclass(frozen=True, kw_only=True)
class CaeTheis(CaeAdmm):
    """The same network and coder, trained by an estimate of the entropy (Theis et al. 2017) in place of ADMM.

    Its values are rounded to multiples of a step. The training rounds up or down at random, whose mean squared error
    over all places between two whole numbers is 1/6, where rounding to the nearest has 1/12. So a step of 1 is finer
    than the training asks for.

    Parameters
    ----------
    step : int, optional
        Of `encode`, in 1/16, 16 .. 4096. By default 16, the step of the training. `at_bpp` finds its own.
    keep, draws, model, models, device
        As `CaeAdmm`. What `keep` leaves is rounded to whole numbers first; `at_bpp` takes it as it is.
    """

    step: int | None = None

    name: ClassVar[str] = "cae-theis"
    number: ClassVar[int] = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.step is not None:
            integer_latents.check_step(self.step)

    def _latent(self, stored: Stored, image: np.ndarray) -> Latent:
        if self.draws is not None or self.keep is not None:
            code = super()._latent(stored, image)
            return code if self.keep is None else pruned(code, self.keep)
        z = _encoded(stored, image, self.device)
        self.latent(stored, z)  # refuses values that no file can hold
        return z.numpy()

    @staticmethod
    def symbols(latent: Latent, step: int) -> np.ndarray:
        return np.rint(latent * (integer_latents.STEP / step)).astype(np.int32)

    # The number of a file: the threshold, and above its 16 bits how much larger the step is than that of the training.

    @staticmethod
    def number_of(symbols: np.ndarray, step: int) -> int:
        return (step - integer_latents.STEP) << 16 | integer_latents.threshold_of(symbols)

    @staticmethod
    def setting_of(number: int) -> int:
        return (number >> 16) + integer_latents.STEP

    @staticmethod
    def check(number: int) -> None:
        integer_latents.check_threshold(number & 0xFFFF)
        integer_latents.check_step(CaeTheis.setting_of(number))

    @staticmethod
    def tables(stored: Stored, number: int) -> tuple:
        return integer_latents.coarser(stored.counts, CaeTheis.setting_of(number)), number & 0xFFFF

    @staticmethod
    def unit(number: int) -> float:
        return CaeTheis.setting_of(number) / integer_latents.STEP

    @staticmethod
    def ladder(latent: Latent) -> list[int]:
        # Three an octave.
        return [min(integer_latents.COARSEST, round(integer_latents.STEP * 2 ** (i / 3))) for i in range(25)]

    def _setting(self, stored: Stored, latent: Latent) -> int:
        return integer_latents.STEP if self.step is None else self.step

    @classmethod
    def describe(cls, container: Container, models: Models | None = None) -> list[tuple[str, str]]:
        """As `CaeAdmm`, and the step."""
        _, number = read_network(container, models)
        text = f"{cls.setting_of(number)} / {integer_latents.STEP} = {cls.unit(number):g}"
        return [*super().describe(container, models), ("step", text)]


TILE, TILES = 64, 3  # side of a tile in pixels; how many along each side of the picture


def tiles(image: np.ndarray) -> np.ndarray:
    """3 x 3 tiles of 64 x 64 pixels, evenly spread over a picture ``(H, W, 3)`` and put together; of a side that three
    tiles would cover, all of it.
    """
    for axis in (0, 1):
        if (long := image.shape[axis]) > TILE * TILES:
            firsts = np.linspace(0, long - TILE, TILES).round().astype(int)
            image = np.take(image, (firsts[:, None] + np.arange(TILE)).ravel(), axis)
    return np.ascontiguousarray(image)


# Files ----------------------------------------------------------------------------------------------------------------


def _codec_of_model(stored: Stored) -> type[Trained]:
    """The codec that a model is for."""
    codec = REGISTRY[stored.codec]
    assert issubclass(codec, Trained)
    return codec


def coder_of(stored: Stored, number: int) -> tuple[ModuleType, tuple]:
    """What turns symbols into bytes, and what its functions take beside them: contexts, or counts and the number."""
    if stored.contexts is not None:
        return contexts, (stored.contexts,)
    codec = _codec_of_model(stored)
    return codec.coder, codec.tables(stored, number)


def _file(stored: Stored, number: int, size: tuple[int, ...], values: bytes) -> bytes:
    """A file with these values, which are the coded symbols of a latent."""
    network = (_NETWORK if number < 2**16 else _WIDER).pack(bytes.fromhex(stored.key), number)
    return pack(Container(_codec_of_model(stored).number, size[0], size[1], {"network": network, "values": values}))


def _write(stored: Stored, latent: Latent, setting: int, size: tuple[int, ...]) -> bytes:
    """The file of a latent at a setting."""
    codec = _codec_of_model(stored)
    symbols = codec.symbols(latent, setting)
    number = codec.number_of(symbols, setting)
    coder, tables = coder_of(stored, number)
    return _file(stored, number, size, coder.encode(symbols, *tables).ljust(_least(stored, *size), b"\0"))


def _estimate(stored: Stored, latent: Latent, setting: int) -> float:
    """About how many bytes the coded symbols of a latent take at a setting."""
    codec = _codec_of_model(stored)
    symbols = codec.symbols(latent, setting)
    coder, tables = coder_of(stored, codec.number_of(symbols, setting))
    return coder.bits(symbols, *tables) / 8


def _first(ladder: list[int], fits: Callable[[int], bool]) -> int:
    """The best setting that fits, by bisection: first among those of the ladder, then between two of them.

    The last one of the ladder fits. Along the ladder files become smaller, but for a few bytes.
    """
    first = bisect_left(ladder, True, hi=len(ladder) - 1, key=fits)
    good, bad = ladder[first], ladder[first - 1] if first else None
    while bad is not None and abs(good - bad) > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


def _best(stored: Stored, latent: Latent, bpp: float, size: tuple[int, ...]) -> bytes:
    """The file of the best setting that is not over ``bpp``; `BudgetError`.

    Files are written where the estimate alone cannot say whether they fit, and the last one always; where the estimate
    was far off, every one.
    """
    ladder, pixels = _codec_of_model(stored).ladder(latent), size[0] * size[1]
    budget = bpp * pixels / 8
    smallest = _write(stored, latent, ladder[-1], size)
    if len(smallest) > budget:
        raise BudgetError(stored.codec, bpp, 8 * len(smallest) / pixels)
    rest = len(_file(stored, 0, size, b""))

    def fits(setting: int) -> bool:
        estimate = rest + _estimate(stored, latent, setting)
        near = abs(estimate - budget) <= 16 + estimate / 256
        return is_written(setting) if near else estimate < budget

    def is_written(setting: int) -> bool:
        return len(_write(stored, latent, setting, size)) <= budget

    for way in (fits, is_written):
        written = _write(stored, latent, _first(ladder, way), size)
        if len(written) <= budget:
            break
    return written


def read_network(container: Container, models: Models | None = None) -> tuple[Stored, int]:
    """The model and the number of a file; `BitstreamError` if the model is not here, or on anything absurd."""
    codec = codec_of(container)
    assert issubclass(codec, Trained)
    kinds = {kind.size: kind for kind in (_NETWORK, _WIDER)}
    if set(container.sections) != {"network", "values"} or len(container.sections["network"]) not in kinds:
        needed = f"a network section of {' or '.join(map(str, kinds))} bytes and values, nothing else"
        raise BitstreamError(f"a {codec.name} file has {needed}")
    kind = kinds[len(container.sections["network"])]
    key, number = kind.unpack(container.sections["network"])
    if (kind is _WIDER) != (number >= 2**16):
        raise BitstreamError(f"number {number} needs {_NETWORK.size} bytes and has {_WIDER.size}")
    try:
        stored = (models or default_models()).by_key(key.hex(), codec.name)
    except LookupError as error:
        raise BitstreamError(error.args[0]) from None
    if stored.codec != codec.name:
        raise BitstreamError(f"a {codec.name} file of model {stored.name}, which is for {stored.codec}")
    if _absurd(stored, container.height, container.width):
        raise BitstreamError(f"absurd size: {container.height} x {container.width} pixels of model {stored.name}")
    try:
        codec.check(number)
    except ValueError as error:
        raise BitstreamError(str(error)) from None
    return stored, number


def read_symbols(container: Container, models: Models | None = None) -> tuple[Stored, np.ndarray, int]:
    """The model, the symbols int32 ``(C, h, w)`` and the number of a file; `BitstreamError` if it is none."""
    stored, number = read_network(container, models)
    codec, size = _codec_of_model(stored), (container.height, container.width)
    values, needed = container.sections["values"], _least(stored, *size)
    if len(values) < needed or (len(values) > needed and values.endswith(b"\0")):
        raise BitstreamError(f"values of {len(values)} bytes: at least {needed}, and no zeros behind more, are needed")
    # The coder's own zeros at the end are left out by `range_coder.words`, so that all that is here is padding.
    shape = (stored.model.shape.latent, *stored.places(*size))
    coder, tables = coder_of(stored, number)
    symbols = coder.decode(values.rstrip(b"\0"), shape, *tables)
    if (own := codec.number_of(symbols, codec.setting_of(number))) != number:
        raise BitstreamError(f"number {number}: it is {own} of these symbols")
    return stored, symbols, number


def _least(stored: Stored, height: int, width: int) -> int:
    """Bytes that the values have at least: a forged file must not ask for hours of work."""
    rows, columns = stored.places(height, width)
    return -(-rows * columns * stored.scale**2 // latents.PIXELS_PER_BYTE)


def _absurd(stored: Stored, height: int, width: int) -> bool:
    """Is the picture too large for this model? Such a file is neither written nor read."""
    rows, columns = stored.places(height, width)
    return rows * columns * stored.model.shape.latent > MOST_SYMBOLS or rows * columns * stored.macs > MOST_MACS


def latent_of(stored: Stored, image: np.ndarray, device: str = "cpu") -> Latent:
    """What a model makes of a picture uint8 ``(H, W, 3)``, before a setting is chosen: ``(C, h, w)``, on the CPU.

    For Sparse CAE the latent, a float tensor; for CAE-ADMM the code ``round(encoder(x))``, int32, all entries kept, or
    those that the model's own projection keeps, if it was trained through one.

    Raises
    ------
    ValueError
        If the model is too costly for a picture of this size, or a value of a code is beyond 32767, or none at all.
    """
    return _codec_of_model(stored).latent(stored, _encoded(stored, image, device))


def _encoded(stored: Stored, image: np.ndarray, device: str) -> torch.Tensor:
    """What the encoder makes of a picture that some decoder will draw."""
    height, width, _ = image.shape
    if _absurd(stored, height, width):
        raise InputError(f"model={stored.name!r} does not go with {height} x {width} pixels: no decoder will draw that")
    return stored.encode(image, device)


def pruned(symbols: np.ndarray, keep: float) -> np.ndarray:
    """A code int32 ``(C, h, w)`` of which only a share ``keep`` of the entries stays (`top_l`)."""
    return top_l(torch.from_numpy(symbols)[None], keep)[0].numpy()
