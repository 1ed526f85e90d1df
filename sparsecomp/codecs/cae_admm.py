"""CAE-ADMM as a codec (Zhao & Liao 2019), and what it is compared with, the same network trained by an estimate of the
rate (Theis et al. 2017): a trained model that the receiver has too (`codecs.trained`), and its code of a picture.

The code is ``round(encoder(x))``, integers without bound; of these, only the l of largest magnitude may be kept. The
number in the section ``network`` is the smallest magnitude of a nonzero symbol. The symbols are range-coded by
`coding.histograms`.

One model serves many rates: the same code with fewer entries kept is another file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from sparsecomp import metrics
from sparsecomp.codecs import trained
from sparsecomp.codecs.base import BudgetError, check_bpp, check_image
from sparsecomp.coding import histograms
from sparsecomp.coding.bitstream import BitstreamError, Container, unpack
from sparsecomp.models.pretrained import Stored
from sparsecomp.sparsify.admm import top_l


@dataclass(frozen=True)
class CaeAdmm:
    """A compressive autoencoder whose code was pruned in training by ADMM (Zhao & Liao 2019), with a range coder.

    Parameters
    ----------
    model : str, optional
        Name of a model in ``results/models``, or the path of a model's file. (Who decodes needs it in
        ``results/models``.) By default `encode` takes, of the models with ``search`` in their `about`, the one that
        kept most in training, and of these the one with the lowest price of a bit; `at_bpp` tries them all.
    keep : float, optional
        Of `encode`: the share of the code's entries, in (0, 1], that are kept, those of largest magnitude
        (`sparsify.admm.top_l`). By default the code stays as the encoder makes it. `at_bpp` finds its own.
    device : str
        Where the networks run while a picture is written; a file is always decoded on the CPU.
    """

    model: str | None = None
    keep: float | None = None
    device: str = "cpu"

    name = "cae-admm"

    def __post_init__(self) -> None:
        trained.check_model(self.model)
        if self.keep is not None and (not isinstance(self.keep, int | float) or not 0 < self.keep <= 1):
            raise ValueError(f"keep={self.keep!r}: a share above 0 and up to 1 is needed")

    def encode(self, image: np.ndarray) -> bytes:
        """Write the picture with `model`, of its code the share `keep`.

        Raises
        ------
        ValueError
            If the picture is not one, there is no such model, the model is too costly for a picture of this size, or
            its code has a value that no file can hold.
        """
        check_image(image, codec=self.name)
        stored = min(self._candidates(), key=lambda m: (-(m.about.get("keep") or 1), m.about.get("lam") or 0))
        symbols = code_of(stored, image, self.device)
        return _write(stored, symbols if self.keep is None else pruned(symbols, self.keep), *image.shape[:2])

    def at_bpp(self, image: np.ndarray, bpp: float) -> bytes:
        """The best file of at most ``bpp``: each model with as many entries kept as fit, of these the highest SSIM.

        (The highest PSNR where SSIM is not defined, below 11 pixels a side.)

        Raises
        ------
        ValueError
            As `encode`; `BudgetError` where even one entry is too much.
        """
        check_image(image, codec=self.name)
        check_bpp(bpp)
        size, files, refused = image.shape[:2], [], []
        for stored in self._candidates():
            try:
                files.append((stored, *_most_kept(stored, code_of(stored, image, self.device), bpp, *size)))
            except BudgetError as error:
                refused.append(error)
        if not files:
            raise min(refused, key=lambda error: error.smallest)

        def quality(found: tuple[Stored, np.ndarray, bytes]) -> float:
            pair = {"reference": image, "reconstruction": draw(*found[:2], *size, self.device)}
            ssim = metrics.ssim(**pair)
            return metrics.psnr(**pair) if ssim is None else ssim

        return (max(files, key=quality) if len(files) > 1 else files[0])[2]

    def decode(self, data: bytes) -> np.ndarray:
        """The picture of a file of this codec; `BitstreamError` if it is not one, or its model is not here."""
        container = unpack(data)
        if container.codec != self.name:
            raise BitstreamError(f"a {container.codec} file, not {self.name}")
        return decode_cae_admm(container)

    def macs_per_pixel(self, data: bytes) -> float:
        """Multiply-accumulates of the decoder for one pixel."""
        stored, _ = read_network(unpack(data))
        return trained.macs(stored) / stored.scale**2

    def _candidates(self) -> list[Stored]:
        return trained.candidates(self.name, self.model, "cae_admm")


@dataclass(frozen=True)
class CaeTheis(CaeAdmm):
    """The same network, coder and file, trained by an estimate of the entropy (Theis et al. 2017) in place of ADMM.

    Parameters, errors as `CaeAdmm`.
    """

    name = "cae-theis"


def decode_cae_admm(container: Container) -> np.ndarray:
    """The picture of a ``cae-admm`` or ``cae-theis`` file, uint8 ``(H, W, 3)``."""
    with trained.memory_for(container):
        stored, symbols = read(container)
        return draw(stored, symbols, container.height, container.width)


def read_network(container: Container) -> tuple[Stored, int]:
    """The model and the threshold of a file; `BitstreamError` if the model is not here, or on anything absurd."""
    stored, threshold = trained.read_network(container)
    if not 1 <= threshold <= histograms.MOST:
        raise BitstreamError(f"threshold {threshold}: 1 to {histograms.MOST} is needed")
    return stored, threshold


def read(container: Container) -> tuple[Stored, np.ndarray]:
    """The model and the symbols int32 ``(C, h, w)`` of a file; `BitstreamError` if it is none."""
    stored, threshold = read_network(container)
    code, shape = trained.read_code(stored, container)
    symbols = histograms.decode(code, shape, stored.counts, threshold)
    if histograms.threshold_of(symbols) != threshold:
        raise BitstreamError(f"threshold {threshold}: it is {histograms.threshold_of(symbols)} of these symbols")
    return stored, symbols


# Codes ----------------------------------------------------------------------------------------------------------------


def code_of(stored: Stored, image: np.ndarray, device: str = "cpu") -> np.ndarray:
    """``round(encoder(x))`` of a picture uint8 ``(H, W, 3)``: int32 ``(C, h, w)``, all entries kept.

    Raises
    ------
    ValueError
        If the model is too costly for a picture of this size, or a value is beyond 32767, or none at all.
    """
    z = trained.encoded(stored, image, device)
    if not bool((z.abs() < histograms.MOST + 0.5).all()):
        raise ValueError(f"model={stored.name!r}: of this picture it makes values beyond {histograms.MOST}")
    return z.round().to(torch.int32).numpy()


def pruned(symbols: np.ndarray, keep: float) -> np.ndarray:
    """A code int32 ``(C, h, w)`` of which only a share ``keep`` of the entries stays (`top_l`)."""
    return top_l(torch.from_numpy(symbols)[None], keep)[0].numpy()


def draw(stored: Stored, symbols: np.ndarray, height: int, width: int, device: str = "cpu") -> np.ndarray:
    """The picture uint8 ``(H, W, 3)`` that symbols int32 ``(C, h, w)`` stand for."""
    return trained.drawn(stored, symbols, height, width, device=device)


def _write(stored: Stored, symbols: np.ndarray, height: int, width: int) -> bytes:
    threshold = histograms.threshold_of(symbols)
    return trained.write(stored, threshold, histograms.encode(symbols, stored.counts, threshold), height, width)


def _most_kept(stored: Stored, symbols: np.ndarray, bpp: float, height: int, width: int) -> tuple[np.ndarray, bytes]:
    """The code with as many entries kept as fit into ``bpp``, and its file.

    The more are kept, the larger the file, but for a few bytes here and there: bisection. Files are written where the
    estimate alone cannot say whether they fit, and the last one always; where the estimate was far off, every one.
    """
    budget, most = bpp * height * width / 8, max(1, int(np.count_nonzero(symbols)))

    def left(entries: int) -> np.ndarray:
        return symbols if entries == most else pruned(symbols, entries / symbols.size)

    smallest = _write(stored, left(1), height, width)
    if len(smallest) > budget:
        raise BudgetError(stored.codec, bpp, 8 * len(smallest) / (height * width))
    rest = len(smallest) - len(unpack(smallest).sections["values"])  # header, network, checksum

    def fits(entries: int, estimated: bool) -> bool:
        code = left(entries)
        if estimated:
            estimate = rest + histograms.bits(code, stored.counts, histograms.threshold_of(code)) / 8
            if abs(estimate - budget) > 16 + estimate / 256:
                return estimate < budget
        return len(_write(stored, code, height, width)) <= budget

    def bisected(estimated: bool) -> np.ndarray:
        low, high = 1, most + 1
        middle = most  # tried first: where all may stay, nothing is to be sought
        while high - low > 1:
            low, high = (middle, high) if fits(middle, estimated) else (low, middle)
            middle = (low + high) // 2
        return left(low)

    for estimated in (True, False):
        code = bisected(estimated)
        if len(written := _write(stored, code, height, width)) <= budget:
            break
    return code, written
