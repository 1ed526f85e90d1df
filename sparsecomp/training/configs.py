"""Configurations of the trainings: frozen dataclasses whose fields are checked, and the budgets that codecs use.

A configuration goes into a run record whole, so that two numbers with the same configuration were made with the same
work. Budgets are counted in optimiser steps, never in seconds. Fields that came later (`later`) are left out at their
defaults, so that older records keep their names.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from sparsecomp.checks import in_range, multiple, one_of, require, whole
from sparsecomp.options import later

OPTIMISERS = ("adam", "soap")
SCHEDULES = ("constant", "cosine", "quadratic")
QUANTISERS = ("noise", "straight_through", "none")
STARTS = ("mean", "torch", "coin")
RATES = ("nonzeros", "positions", "file")
GATES = ("median", "sampled", "none")


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
    schedule : {"constant", "cosine", "quadratic"}
        Learning rate over the steps; "cosine" (half a period) and "quadratic" ((1 - t)^2) fall to 0 at the last step.
    warmup : int
        First steps over which the learning rate rises linearly, at least 0.
    start : {"mean", "torch", "coin"}
        First values, by how biases are drawn (`models.siren.initial_parameters`): "coin", as the released COIN;
        "torch", PyTorch's default (records call it "random"); "mean", the same with the last bias at the picture's mean
        colour, which saves the steps that would only learn that colour.
    score_every : int
        Steps between two scorings of the rounded, quantised reconstruction; the best state so scored is kept.
    """

    steps: int
    lr: float
    optimiser: str = "soap"
    batch_pixels: int | None = 16384
    schedule: str = "cosine"
    warmup: int = 20
    start: str = field(default="mean", metadata={"written": {"torch": "random"}})
    score_every: int = 250

    def __post_init__(self) -> None:
        whole("steps", self.steps, 1)
        whole("warmup", self.warmup, 0)
        whole("score_every", self.score_every, 1)
        if self.batch_pixels is not None:
            whole("batch_pixels", self.batch_pixels, 256)
        in_range("lr", self.lr, 0, 1, "()")
        one_of("optimiser", self.optimiser, OPTIMISERS)
        one_of("schedule", self.schedule, SCHEDULES)
        one_of("start", self.start, STARTS)


@dataclass(frozen=True)
class Sparsity:
    """How L0onie's constrained game is played (`training.constrained_fit`).

    Parameters
    ----------
    rate : {"nonzeros", "positions", "file"}
        What the budget counts.
    gates : {"median", "sampled", "none"}
        What trains: the median of each gate (L0onie), a draw (Louizos et al.), or no gates at all.
    structured : bool
        One gate a neuron instead of one a weight.
    restarts : bool
        Dual restarts.
    dual_lr, gate_lr, step_lr : float
        Rates of the multiplier (for one bit per pixel too many), of ``log_alpha``, and of the logarithm of the steps,
        all above 0. The last two follow the schedule of the fit.
    multiplier : float
        First value of lambda, at least 0.
    log_alpha : float
        First value of ``log_alpha``, plus Gaussian noise of deviation 0.1.
    temperature, stretch : float
        Of the gates: beta, and how far beyond 0 and 1 they are stretched.
    round_from : float
        Share of the steps, in (0, 1], after which weights are rounded instead of disturbed, steps stay, and what is
        over the budget is repaired.
    repair : bool
        Whether it is. If not, as in the released code, only a state that is within the budget by itself is kept; a fit
        that never had one is repaired at the last step, so that it has a result.
    drop_rate : float
        First weights are divided by ``1 - drop_rate``, in [0, 1). The released code's 0.5 is what its first gates,
        ``log_alpha`` about 0, leave open: the network then begins at the scale that SIREN asks for. Without it each of
        10 layers halves its input, and the last one hardly sees the position.
    proxy_bits : int
        Bits of an expected nonzero weight in the proxy that the descent follows, 16 or the released code's 32. What
        the multiplier sees is counted at 16 either way.
    limit : float
        Weights are kept within plus or minus this, above 0; 3 in the released code, 0 for no limit.
    gate_betas : tuple
        Of the gates' Adam; PyTorch's default (0.9, 0.999) in the released code.
    loss : {"mean", "sum"}
        The distortion: mean squared error, as the released code, or its sum over all pixels and colours, as the paper
        writes it. A sum is larger by 3 H W, so ``multiplier`` and ``dual_lr`` mean as much as with the mean when they
        are larger by the same factor.
    """

    rate: str = "nonzeros"
    gates: str = "median"
    structured: bool = False
    restarts: bool = True
    dual_lr: float = 1e-3
    gate_lr: float = 7e-4
    step_lr: float = 3e-3
    multiplier: float = 0.0
    log_alpha: float = 0.0
    temperature: float = 2 / 3
    stretch: float = 0.1
    round_from: float = 0.8
    repair: bool = later(True)
    drop_rate: float = later(0.0)
    proxy_bits: int = later(16)
    limit: float = later(0.0)
    gate_betas: tuple[float, float] = later((0.9, 0.99))
    loss: str = later("mean")

    def __post_init__(self) -> None:
        one_of("rate", self.rate, RATES)
        one_of("gates", self.gates, GATES)
        if self.rate != "file":  # nothing but gates can meet such a budget
            require(self.gates != "none", "gates", f"one of median, sampled where rate is {self.rate!r}", self.gates)
        for name, most in (
            ("dual_lr", 1e9), ("gate_lr", 1), ("step_lr", 1), ("temperature", 1), ("round_from", 1), ("stretch", 10),
        ):  # fmt: skip
            in_range(name, getattr(self, name), 0, most, "(]")
        in_range("multiplier", self.multiplier, 0)
        in_range("log_alpha", self.log_alpha, -4, 4)
        in_range("drop_rate", self.drop_rate, 0, 1, "[)")
        one_of("proxy_bits", self.proxy_bits, (16, 32))
        in_range("limit", self.limit, 0)
        for beta in self.gate_betas:
            in_range("gate_betas", beta, 0, 1, "[)")
        one_of("loss", self.loss, ("mean", "sum"))
        require(self.repair or self.rate != "file", "repair", "True where rate is 'file'", self.repair)


