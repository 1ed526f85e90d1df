"""How much work a study does, under a name: ``smoke``, ``laptop``, ``paper-fast``, ``paper``."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sparsecomp.checks import one_of, whole
from sparsecomp.training.configs import (
    FAST,
    LOONIE,
    LOONIE_FILE,
    LOONIE_NONZEROS,
    CodeDescent,
    Descent,
    FitBudget,
    Pruning,
    Sparsity,
    as_dict,
    sparsity_at,
)

__all__ = [
    "FAST",
    "LOONIE",
    "LOONIE_FILE",
    "LOONIE_NONZEROS",
    "PROFILES",
    "CodeDescent",
    "Descent",
    "FitBudget",
    "Profile",
    "Pruning",
    "Sparsity",
    "as_dict",
    "get",
    "sparsity_at",
    "spread",
]

# Chosen on astronaut, coffee, chelsea and the validation pictures of BSDS500, at width 48, in trials that were not
# kept: of the rates 0.001, 0.003 and 0.01 for Muon the last was best after 1,000 steps, and Adam, at the best of four,
# far behind.
CAE = Descent(steps=4000)
# Chosen on eight validation pictures of BSDS500 at 800 or 1,000 steps, in trials that were not kept: with no price on
# the code Muon over Adam, and the rate of 0.01, 0.02 and 0.04; with an estimate of the entropy, that batch
# normalisations settle; with pruning, rho of 0.02, 0.03, 0.1 and 0.5. Nothing else was tuned for one of them alone.
CODE = CodeDescent(steps=4000)
PRUNING = Pruning()
# 300 epochs, ADMM's updates every 20 of them, batch and rate are the paper's; 1,600 crops, eight a picture, make its
# epoch, because codes of new random crops would have no Z and U to come back to.
PAPER_CODE = CodeDescent(
    steps=15_000, lr=4e-3, optimiser="adam", schedule="plateau", warmup=0, weight_decay=1e-10, batch=32, codes=1600,
    mse_steps=50, settle=15_000,
)  # fmt: skip
PAPER_PRUNING = Pruning(interval=1000)
# Adam, its rate, batch, crop and decay are the released code's; its 100 epochs are 605,000 steps with its split of the
# 473 pictures, 757,000 on all. The noise, lambda and the first values are ours: the released code trains no rate.
PAPER_CAE = Descent(
    steps=757_000, lr=1e-4, optimiser="adam", schedule="constant", warmup=0, weight_decay=1e-5, batch=16, crop=128,
    reduce=1, score_every=2_000,
)  # fmt: skip


@dataclass(frozen=True)
class Profile:
    """What the chapters of networks that are a picture, and their studies, do under one name.

    Parameters
    ----------
    name : str
    fit : FitBudget
        How every picture is fitted.
    architectures : tuple of str
        The networks whose rate and distortion are measured.
    pictures : int
        How many pictures of a set, spread evenly over it; 24 is the whole of Kodak.
    loonie_file, loonie, loonie_parts : FitBudget
        How L0onie is fitted: where a file is the aim; in the paper's accounting, and what is compared with it there;
        and in the study of its parts.
    cae : Descent
        How an autoencoder is trained, once through.
    cae_width : int
        Filters of its residual stream.
    code, pruning : CodeDescent, Pruning
        How an autoencoder is trained whose code is to be short, and how ADMM prunes it.
    code_width, code_depth : int
        Filters of its residual stream, and residual blocks of encoder and decoder each.
    """

    name: str
    fit: FitBudget
    architectures: tuple[str, ...]
    pictures: int
    loonie_file: FitBudget = LOONIE
    loonie: FitBudget = LOONIE
    loonie_parts: FitBudget = LOONIE
    cae: Descent = CAE
    cae_width: int = 128
    code: CodeDescent = CODE
    pruning: Pruning = PRUNING
    code_width: int = 128
    code_depth: int = 15


# The paper's own way (Dupont et al. 2021, and the released code): every pixel in every step, Adam at 2e-4, 50,000
# steps.
REFERENCE = FitBudget(
    steps=50_000, lr=2e-4, optimiser="adam", batch_pixels=None, schedule="constant", warmup=0, start="random"
)
# L0onie's own four rates (Ramirez & Gallego-Posada 2022, the released code): what gates and magnitude pruning begin
# with, the dense COIN that is compared, and the dual learning rates for 50,000 steps.
LOONIE_STARTS = {0.3: ("10x40", "10x28"), 0.15: ("10x28", "5x30"), 0.07: ("5x30", "5x20"), 0.6: ("13x40", "10x40")}
LOONIE_DUAL = {0.07: 7e-3, 0.15: 3e-3, 0.3: 1e-3, 0.6: 8e-4}

PAPER_ARCHITECTURES = ("5x20", "5x30", "10x28", "10x40", "13x49")
QUICK = FitBudget(steps=300, lr=2e-3, batch_pixels=4096, score_every=50)
QUICK_LOONIE = replace(QUICK, schedule="quadratic")
PROFILES = {
    "smoke": Profile(
        "smoke", QUICK, ("5x20",), 1, QUICK_LOONIE, QUICK_LOONIE, QUICK_LOONIE,
        replace(CAE, steps=20, warmup=5, batch=4, score_every=10), 16,
        replace(CODE, steps=16, warmup=4, batch=2, codes=8, mse_steps=4, settle=8, score_every=8),
        replace(PRUNING, interval=1), 16, 1,
    ),
    "laptop": Profile(
        "laptop", FAST, PAPER_ARCHITECTURES[:3], 24, LOONIE, replace(LOONIE, steps=8_000), replace(LOONIE, steps=5_000),
        CAE, 48, CODE, PRUNING, 64, 2,
    ),
    "paper-fast": Profile("paper-fast", FAST, PAPER_ARCHITECTURES, pictures=24, cae=replace(CAE, steps=60_000),
                          code=replace(CODE, steps=30_000, batch=16), pruning=replace(PRUNING, interval=500)),
    "paper": Profile(
        "paper", REFERENCE, PAPER_ARCHITECTURES, 24, LOONIE, replace(REFERENCE, lr=1e-3), replace(REFERENCE, lr=1e-3),
        PAPER_CAE, 128, PAPER_CODE, PAPER_PRUNING,
    ),
}  # fmt: skip


def get(name: str) -> Profile:
    """The profile of that name; `ValueError` that lists the names for any other."""
    one_of("profile", name, PROFILES)
    return PROFILES[name]


def spread(names: list[str], count: int) -> list[str]:
    """``count`` of the names, evenly spaced and in order: every third of Kodak for 8, all of them for 24 or more."""
    whole("count", count, 1)
    if count >= len(names):
        return list(names)
    return [names[i * len(names) // count] for i in range(count)]
