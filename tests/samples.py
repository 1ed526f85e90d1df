"""What tests need of every registered codec: options that are quick, models that are small, a picture.

A new codec is found by itself, with its defaults; one that fits a network gets a short budget, and a trained one the
models below. `VARIANTS` has further settings of codecs whose files come in several kinds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tiny_cae
import tiny_cae_admm

from sparsecomp.codecs import Codec, get_codec
from sparsecomp.codecs.base import REGISTRY
from sparsecomp.data import bundled
from sparsecomp.models.pretrained import Models
from sparsecomp.training.configs import FitBudget, Sparsity

SHORT = FitBudget(steps=20, lr=2e-3)
VARIANTS: dict[str, list[dict]] = {
    "jpeg": [{"quality": 20}, {"quality": 90, "subsampling": "4:4:4"}],
    "jpeg2000": [{"rate": 0.5}, {"rate": 4.0}, {"rate": 1.0, "colour_transform": False}],
    "webp": [{"quality": 5}, {"quality": 80}],
    "avif": [{"quality": 10}, {"quality": 70, "subsampling": "4:4:4"}],
    "jpegxl": [{"distance": 1.0}, {"distance": 8.0}, {"distance": 22.0}, {"distance": 2.0, "effort": 3}],
    "coin": [{"arch": "2x8"}],
    "loonie": [
        {"arch": "3x10", "bpp": 2.0},
        {"arch": "3x10", "bpp": 3.0, "rate": "nonzeros", "coordinates": "coin"},
        {
            "arch": "3x10", "bpp": 2.0,
            "sparsity": Sparsity("file", gates="median", structured=True, log_alpha=-1.55),
        },
    ],
    "cae": [
        {"model": "one"}, {"model": "one", "step": 32}, {"model": "two", "step": 40_000},  # the last: no code
        {"model": "three"}, {"model": "three", "step": 32},
    ],
    "cae-admm": [{"model": "plain"}, {"model": "plain", "keep": 0.2}, {"model": "escapes"}],
    "cae-theis": [{"model": "theis"}, {"model": "theis", "keep": 0.05}, {"model": "theis", "step": 40}],
}  # fmt: skip


def write_models(folder: Path) -> Models:
    """Untrained models of both families, for all trained codecs."""
    tiny_cae.write(folder, "one")
    tiny_cae.write(folder, "two", seed=1, latent=2)
    tiny_cae.write(folder, "three", seed=2, coded="contexts")
    tiny_cae_admm.write(folder, "plain")
    tiny_cae_admm.write(folder, "escapes", seed=1, spread=500.0)
    tiny_cae_admm.write(folder, "theis", seed=2, latent=2, codec="cae-theis")
    return Models(folder)


def make(name: str, models: Models, **options: object) -> Codec:
    """A codec that is quick."""
    quick = {"budget": SHORT, "models": models}
    known = REGISTRY[name].options()
    return get_codec(name, **{option: value for option, value in quick.items() if option in known}, **options)


def variants(name: str, models: Models) -> list[Codec]:
    """The codec at several settings."""
    return [make(name, models, **options) for options in VARIANTS.get(name, [{}])]


def photograph(height: int, width: int) -> np.ndarray:
    """A detail of a bundled photograph."""
    return np.ascontiguousarray(bundled()["coffee"][100 : 100 + height, 100 : 100 + width])