# L0onie's, chosen on astronaut, coffee and motorcycle at 6,000 and 8,000 steps and 0.3 bpp.
LOONIE = FitBudget(steps=16_000, lr=2e-3, schedule="quadratic")
LOONIE_FILE = Sparsity("file", gates="none", restarts=False, dual_lr=1e-5, multiplier=1.5e-3)
LOONIE_NONZEROS = Sparsity("nonzeros", dual_lr=1.5e-3, gate_lr=0.015, log_alpha=1.0)


@dataclass(frozen=True)
class Descent:
    """How an autoencoder is trained, once through: one descent (`training.autoencoder`).

    Parameters
    ----------
    steps : int
        Optimiser steps, at least 1.
    lr : float
        Learning rate, in (0, 1).
    optimiser : {"adam", "muon"}
        "adam", the paper's. "muon" (Jordan et al. 2024) steps along the orthogonalised momentum of each layer's weight;
        biases then have Adam at a tenth of the rate.
    schedule : {"constant", "cosine"}
        Over the steps; "cosine" falls to 0 at the last.
    warmup : int
        First steps over which the learning rate rises linearly.
    weight_decay : float
        L2 penalty, its gradient added to the loss's, at least 0; the paper's 1e-5 for Adam.
    batch, crop : int
        Crops a step, and their side in pixels, a multiple of 4.
    reduce : int
        By how much the training pictures are made smaller first (box filter), which takes most of their JPEG artefacts
        away; 1 leaves them as they are.
    quantiser : {"noise", "straight_through", "none"}
        What stands in for rounding. "none" is the released code: no quantiser, and the rate trains nothing.
    finest, coarsest : float
        The step Delta of each crop is drawn log-uniformly between them, in 1/256 .. 4. Files may have steps to 1/512.
    lam : float
        lambda over Delta^2, at least 0: the loss is ``huber + lam Delta^2 bpp``, so that all steps of one model ask the
        same of it: at high rates D = c Delta^2 and R = h - log2(Delta), so the price of a bit, -dD/dR, goes with
        Delta^2.
    score_every : int
        Steps between two scorings on validation pictures.
    start : {"dct", "torch"}
        First values of the network (`models.sparse_cae.SparseCAE`).
    """

    steps: int
    lr: float = 0.01
    optimiser: str = "muon"
    schedule: str = "cosine"
    warmup: int = 100
    weight_decay: float = 0.0
    batch: int = 8
    crop: int = 64
    reduce: int = 2
    quantiser: str = "noise"
    finest: float = 1 / 256
    coarsest: float = 1 / 64
    lam: float = 0.4
    score_every: int = 500
    start: str = later("dct")

    def __post_init__(self) -> None:
        _check_descent(self, schedules=("constant", "cosine"), least_crop=4, crops_of=4)
        one_of("start", self.start, ("dct", "torch"))
        whole("reduce", self.reduce, 1)
        in_range("lam", self.lam, 0)
        in_range("coarsest", self.coarsest, 1 / 256, 4)
        in_range("finest", self.finest, 1 / 256, 4)
        require(self.finest <= self.coarsest, "finest", f"at most coarsest={self.coarsest!r}", self.finest)
        one_of("quantiser", self.quantiser, QUANTISERS)


