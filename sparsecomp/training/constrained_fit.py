"""SIREN fits under a budget (`training.fit`): L0onie's constrained optimisation of weights and gates, and magnitude
pruning.

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
from dataclasses import dataclass, field

import torch

from sparsecomp import network_weights
from sparsecomp.checks import in_range
from sparsecomp.coding import quantize
from sparsecomp.models.siren import tensor_of
from sparsecomp.options import as_dict
from sparsecomp.sparsify.gates import HardConcrete, n_gates, spread_units
from sparsecomp.sparsify.lagrangian import Multipliers
from sparsecomp.sparsify.magnitude import keep_largest, prune
from sparsecomp.training.configs import Sparsity
from sparsecomp.training.fit import FitResult, Method, SirenTraining
from sparsecomp.training.optimisers import Adam

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
    network: network_weights.Quantised | None = None
    course: list[list[float]] = field(default_factory=list)


class ConstrainedFit(Method):
    """Gates, quantisation steps and multipliers for every fit of a batch.

    Parameters
    ----------
    training : SirenTraining
    bpp : float
        tau, bits per pixel.
    sparsity : Sparsity
        What is counted, and how the game is played.
    """

    def __init__(self, training: SirenTraining, bpp: float, sparsity: Sparsity) -> None:
        super().__init__(training)
        in_range("bpp", bpp, 0, ends="()")
        fits, device, architecture = len(training.fits), training.device, training.architecture
        self.architecture, self.device, self.bpp, self.sparsity = architecture, device, bpp, sparsity
        self.identity = {"bpp": [bpp] * fits, "sparsity": as_dict(sparsity)}
        self.gates = HardConcrete(sparsity.temperature, (-sparsity.stretch, 1 + sparsity.stretch))
        self.multipliers = Multipliers(
            fits, sparsity.dual_lr, restarts=sparsity.restarts, start=sparsity.multiplier, device=device
        )
        self.of = tensor_of(architecture).to(device)
        self.count = torch.bincount(self.of).float()
        self.area = torch.tensor([float(h * w) for h, w in training.sizes], device=device)
        self.tau = torch.full((fits,), bpp, dtype=torch.float32, device=device)
        self.offset = torch.zeros(fits, device=device)  # measured less expected rate, at the last scoring
        self.log_alpha = torch.zeros(fits, n_gates(architecture, sparsity.structured), device=device)
        self.log_step = torch.zeros(fits, len(self.count), device=device)
        training.best = training.best.float()
        self.best_steps, self._index = (
            torch.zeros(fits, len(self.count), dtype=torch.int64, device=device) for _ in range(2)
        )
        self.nonzeros = torch.zeros(fits, dtype=torch.int64, device=device)
        self.best_rate, self.rate = torch.zeros_like(self.tau), torch.zeros_like(self.tau)
        training.parameters /= 1 - sparsity.drop_rate
        for fit in range(fits):
            self._begin(fit)
        self.extra = {
            "log_alpha": Adam(self.log_alpha, sparsity.gate_betas), "log_step": Adam(self.log_step, (0.95, 0.99))
        }  # fmt: skip
        self.round_from = math.ceil(sparsity.round_from * training.steps)

    def _begin(self, fit: int) -> None:
        """First gates and steps of one fit: the steps at which the first values would just meet the budget."""
        generator = torch.Generator().manual_seed(self.training.seeds[fit] + 7)
        noise = torch.randn(self.log_alpha.shape[1], generator=generator).to(self.device)
        self.log_alpha[fit] = self.sparsity.log_alpha + 0.1 * noise
        rows = slice(fit, fit + 1)
        self.log_step[rows] = 0
        if self.sparsity.rate == "file":
            theta = self.training.parameters[rows]
            log_step = self._moments(theta, torch.ones_like(theta))[1].log() / 2
            over = self._proxy(theta, self.log_alpha[rows], log_step) - self.tau[fit] * self.area[fit]
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
            return self.sparsity.proxy_bits * probability.sum(1)
        open_, square = self._moments(theta, probability)
        where = self._where(open_)
        if self.sparsity.rate == "positions":
            return (self.sparsity.proxy_bits * open_ + where).sum(1)
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
            return torch.ones_like(self.training.parameters)
        z = self.gates.at(log_alpha, self._uniform(log_alpha, 1)) if drawn else self.gates.median(log_alpha)
        return spread_units(self.architecture, z) if self.sparsity.structured else z

    def _uniform(self, like: torch.Tensor, stream: int) -> torch.Tensor:
        """Numbers in (0, 1) that depend on seed and step of each fit and on nothing else."""
        generators = [
            torch.Generator(self.device).manual_seed((seed * 1_000_003 + self.training.done) * 2 + stream)
            for seed in self.training.seeds
        ]
        rows = [torch.rand(like.shape[1], generator=generator, device=self.device) for generator in generators]
        return torch.stack(rows).clamp_(1e-6, 1 - 1e-6)

    def _weights(self, theta: torch.Tensor, log_alpha: torch.Tensor, log_step: torch.Tensor) -> torch.Tensor:
        """What the network draws with in this step, ``(B, P)``; differentiable in all three."""
        theta = theta * self._open(log_alpha, drawn=self.sparsity.gates == "sampled")
        if self.sparsity.rate != "file":
            return theta
        step = log_step.exp()[:, self.of]
        if self.training.done >= self.round_from:
            return quantize.round_through(theta, step)
        return theta + step * (self._uniform(theta, 0) - 0.5) * (theta.detach() != 0)

    def step(self) -> torch.Tensor:
        """Descend in weights, gates and steps, ascend in the multiplier; return the loss of every fit, ``(B,)``."""
        training, sparsity = self.training, self.sparsity
        leaves = [t.detach().requires_grad_() for t in (training.parameters, self.log_alpha, self.log_step)]
        with torch.enable_grad():
            drawn = self._weights(*leaves)
            loss, gradient = training.gradient_at(drawn.detach())
            expected = self._proxy(*leaves) / self.area
            weight = 3 * self.area[:, None] if sparsity.loss == "sum" else 1
            total = (weight * drawn * gradient).sum() + self.multipliers.weigh(expected - self.tau).sum()
            gradients = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
        rates = training.learning_rates()
        share = rates / training.budget.lr
        training.optimiser.step(training.parameters, gradients[0], rates)
        if sparsity.limit:
            training.parameters.clamp_(-sparsity.limit, sparsity.limit)
        if sparsity.gates != "none":
            self.extra["log_alpha"].step(self.log_alpha, gradients[1], sparsity.gate_lr * share)
            self.log_alpha.clamp_(-4, 4)  # the released code's bounds; beyond them a gate hardly moves
        file, fixed = sparsity.rate == "file", sparsity.rate == "file" and training.done >= self.round_from
        if file and not fixed:
            self.extra["log_step"].step(self.log_step, gradients[2], sparsity.step_lr * (0.1 + 0.9 * share))
        if not fixed:
            measured = expected.detach() + self.offset if file else self._counted(drawn.detach()) / self.area
            self.multipliers.ascend(measured - self.tau)
        if file and training.done + 1 == self.round_from:
            self._fix_steps()
        return loss

    # Files --------------------------------------------------------------------------------------------------------

    def _theta(self) -> torch.Tensor:
        """Weights with their median gates absorbed, ``(B, P)``."""
        return self.training.parameters * self._open(self.log_alpha, drawn=False)

    def _quantised(self, theta: torch.Tensor, log_step: torch.Tensor) -> network_weights.Quantised:
        index = quantize.index_of(log_step.exp())
        most = network_weights.MOST
        symbols = (theta / quantize.step_of(index)[self.of]).round().clamp(-most, most).long()
        return network_weights.Quantised(self.architecture, symbols.cpu(), index.cpu(), self.training.coordinates)

    def _fitting(self, fit: int, theta: torch.Tensor, tau: float) -> tuple[network_weights.Quantised, int, float]:
        """The finest common factor on the steps, at least 1, with which the file is within ``tau``; by bisection.

        Gives the network, the bytes of its file, and the logarithm of the factor.
        """
        height, width = self.training.sizes[fit]

        def attempt(shift: float) -> tuple[network_weights.Quantised, int, float]:
            network = self._quantised(theta, self.log_step[fit] + shift)
            return network, len(network_weights.write(network, height, width)), shift

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
            found = network, len(network_weights.write(network, height, width)), high
        return found

    def _fix_steps(self) -> None:
        """End of the noise: a common factor brings the file to `AIM` of the budget, then the steps stay.

        What was kept before is forgotten: it was within the budget by chance, and may use little of it.
        """
        theta = self._theta()
        for fit in range(len(theta)):
            self.training.fits[fit].best = -math.inf
            if not self._sound(fit, theta[fit]):
                continue  # the next scoring notices, and restarts it
            self.log_step[fit] -= 3.0  # from finer than needed, so that a file below the budget grows to it as well
            self.log_step[fit] += self._fitting(fit, theta[fit], AIM * self.bpp)[2]
            self._snap(fit)

    def _snap(self, fit: int) -> None:
        """Steps that the file can write."""
        self.log_step[fit] = quantize.step_of(quantize.index_of(self.log_step[fit].exp())).log()

    def _sound(self, fit: int, theta: torch.Tensor) -> bool:
        """Whether there is anything to quantise: a fit that has run away is not finite."""
        return bool(theta.isfinite().all() and self.log_step[fit].isfinite().all())

    # Scoring ------------------------------------------------------------------------------------------------------

    def stored(self) -> tuple[torch.Tensor, list[bool]]:
        """Weights as they would be stored, and which fits are within their budget.

        From `Sparsity.round_from` on, what is over the budget is repaired, on a copy: coarser steps for a file, the
        smallest values closed otherwise.
        """
        shown, late = self._theta(), self.training.done >= self.round_from
        if self.sparsity.rate != "file":
            shown = shown.half().float()
            last = self.training.done >= self.training.steps
            for fit, known in enumerate(self.training.fits):
                if late and (self.sparsity.repair or (last and known.best == -math.inf)):
                    shown[fit] = self._within(fit, shown[fit])
            self.rate = self._counted(shown) / self.area
        else:
            for fit in range(len(shown)):
                if not self._sound(fit, shown[fit]):
                    shown[fit], self.rate[fit] = math.nan, math.inf
                    continue
                network, size, _ = self._fitting(fit, shown[fit], self.bpp if late else math.inf)
                shown[fit], self._index[fit] = network.parameters(), network.steps
                self.rate[fit] = 8 * size / self.area[fit]
            if not late:
                expected = self._proxy(self.training.parameters, self.log_alpha, self.log_step) / self.area
                self.offset = torch.where(self.rate.isfinite(), self.rate - expected, 0.0)
        self.nonzeros = (shown != 0).sum(1)
        return shown, (self.rate <= self.tau * (1 + 1e-6)).tolist()

    def _within(self, fit: int, values: torch.Tensor) -> torch.Tensor:
        """The values ``(P,)``, without as many of the smallest as it takes to be within the budget."""
        limit = self.bpp * float(self.area[fit])
        few, many = 0, len(values)
        while few < many:  # the largest number of values that fits
            middle = (few + many + 1) // 2
            if float(self._counted(keep_largest(values, middle)[None])[0]) <= limit:
                few = middle
            else:
                many = middle - 1
        return keep_largest(values, few)

    def keep(self, index: int) -> None:
        """Note steps and rate of the state that is kept."""
        self.best_steps[index], self.best_rate[index] = self._index[index], self.rate[index]

    def scored(self, scores: list[float]) -> None:
        """Note the dynamics: rate, multiplier, nonzeros, PSNR."""
        numbers = zip(self.training.fits, scores, self.rate, self.multipliers.value, self.nonzeros, strict=True)
        for fit, psnr, rate, multiplier, count in numbers:
            row = [self.training.done, round(float(rate), 5), float(f"{multiplier:.4g}"), int(count), round(psnr, 4)]
            fit.course.append(row)

    def restart(self, index: int) -> None:
        """Start again with the gates, steps and multiplier of one fit."""
        training = self.training
        self._begin(index)
        if training.fits[index].restarts[-1]["from"] == "new":
            training.parameters[index] /= 1 - self.sparsity.drop_rate
        else:
            # Those weights hold their gates: what the new gates take is given to them.
            training.parameters[index] /= self._open(self.log_alpha, drawn=False)[index].clamp(min=1e-2)
        if training.done >= self.round_from:
            self._snap(index)
        for optimiser in self.extra.values():
            optimiser.reset(index)

    def state(self) -> dict[str, torch.Tensor]:
        """Gates, steps, multipliers, and the moments of their optimisers."""
        extra = {f"{name}.{key}": t for name, adam in self.extra.items() for key, t in adam.state.items()}
        own = {name: getattr(self, name) for name in ("log_alpha", "log_step", "offset", "best_steps", "best_rate")}
        return own | {"multiplier": self.multipliers.value} | extra

    def result(self, index: int, result: FitResult) -> SparseResult:
        """Add bits, network and course."""
        network, training = None, self.training
        if self.sparsity.rate == "file":
            step = quantize.step_of(self.best_steps[index])[self.of]
            symbols = (training.best[index] / step).round().long()
            steps = self.best_steps[index].cpu()
            network = network_weights.Quantised(self.architecture, symbols.cpu(), steps, training.coordinates)
        bits = round(float(self.best_rate[index] * self.area[index]))
        return SparseResult(**vars(result), bits=bits, network=network, course=training.fits[index].course)


class MagnitudePruning(Method):
    """Magnitude pruning: a dense fit, then only its largest weights, fine-tuned for as many steps again.

    The first half of the steps fits as COIN does. Then every hidden matrix loses its smallest values until 16 bits a
    nonzero value are within ``bpp`` (`sparsify.magnitude.prune`; first and last layer stay dense), and the second half
    trains what is left, with the schedule started again. Scores before the pruning are not kept.
    """

    def __init__(self, training: SirenTraining, bpp: float) -> None:
        super().__init__(training)
        self.bpp, self.half = bpp, training.steps // 2
        self.identity = {"bpp": bpp, "pruning": "magnitude"}
        self.mask = torch.ones_like(training.parameters)

    def step(self) -> torch.Tensor:
        """As COIN, with masked gradients; at half of the steps the mask is made."""
        training = self.training
        if training.done == self.half:
            self._prune()
        loss, gradient = training.gradient_at(training.parameters)
        training.optimiser.step(training.parameters, gradient * self.mask, training.learning_rates())
        training.parameters *= self.mask
        return loss

    def _prune(self) -> None:
        training = self.training
        if not training.fits[0].history or training.fits[0].history[-1][0] != training.done:
            training.score()
        for index, (height, width) in enumerate(training.sizes):
            best, most = training.best[index].float(), int(self.bpp * height * width / BITS)
            self.mask[index] = prune(training.architecture, best, most) != 0
            training.parameters[index] = best * self.mask[index]
            training.optimiser.reset(index)
            training.fits[index].start, training.fits[index].best = training.done, -math.inf

    def schedule_end(self) -> int:
        """Two schedules, one after the other."""
        return self.half if self.training.done < self.half else self.training.steps

    def state(self) -> dict[str, torch.Tensor]:
        """The mask."""
        return {"mask": self.mask}
