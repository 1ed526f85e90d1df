"""Studies: what makes records. A chapter, a sweep and a GPU machine all call these functions.

A study works off a list of runs. A run whose record is there is skipped; what is half done lies under
``<out>/<study>/.partial/`` and is continued, to the same bits, by the same call. Stopping costs nothing: press Ctrl-C,
or give ``max_minutes``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sparsecomp.studies import cae_admm  # a module, and the name of one of its studies
from sparsecomp.studies.autoencoders import cae, cae_density, cae_sparse, cae_speed
from sparsecomp.studies.base import Setup, pack
from sparsecomp.studies.networks import (
    baselines,
    coin,
    gallery,
    ingredients,
    loonie,
    loonie_parts,
    loonie_race,
    search,
)

__all__ = ["STUDIES", "Setup", "pack"]

STUDIES: dict[str, Callable[..., list[Path]]] = {
    "coin": coin,
    "gallery": gallery,
    "search": search,
    "ingredients": ingredients,
    "loonie": loonie,
    "loonie_parts": loonie_parts,
    "loonie_race": loonie_race,
    "baselines": baselines,
    "cae": cae,
    "cae_sparse": cae_sparse,
    "cae_density": cae_density,
    "cae_speed": cae_speed,
    "cae_admm": cae_admm.cae_admm,
    "cae_admm_mixed": cae_admm.cae_admm_mixed,
}
