"""How much work a run does, under a name: ``smoke``, ``laptop``, ``paper-fast``, ``paper``.

Every profile is a frozen dataclass and goes into the run record whole, so that two numbers with the same profile were
made with the same budget. Budgets are counted in optimiser steps, never in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

OPTIMISERS = ("adam", "soap")
SCHEDULES = ("constant", "cosine")
STARTS = ("mean", "random")


def _whole(config: object, name: str, least: int) -> None:
    value = getattr(config, name)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={value!r}: a whole number of at least {least} is needed")


def _among(config: object, name: str, names: tuple[str, ...]) -> None:
    if getattr(config, name) not in names:
        raise ValueError(f"{name}={getattr(config, name)!r}: one of {', '.join(names)} is needed")


@dataclass(frozen=True)
class FitBudget:
    """How one SIREN is fitted to one picture.

    Parameters
    ----------
    steps : int
        Optimiser steps, at least 1.
    lr : float
        Learning rate, in (0, 1).
    optimiser : {"adam", "soap"}
        Adam (Kingma & Ba 2015), or SOAP: Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al. 2024).
    batch_pixels : int or None
        Pixels a step; None means every pixel in every step.
    schedule : {"constant", "cosine"}
        Learning rate over the steps; "cosine" falls to 0 at the last step.
    warmup : int
        First steps over which the learning rate rises linearly, at least 0.
    start : {"mean", "random"}
        First values: as SIREN and COIN draw them ("random"), or the same with the last bias at the picture's mean
        colour ("mean"), which saves the steps that would only learn that colour.
    score_every : int
        Steps between two scorings of the rounded, quantised reconstruction; the best state so scored is kept.
    """

    steps: int
    lr: float
    optimiser: str = "soap"
    batch_pixels: int | None = 16384
    schedule: str = "cosine"
    warmup: int = 20
    start: str = "mean"
    score_every: int = 250

    def __post_init__(self) -> None:
        _whole(self, "steps", 1)
        _whole(self, "warmup", 0)
        _whole(self, "score_every", 1)
        if self.batch_pixels is not None:
            _whole(self, "batch_pixels", 256)
        if not 0 < self.lr < 1:
            raise ValueError(f"lr={self.lr!r}: a number between 0 and 1 is needed")
        _among(self, "optimiser", OPTIMISERS)
        _among(self, "schedule", SCHEDULES)
        _among(self, "start", STARTS)


@dataclass(frozen=True)
class Profile:
    """What the COIN chapter and its study do under one name.

    Parameters
    ----------
    name : str
    fit : FitBudget
        How every picture is fitted.
    architectures : tuple of str
        The networks whose rate and distortion are measured.
    pictures : int
        How many pictures of a set, spread evenly over it; 24 is the whole of Kodak.
    """

    name: str
    fit: FitBudget
    architectures: tuple[str, ...]
    pictures: int


# The paper's own way (Dupont et al. 2021, and the released code): every pixel in every step, Adam at 2e-4, 50,000
# steps.
REFERENCE = FitBudget(
    steps=50_000, lr=2e-4, optimiser="adam", batch_pixels=None, schedule="constant", warmup=0, start="random"
)
# Ours: chosen on bundled photographs (astronaut, coffee, motorcycle). Of the pictures that are reported, kodim15 alone
# had been used before, to time the engine's first trials.
FAST = FitBudget(steps=20_000, lr=2e-3)

PAPER_ARCHITECTURES = ("5x20", "5x30", "10x28", "10x40", "13x49")
PROFILES = {
    "smoke": Profile("smoke", FitBudget(steps=300, lr=2e-3, batch_pixels=4096, score_every=50), ("5x20",), pictures=1),
    "laptop": Profile("laptop", FAST, PAPER_ARCHITECTURES[:3], pictures=24),
    "paper-fast": Profile("paper-fast", FAST, PAPER_ARCHITECTURES, pictures=24),
    "paper": Profile("paper", REFERENCE, PAPER_ARCHITECTURES, pictures=24),
}


def get(name: str) -> Profile:
    """The profile of that name; `ValueError` that lists the names for any other."""
    if name not in PROFILES:
        raise ValueError(f"profile={name!r}: one of {', '.join(PROFILES)} is needed")
    return PROFILES[name]


def spread(names: list[str], count: int) -> list[str]:
    """``count`` of the names, evenly spaced and in order: every third of Kodak for 8, all of them for 24 or more."""
    if count < 1:
        raise ValueError(f"count={count!r}: at least 1 is needed")
    if count >= len(names):
        return list(names)
    return [names[i * len(names) // count] for i in range(count)]


def as_dict(config: object) -> dict:
    """A configuration as plain JSON values."""
    return {field.name: getattr(config, field.name) for field in fields(config)}