@dataclass(frozen=True)
class CodeDescent:
    """How an autoencoder is trained whose code ADMM prunes, once through (`training.latent_pruning`).

    Parameters
    ----------
    steps : int
        Optimiser steps, at least 1.
    lr : float
        Learning rate, in (0, 1); the paper's 4e-3 for Adam.
    optimiser : {"muon", "adam"}
        As of `Descent`.
    schedule : {"cosine", "plateau", "constant"}
        "plateau", the paper's, halves it when ten epochs, each once through the crops, have brought no lower loss.
    warmup : int
        First steps over which the learning rate rises linearly.
    weight_decay : float
        L2 penalty, its gradient added to the loss's; the released code's 1e-10.
    batch, crop : int
        Crops a step, and their side in pixels: a multiple of 8, and at least 104, where MS-SSIM begins to be defined
        with a window of 7 pixels.
    codes : int
        How many crops there are: a list drawn once from the seed, at random places, flipped or not along both sides.
        Each has a code of its own to come back to.
    mse_steps : int
        First steps, in which the distortion is 1e5 MSE alone, and nothing draws codes to Z.
    settle : int
        First steps, in which batch normalisations take the statistics of their batch; then the running ones, as in use.
        In four crops a flat one changes the code of its neighbours. 0 where the network was trained before.
    momentum : float
        Of the running statistics.
    score_every : int
        Steps between two scorings on validation pictures.
    crops : {"fixed", "fresh"}
        That list; or, as in the paper, one new crop of every picture in each epoch. Fresh crops begin at multiples of 8
        pixels and are not flipped, so that each has its part of the code of the whole picture to return to; `codes`
        then says nothing.
    slope : float
        First slope of the PReLUs below 0, in [0, 1]: 1 lets the network begin linear; PyTorch and the released code
        have 0.25.
    start : {"he", "dct"}
        First values (`models.cae_admm.CaeAdmm`); those of a transform are calibrated on the first crops.
    """

    steps: int
    lr: float = 0.04
    optimiser: str = "muon"
    schedule: str = "cosine"
    warmup: int = 50
    weight_decay: float = 0.0
    batch: int = 4
    crop: int = 128
    codes: int = 1024
    mse_steps: int = 100
    settle: int = 100
    momentum: float = 0.1
    score_every: int = 500
    crops: str = later("fixed")
    slope: float = later(1.0)
    start: str = later("he")

    def __post_init__(self) -> None:
        _check_descent(self, schedules=("constant", "cosine", "plateau"), least_crop=104, crops_of=8)
        for name, least in (("codes", 1), ("mse_steps", 0), ("settle", 0)):
            whole(name, getattr(self, name), least)
        require(self.batch <= self.codes, "batch", f"at most codes={self.codes}", self.batch)
        in_range("momentum", self.momentum, 0, 1, "(]")
        one_of("crops", self.crops, ("fixed", "fresh"))
        in_range("slope", self.slope, 0, 1)
        one_of("start", self.start, ("he", "dct"))


def _check_descent(descent: Descent | CodeDescent, *, schedules: tuple, least_crop: int, crops_of: int) -> None:
    """Check the fields that both trainings of autoencoders have."""
    least = {"steps": 1, "warmup": 0, "batch": 1, "crop": least_crop, "score_every": 1}
    for name, lowest in least.items():
        whole(name, getattr(descent, name), lowest)
    multiple("crop", descent.crop, crops_of)
    in_range("lr", descent.lr, 0, 1, "()")
    in_range("weight_decay", descent.weight_decay, 0, 1, "[)")
    one_of("optimiser", descent.optimiser, ("adam", "muon"))
    one_of("schedule", descent.schedule, schedules)


