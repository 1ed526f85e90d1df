"""Sparse fits on the engine of `training.fit`: L0onie's game of weights, gates and multiplier, and magnitude pruning.

L0onie (Ramirez & Gallego-Posada 2022) trains a network larger than its budget and closes gates until it fits::

    min over theta~, log_alpha, Delta   max over lambda >= 0     MSE(theta) + lambda (R - tau)

with theta = theta~ z(log_alpha), quantised with the steps Delta where a file is the aim, R in bits per pixel. What R
counts is `Sparsity.rate`:

``"nonzeros"``   16 bits for every value that is not zero, nothing for where it stands: the paper's accounting.
``"positions"``  the same, and the entropy of the zero-or-not of each matrix.
``"file"``       eight times the bytes of the ``.spc`` file.

The descent follows an expectation of R that has a gradient (a proxy constraint), the ascent follows R itself. A file's
length is measured at every scoring; between two of them its difference to the proxy is carried on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from sparsecomp.coding import quantize, weights
from sparsecomp.models.siren import Architecture
from sparsecomp.profiles import FitBudget, Sparsity, as_dict
from sparsecomp.sparsify.gates import HardConcrete, n_gates, spread_units
from sparsecomp.sparsify.lagrangian import Multipliers
from sparsecomp.sparsify.magnitude import keep_largest, prune
from sparsecomp.training import kernel
from sparsecomp.training.fit import Engine, FitResult
from sparsecomp.training.optim import Adam

BITS = 16  # of a stored value in the paper's accounting
AIM = 0.99  # of the budget, when the steps are fixed: what training moves after that has room


@dataclass
class SparseResult(FitResult):
    """One finished sparse fit.

    Attributes
    ----------
    bits : int
        What the kept state costs in the accounting of `Sparsity.rate`; for ``"file"`` the file's bits.
    network : Quantised or None
        The kept state as the file holds it; None unless the rate is ``"file"``.
    course : list of [step, bits per pixel, lambda, nonzeros, dB]
        The training dynamics at every scoring: what would be stored then, within the budget or not; repaired from
        `Sparsity.round_from` on.
    """

    bits: int = 0
    network: weights.Quantised | None = None
    course: list[list[float]] = field(default_factory=list)


class SparseEngine(Engine):
    """A batch of fits with gates, steps and multipliers of their own.

    Parameters
    ----------
    bpp : float or sequence of float
        tau of every fit, bits per pixel.
    sparsity : Sparsity
        What is counted, and how the game is played. The others are those of `Engine`.
    """

    def __init__(
        self,
        pictures: Sequence[np.ndarray],
        architecture: Architecture,
        budget: FitBudget,
        *,
        bpp: float | Sequence[float],
        sparsity: Sparsity,
        **options: object,
    ) -> None:
        super().__init__(pictures, architecture, budget, **options)
        fits, self.sparsity = len(pictures), sparsity
        self.bpp = [bpp] * fits if isinstance(bpp, (int, float)) else list(bpp)
        if len(self.bpp) != fits or not all(0 < b < 1000 for b in self.bpp):
            raise ValueError(f"bpp={bpp!r}: {fits} numbers above 0 are needed")
        self.coordinates = self.identity["coordinates"]
        self.identity |= {"bpp": self.bpp, "sparsity": as_dict(sparsity)}
        self.gates = HardConcrete(sparsity.temperature, (-sparsity.stretch, 1 + sparsity.stretch))
        self.multipliers = Multipliers(
            fits, sparsity.dual_lr, restarts=sparsity.restarts, start=sparsity.multiplier, device=self.device
        )
        self.of = quantize.tensor_of(architecture).to(self.device)
        self.count = torch.bincount(self.of).float()
        self.area = torch.tensor([float(h * w) for h, w in self.sizes], device=self.device)
        self.tau = torch.tensor(self.bpp, dtype=torch.float32, device=self.device)
        self.offset = torch.zeros(fits, device=self.device)  # measured less expected rate, at the last scoring
        self.log_alpha = torch.zeros(fits, n_gates(architecture, sparsity.structured), device=self.device)
        self.log_step = torch.zeros(fits, len(self.count), device=self.device)
        self.best = self.best.float()
        self.best_steps, self._index = (
            torch.zeros(fits, len(self.count), dtype=torch.int64, device=self.device) for _ in range(2)
        )
        self.nonzeros = torch.zeros(fits, dtype=torch.int64, device=self.device)
        self.best_rate, self.rate = torch.zeros_like(self.tau), torch.zeros_like(self.tau)
        for fit in range(fits):
            self._begin(fit)
        self.extra = {"log_alpha": Adam(self.log_alpha, (0.9, 0.99)), "log_step": Adam(self.log_step, (0.95, 0.99))}
        self.round_from = math.ceil(sparsity.round_from * budget.steps)

    def _begin(self, fit: int) -> None:
        """First gates and steps of one fit: the steps at which the first values would just meet the budget."""
        generator = torch.Generator().manual_seed(self.seeds[fit] + 7)
        noise = torch.randn(self.log_alpha.shape[1], generator=generator).to(self.device)
        self.log_alpha[fit] = self.sparsity.log_alpha + 0.1 * noise
        rows = slice(fit, fit + 1)
        self.log_step[rows] = 0
        if self.sparsity.rate == "file":
            log_step = self._moments(self.parameters[rows], torch.ones_like(self.parameters[rows]))[1].log() / 2
            over = self._proxy(self.parameters[rows], self.log_alpha[rows], log_step) - self.tau[fit] * self.area[fit]
            self.log_step[rows] = log_step + math.log(2) * over / self.architecture.n_parameters
        self.multipliers.value[fit], self.offset[fit] = self.sparsity.multiplier, 0

    # The rate -----------------------------------------------------------------------------------------------------

    def _probability(self, log_alpha: torch.Tensor) -> torch.Tensor:
        """P(not zero) of every parameter, ``(B, P)``."""
        if self.sparsity.gates == "none":
            return torch.ones(len(log_alpha), self.architecture.n_parameters, device=self.device)
        probability = self.gates.open_probability(log_alpha)
        return spread_units(self.architecture, probability) if self.sparsity.structured else probability

    def _sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sums over each matrix and bias vector: ``(B, P)`` to ``(B, 2 (depth + 1))``."""
        return values.new_zeros(len(values), len(self.count)).index_add(1, self.of, values)

    def _moments(self, theta: torch.Tensor, probability: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Expected nonzeros of each matrix, and the mean square of their values."""
        open_ = self._sum(probability).clamp(min=1e-3)
        return open_, self._sum(probability * theta.square()) / open_ + 1e-12

    def _proxy(self, theta: torch.Tensor, log_alpha: torch.Tensor, log_step: torch.Tensor) -> torch.Tensor:
        """The expected rate in bits, ``(B,)``, differentiable in all three.

        Nonzeros are counted by their probability. Where a file is the aim, values cost the differential entropy of a
        Gaussian of their mean square less the logarithm of the step, and positions the entropy of their density.
        """
        probability = self._probability(log_alpha)
        if self.sparsity.rate == "nonzeros":
            return BITS * probability.sum(1)
        open_, square = self._moments(theta, probability)
        where = self._where(open_)
        if self.sparsity.rate == "positions":
            return (BITS * open_ + where).sum(1)
        each = 0.5 * torch.log2(2 * math.pi * math.e * square) - log_step / math.log(2)
        if self.sparsity.gates == "none" or self.sparsity.structured:
            where = 0 * where  # a neuron that goes takes its positions with it
        return (open_ * each.clamp(min=0.1) + where).sum(1)

    def _where(self, open_: torch.Tensor) -> torch.Tensor:
        """Bits that say which ``open_`` of each matrix's weights are not zero: the entropy of their density."""
        share = (open_ / self.count).clamp(1e-6, 1 - 1e-6)
        return -self.count * (share * share.log2() + (1 - share) * (1 - share).log2())

    def _counted(self, shown: torch.Tensor) -> torch.Tensor:
        """The rate in bits of the weights ``shown``, counted on what fp16 leaves of them; not for ``"file"``."""
        nonzero = (shown.half() != 0).float()
        where = self._where(self._sum(nonzero)).sum(1) if self.sparsity.rate == "positions" else 0
        return BITS * nonzero.sum(1) + where

    # One step -----------------------------------------------------------------------------------------------------

    def _open(self, log_alpha: torch.Tensor, *, drawn: bool) -> torch.Tensor:
        """The gate of every parameter, ``(B, P)``: the median, or one draw of each."""
        if self.sparsity.gates == "none":
            return torch.ones_like(self.parameters)
        z = self.gates.at(log_alpha, self._uniform(log_alpha, 1)) if drawn else self.gates.median(log_alpha)
        return spread_units(self.architecture, z) if self.sparsity.structured else z

    def _uniform(self, like: torch.Tensor, stream: int) -> torch.Tensor:
        """Numbers in (0, 1) that depend on seed and step of each fit and on nothing else."""
        rows = [
            torch.rand(
                like.shape[1],
                generator=torch.Generator(self.device).manual_seed((seed * 1_000_003 + self.step) * 2 + stream),
                device=self.device,
            )
            for seed in self.seeds
        ]
        return torch.stack(rows).clamp_(1e-6, 1 - 1e-6)

    def _weights(self, theta: torch.Tensor, log_alpha: torch.Tensor, log_step: torch.Tensor) -> torch.Tensor:
        """What the network draws with in this step, ``(B, P)``; differentiable in all three."""
        theta = theta * self._open(log_alpha, drawn=self.sparsity.gates == "sampled")
        if self.sparsity.rate != "file":
            return theta
        step = log_step.exp()[:, self.of]
        if self.step >= self.round_from:
            return quantize.round_through(theta, step)
        return theta + step * (self._uniform(theta, 0) - 0.5) * (theta.detach() != 0)

    def advance(self) -> float:
        """One step of both players; returns the mean loss of the batch (before the step)."""
        leaves = [t.detach().requires_grad_() for t in (self.parameters, self.log_alpha, self.log_step)]
        with torch.enable_grad():
            drawn = self._weights(*leaves)
            loss, gradient = kernel.gradient(self.architecture, drawn.detach(), *self._pixels(), self.backend)
            expected = self._proxy(*leaves) / self.area
            total = (drawn * gradient).sum() + self.multipliers.weigh(expected - self.tau).sum()
            gradients = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
        rates = self._learning_rates()
        share = rates / self.budget.lr
        self.optimiser.step(self.parameters, gradients[0], rates)
        if self.sparsity.gates != "none":
            self.extra["log_alpha"].step(self.log_alpha, gradients[1], self.sparsity.gate_lr * share)
            self.log_alpha.clamp_(-4, 4)  # the released code's bounds; beyond them a gate hardly moves
        fixed = self.sparsity.rate == "file" and self.step >= self.round_from
        if self.sparsity.rate == "file" and not fixed:
            self.extra["log_step"].step(self.log_step, gradients[2], self.sparsity.step_lr * (0.1 + 0.9 * share))
        if not fixed:
            file = self.sparsity.rate == "file"
            measured = expected.detach() + self.offset if file else self._counted(drawn.detach()) / self.area
            self.multipliers.ascend(measured - self.tau)
        self.step += 1
        if self.step == self.round_from and self.sparsity.rate == "file":
            self._fix_steps()
        return float(loss.mean())

    # Files --------------------------------------------------------------------------------------------------------

    def _theta(self) -> torch.Tensor:
        """Weights with their median gates absorbed, ``(B, P)``."""
        return self.parameters * self._open(self.log_alpha, drawn=False)

    def _quantised(self, theta: torch.Tensor, log_step: torch.Tensor) -> weights.Quantised:
        index = quantize.index_of(log_step.exp())
        symbols = (theta / quantize.step_of(index)[self.of]).round().clamp(-weights.MOST, weights.MOST).long()
        return weights.Quantised(self.architecture, symbols.cpu(), index.cpu(), self.coordinates)

    def _fitting(self, fit: int, theta: torch.Tensor, tau: float) -> tuple[weights.Quantised, int, float]:
        """The finest common factor on the steps, at least 1, with which the file is within ``tau``; by bisection.

        Gives the network, the bytes of its file, and the logarithm of the factor.
        """
        height, width = self.sizes[fit]

        def attempt(shift: float) -> tuple[weights.Quantised, int, float]:
            network = self._quantised(theta, self.log_step[fit] + shift)
            return network, len(weights.write(network, height, width)), shift

        limit = tau * height * width / 8
        found = attempt(0.0)
        if found[1] <= limit:
            return found
        low, high = 0.0, 0.05
        while (found := attempt(high))[1] > limit and high < 20:
            low, high = high, 2 * high
        for _ in range(9):
            middle = attempt((low + high) / 2)
            low, high, found = (low, middle[2], middle) if middle[1] <= limit else (middle[2], high, found)
        if found[1] > limit:  # a budget so small that only a network without weights is within it
            network = self._quantised(torch.zeros_like(theta), torch.zeros_like(self.log_step[fit]))
            found = network, len(weights.write(network, height, width)), high
        return found

    def _fix_steps(self) -> None:
        """End of the noise: a common factor brings the file to `AIM` of the budget, then the steps stay.

        What was kept before is forgotten: it was within the budget by chance, and may use little of it.
        """
        theta = self._theta()
        for fit in range(len(theta)):
            self.fits[fit].best = -math.inf
            if not self._sound(fit, theta[fit]):
                continue  # the next scoring notices, and begins it anew
            self.log_step[fit] -= 3.0  # from finer than needed, so that a file below the budget grows to it as well
            self.log_step[fit] += self._fitting(fit, theta[fit], AIM * self.bpp[fit])[2]
            self._snap(fit)

    def _snap(self, fit: int) -> None:
        """Steps that the file can write."""
        self.log_step[fit] = quantize.step_of(quantize.index_of(self.log_step[fit].exp())).log()

    def _sound(self, fit: int, theta: torch.Tensor) -> bool:
        """Whether there is anything to quantise: a fit that has run away is not finite."""
        return bool(theta.isfinite().all() and self.log_step[fit].isfinite().all())

    # Scoring ------------------------------------------------------------------------------------------------------

    def _shown(self) -> tuple[torch.Tensor, list[bool]]:
        """Weights as they would be stored, and which fits are within their budget.

        From `Sparsity.round_from` on, what is over the budget is repaired, on a copy: coarser steps for a file, the
        smallest values closed otherwise.
        """
        shown, late = self._theta(), self.step >= self.round_from
        if self.sparsity.rate != "file":
            shown = shown.half().float()
            for fit in range(len(shown)):
                if late:
                    shown[fit] = self._within(fit, shown[fit])
            self.rate = self._counted(shown) / self.area
        else:
            for fit, tau in enumerate(self.bpp):
                if not self._sound(fit, shown[fit]):
                    shown[fit], self.rate[fit] = math.nan, math.inf
                    continue
                network, size, _ = self._fitting(fit, shown[fit], tau if late else math.inf)
                shown[fit], self._index[fit] = network.parameters(), network.steps
                self.rate[fit] = 8 * size / self.area[fit]
            if not late:
                expected = self._proxy(self.parameters, self.log_alpha, self.log_step) / self.area
                self.offset = torch.where(self.rate.isfinite(), self.rate - expected, 0.0)
        self.nonzeros = (shown != 0).sum(1)
        return shown, (self.rate <= self.tau * (1 + 1e-6)).tolist()

    def _within(self, fit: int, values: torch.Tensor) -> torch.Tensor:
        """The values ``(P,)``, without as many of the smallest as it takes to be within the budget."""
        limit = self.bpp[fit] * float(self.area[fit])
        few, many = 0, len(values)
        while few < many:  # the largest number of values that fits
            middle = (few + many + 1) // 2
            if float(self._counted(keep_largest(values, middle)[None])[0]) <= limit:
                few = middle
            else:
                many = middle - 1
        return keep_largest(values, few)

    def _keep(self, index: int, shown: torch.Tensor) -> None:
        super()._keep(index, shown)
        self.best_steps[index], self.best_rate[index] = self._index[index], self.rate[index]

    def score(self) -> list[float]:
        """As `Engine.score`, of the weights as they are stored; a state over its budget is not kept."""
        scores = super().score()
        for fit, psnr, rate, multiplier, count in zip(
            self.fits, scores, self.rate, self.multipliers.value, self.nonzeros, strict=True
        ):
            fit.course.append(
                [self.step, round(float(rate), 5), float(f"{multiplier:.4g}"), int(count), round(psnr, 4)]
            )
        return scores

    def _restart(self, index: int) -> None:
        super()._restart(index)
        self._begin(index)
        if self.fits[index].restarts[-1]["from"] == "best":
            # Those weights hold their gates: what the new gates take is given to them.
            self.parameters[index] /= self._open(self.log_alpha, drawn=False)[index].clamp(min=1e-2)
        if self.step >= self.round_from:
            self._snap(index)
        for optimiser in self.extra.values():
            optimiser.reset(index)

    def _tensors(self) -> dict[str, torch.Tensor]:
        extra = {f"{name}.{key}": t for name, adam in self.extra.items() for key, t in adam.state.items()}
        own = {name: getattr(self, name) for name in ("log_alpha", "log_step", "offset", "best_steps", "best_rate")}
        return super()._tensors() | own | {"multiplier": self.multipliers.value} | extra

    def results(self) -> list[SparseResult]:
        made = []
        for fit, result in enumerate(super().results()):
            network = None
            if self.sparsity.rate == "file":
                step = quantize.step_of(self.best_steps[fit])[self.of]
                symbols = (self.best[fit] / step).round().long()
                network = weights.Quantised(
                    self.architecture, symbols.cpu(), self.best_steps[fit].cpu(), self.coordinates
                )
            bits = round(float(self.best_rate[fit] * self.area[fit]))
            made.append(SparseResult(**vars(result), bits=bits, network=network, course=self.fits[fit].course))
        return made


class PruningEngine(Engine):
    """Magnitude pruning: a dense fit, then only its largest weights, fine-tuned for as many steps again.

    The first half of the steps fits as COIN does. Then every hidden matrix loses its smallest values until 16 bits a
    nonzero value are within ``bpp`` (`sparsify.magnitude.prune`; first and last layer stay dense), and the second half
    trains what is left, with the schedule begun anew. Scores before the pruning are not kept.
    """

    def __init__(
        self,
        pictures: Sequence[np.ndarray],
        architecture: Architecture,
        budget: FitBudget,
        *,
        bpp: float,
        **options: object,
    ) -> None:
        super().__init__(pictures, architecture, budget, **options)
        self.bpp, self.half = bpp, budget.steps // 2
        self.identity |= {"bpp": bpp, "pruning": "magnitude"}
        self.mask = torch.ones_like(self.parameters)

    def advance(self) -> float:
        if self.step == self.half:
            if not self.fits[0].history or self.fits[0].history[-1][0] != self.step:
                self.score()
            for index, (height, width) in enumerate(self.sizes):
                most = int(self.bpp * height * width / BITS)
                self.mask[index] = prune(self.architecture, self.best[index].float(), most) != 0
                self.parameters[index] = self.best[index].float() * self.mask[index]
                self.optimiser.reset(index)
                fit = self.fits[index]
                fit.start, fit.best = self.step, -math.inf
        loss, gradient = kernel.gradient(self.architecture, self.parameters, *self._pixels(), self.backend)
        self.optimiser.step(self.parameters, gradient * self.mask, self._learning_rates())
        self.parameters *= self.mask
        self.step += 1
        return float(loss.mean())

    def _end(self) -> int:
        return self.half if self.step < self.half else self.budget.steps

    def _tensors(self) -> dict[str, torch.Tensor]:
        return super()._tensors() | {"mask": self.mask}
