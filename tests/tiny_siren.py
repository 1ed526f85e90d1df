"""Small pictures and fits that take milliseconds."""

from __future__ import annotations

import numpy as np

from sparsecomp.models.siren import Architecture
from sparsecomp.training.configs import FitBudget
from sparsecomp.training.fit import SirenTraining

SMALL = Architecture(3, 10)
FAST = FitBudget(steps=60, lr=5e-3, batch_pixels=256, score_every=20)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth waves of colour: a small network can learn them."""
    y, x = np.mgrid[:height, :width]
    slopes = np.random.default_rng(seed).uniform(0.05, 0.3, (3, 2))
    return np.stack([127 + 90 * np.sin(a * y + b * x + seed) for a, b in slopes], -1).round().astype(np.uint8)


THREE = [picture(24, 32, seed) for seed in range(3)]


def steps(training: SirenTraining, number: int) -> None:
    """Without scoring."""
    for _ in range(number):
        training.step()


def run_to(training: SirenTraining, until: int) -> SirenTraining:
    """With scorings when they are due."""
    while training.done < until:
        training.step()
        if training.done % training.score_every == 0:
            training.score()
    return training