@dataclass(frozen=True)
class Pruning:
    """How ADMM prunes codes (`sparsify.admm`) while an autoencoder is trained.

    Parameters
    ----------
    keep : float
        l as a share of a code's entries, in (0, 1]; the paper's 0.1.
    rho : float
        Penalty, above 0; not in the paper, 0.1 in the released code.
    interval : int
        Optimiser steps between two updates of Z and U, the first after as many.
    z_update : {"top_l", "released"}
        The projection, or what the released code does in its place.
    state : {"per_code", "data_set"}
        Z and U for each crop, as the paper's equations say; or one pair for the mean code, as the released code has it,
        divided by 20 with ``z_update="released"``, as there.
    penalty : {"square", "norm"}
        ``rho/2 ||.||^2`` of each code, as in the paper; or ``rho/2 ||.||`` of the batch, the released code's.
    balance : bool
        rho follows the residuals (`sparsify.admm.balancing`), within a factor of 100 of its first value.
    until : int, optional
        Steps after which Z, U and rho rest; by default they never do. 0: Z and U stay 0, and the penalty is a price on
        the size of the code, nothing more.
    then : {"penalty", "projection"}
        What follows those steps: the penalty stays, with Z and U as they are; or it ends, and each code is projected
        on its way to the decoder (`sparsify.admm.projected`), in training and in use.
    """

    keep: float = 0.1
    rho: float = 0.1
    interval: int = 100
    z_update: str = "top_l"
    state: str = "per_code"
    penalty: str = "square"
    balance: bool = later(False)
    until: int | None = later(None)
    then: str = later("penalty")

    def __post_init__(self) -> None:
        whole("interval", self.interval, 1)
        in_range("keep", self.keep, 0, 1, "(]")
        in_range("rho", self.rho, 0, ends="()")
        one_of("z_update", self.z_update, ("top_l", "released"))
        one_of("state", self.state, ("per_code", "data_set"))
        one_of("penalty", self.penalty, ("square", "norm"))
        one_of("then", self.then, ("penalty", "projection"))
        if self.until is not None:
            whole("until", self.until, 0)
        require(self.then == "penalty" or self.until is not None, "then", "penalty where Z and U never rest", self.then)


# Ours: chosen on bundled photographs (astronaut, coffee, motorcycle). Of the pictures that are reported, kodim15 alone
# had been used before, to time the engine's first trials.
FAST = FitBudget(steps=20_000, lr=2e-3)
# COIN's own way (Dupont et al. 2021, and the released code): every pixel in every step, Adam at 2e-4, 50,000 steps.
REFERENCE = FitBudget(
    steps=50_000, lr=2e-4, optimiser="adam", batch_pixels=None, schedule="constant", warmup=0, start="coin"
)
# For a look in seconds.
QUICK = FitBudget(steps=300, lr=2e-3, batch_pixels=4096, score_every=50)
QUICK_LOONIE = replace(QUICK, schedule="quadratic")
# How long the codecs fit a network, by preset.
COIN_BUDGETS = {"smoke": QUICK, "laptop": FAST, "desktop": FAST, "paper-fast": FAST, "paper": REFERENCE}
LOONIE_BUDGETS = {"smoke": QUICK_LOONIE, "laptop": LOONIE, "desktop": LOONIE, "paper-fast": LOONIE, "paper": LOONIE}
PRESETS = tuple(COIN_BUDGETS)


def sparsity_at(rate: str, bpp: float, steps: int, **changes: Any) -> Sparsity:
    """`LOONIE_FILE` or `LOONIE_NONZEROS`, which are for 0.3 bpp and 6,000 steps, for another budget and length.

    What one bit per pixel is worth, and so the multiplier and its steps, falls with the rate (the paper's dual learning
    rates do so, too: from 7e-3 at 0.07 to 8e-4 at 0.6); and the game is over in the same share of the steps. A small
    network has no weight to spare: its gates must be pushed harder to be closed while the learning rate is still high.
    """
    ratio, haste = 0.3 / bpp, 6000 / steps
    base, power = (LOONIE_FILE, 2) if rate == "file" else (LOONIE_NONZEROS, 2.3 if bpp < 0.3 else 1)
    game = replace(
        base, rate=rate, multiplier=base.multiplier * ratio**1.5, dual_lr=base.dual_lr * ratio**power * haste,
        gate_lr=min(0.1, base.gate_lr * max(1, ratio) ** 0.4 * haste), step_lr=min(0.05, base.step_lr * haste),
    )  # fmt: skip
    return replace(game, **changes)
