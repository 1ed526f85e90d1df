"""Training of SIRENs: one or many networks fitted to one or many pictures at once.

A fit is a picture, a seed and a flat vector of parameters. A batch of fits shares the architecture and the budget and
goes through every step together, which fills a GPU. On a CPU one picture at a time, in a process a core, wastes less.
What a `Method` adds to following the gradient is the difference between COIN, L0onie and magnitude pruning
(`constrained_fit`).

The state that is kept is the one whose *rounded, quantised* reconstruction is best: parameters as the file stores them
(fp16), colours as a screen shows them (8 bits). A fit that collapses to a constant picture, as large steps sometimes
make it, is restarted at half the learning rate from the best it had; its neighbours in the batch notice nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from sparsecomp.checks import InputError, require, whole
from sparsecomp.data import fingerprint
from sparsecomp.models.siren import Architecture, initial_parameters, positions
from sparsecomp.options import as_dict
from sparsecomp.training import kernel
from sparsecomp.training.arithmetic import FLOAT32, Arithmetic
from sparsecomp.training.configs import FitBudget
from sparsecomp.training.loop import Training, run
from sparsecomp.training.optimisers import Adam, Soap, column, rate_at

SAME_ORDER = 10  # epochs that share one drawn order of pixels: drawing and gathering cost about as much as two steps


@dataclass
class FitResult:
    """One finished fit.

    Attributes
    ----------
    parameters : torch.Tensor
        float16 ``(P,)``: what the file holds.
    psnr : float
        dB of the rounded, quantised reconstruction, at ``step``.
    history : list of (step, dB)
        Every scoring.
    restarts : list of {"step", "from", "lr"}
        Collapses that were noticed, and what was done.
    seconds : float
        Wall time; of a batch, the share of one fit.
    """

    parameters: torch.Tensor
    psnr: float
    step: int
    history: list[tuple[int, float]]
    restarts: list[dict]
    seconds: float


@dataclass
class _Fit:
    """What is known of one fit besides its tensors."""

    start: int = 0  # the step at which it began, or was last restarted
    rate: float = 1.0  # factor on the learning rate, halved at each restart
    best: float = -math.inf
    best_step: int = 0
    history: list[tuple[int, float]] = field(default_factory=list)
    restarts: list[dict] = field(default_factory=list)
    course: list[list[float]] = field(default_factory=list)  # dynamics of a sparse fit


class Method:
    """What happens to the weights of a batch besides following the gradient. Here nothing: this is COIN.

    Subclasses are L0onie and magnitude pruning (`constrained_fit`). A method belongs to one batch, and has tensors of
    its own.

    Attributes
    ----------
    identity : dict
        What it adds to the identity of the training.
    """

    def __init__(self, training: SirenTraining) -> None:
        self.training = training
        self.identity: dict = {}

    def step(self) -> torch.Tensor:
        """Change the weights once; return the loss of every fit before it, ``(B,)``."""
        training = self.training
        loss, gradient = training.gradient_at(training.parameters)
        training.optimiser.step(training.parameters, gradient, training.learning_rates())
        return loss

    def schedule_end(self) -> int:
        """The step at which the schedule that runs now comes to its end."""
        return self.training.budget.steps

    def stored(self) -> tuple[torch.Tensor, list[bool]]:
        """Parameters ``(B, P)`` as a file would give them back, and for each fit whether it could be kept so."""
        parameters = self.training.parameters
        return parameters.half().float(), [True] * len(parameters)

    def keep(self, index: int) -> None:
        """Note what belongs to the parameters of one fit that are now its best."""

    def scored(self, scores: list[float]) -> None:
        """Note a scoring, in dB."""

    def restart(self, index: int) -> None:
        """Start one fit again that collapsed; its parameters have been set."""

    def state(self) -> dict[str, torch.Tensor]:
        """Return the tensors that the next step depends on."""
        return {}

    def result(self, index: int, result: FitResult) -> FitResult:
        """Add what the method knows of one fit."""
        return result


class SirenTraining(Training):
    """A batch of fits in progress; `fit` is the short way to use it.

    Parameters
    ----------
    pictures : sequence of uint8 arrays ``(H, W, 3)``
        One a fit; sizes may differ where mini-batches are used.
    architecture, budget
        Shared by all fits.
    seeds : sequence of int
        One a fit: first values and order of the pixels.
    coordinates : {"per_axis", "coin"}
    device : torch device
    backend : {"auto", "kernel", "torch"}
        The C kernel or PyTorch (`training.kernel`); the attribute `backend` names the one used, and so does a record.
    method : callable
        Makes the `Method` from this object.
    arithmetic : Arithmetic
        Of the gradient, where it is PyTorch's; the C kernel is compiled and float32 anyway.
    """

    mends_itself = True  # a fit that has run away is restarted at the next scoring

    def __init__(
        self,
        pictures: Sequence[np.ndarray],
        architecture: Architecture,
        budget: FitBudget,
        *,
        seeds: Sequence[int],
        coordinates: str = "per_axis",
        device: str | torch.device = "cpu",
        backend: str = "auto",
        method: Callable[[SirenTraining], Method] = Method,
        arithmetic: Arithmetic = FLOAT32,
    ) -> None:
        super().__init__()
        arithmetic.check(device, siren=True)
        require(len(pictures) > 0, "pictures", "at least 1 picture", 0)
        require(len(seeds) == len(pictures), "seeds", f"as many as pictures, {len(pictures)}", list(seeds))
        for seed in seeds:
            whole("seeds", seed, 0, 2**32 - 1)
        self.architecture, self.budget, self.seeds = architecture, budget, list(seeds)
        self.steps, self.score_every = budget.steps, budget.score_every
        self.coordinates, self.device, self.backend = coordinates, torch.device(device), kernel.resolve(backend, device)
        self.arithmetic = arithmetic
        self.threads = torch.get_num_threads()  # the kernel's
        self.sizes = [p.shape[:2] for p in pictures]
        fewest = min(h * w for h, w in self.sizes)
        self.pixels = min(budget.batch_pixels or fewest, fewest)
        self.every_pixel = budget.batch_pixels is None or budget.batch_pixels >= max(h * w for h, w in self.sizes)
        if self.every_pixel and any(h * w != fewest for h, w in self.sizes):
            raise InputError("fits of one batch that use every pixel need pictures of the same number of pixels")
        self.positions = [positions(h, w, coordinates, architecture.n_in).to(self.device) for h, w in self.sizes]
        self.targets = [torch.from_numpy(p.reshape(-1, 3).T.astype(np.float32) / 255).to(self.device) for p in pictures]
        if self.every_pixel:  # the kernel takes whole rows; a mini-batch is gathered into them
            self.targets = [t.contiguous() for t in self.targets]
        flat = [float((255 * (t - t.mean(1, keepdim=True))).square().mean()) for t in self.targets]
        self.constant = [10 * math.log10(255**2 / max(mse, 1e-9)) for mse in flat]  # dB of the mean colour alone
        self.identity = {
            "architecture": str(architecture), "w0": architecture.w0, "n_in": architecture.n_in,
            "budget": as_dict(budget), "seeds": self.seeds, "coordinates": coordinates,
            "backend": self.backend, "device": self.device.type,
            "pictures": fingerprint({str(i): p for i, p in enumerate(pictures)}),
        }  # fmt: skip
        self.fits = [_Fit() for _ in pictures]
        self.parameters = torch.stack([self._first_values(i, seed) for i, seed in enumerate(seeds)])
        self.best = self.parameters.half()
        self.optimiser = Soap(self.parameters, architecture) if budget.optimiser == "soap" else Adam(self.parameters)
        # Which order of the pixels is drawn, and positions and targets in it.
        self._drawn = [(-1, x, y) for x, y in zip(self.positions, self.targets, strict=True)]
        self.method = method(self)
        self.identity |= self.method.identity | as_dict(arithmetic)

    def _first_values(self, index: int, seed: int) -> torch.Tensor:
        """Parameters ``(P,)`` that a fit begins with; the last ``n_out`` of them are the bias of the colours."""
        biases = "coin" if self.budget.start == "coin" else "torch"
        parameters = initial_parameters(self.architecture, seed, biases).to(self.device)
        if self.budget.start == "mean":
            parameters[-self.architecture.n_out :] = self.targets[index].mean(1)
        return parameters

    # One step ---------------------------------------------------------------------------------------------------------

    def step(self) -> torch.Tensor:
        """Take one step with every fit; return the mean loss of the batch before it."""
        loss = self.method.step()
        self.done += 1
        return loss.mean()

    def gradient_at(self, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss ``(B,)`` and gradient ``(B, P)`` of networks with these weights, at the pixels of this step."""
        with self.arithmetic.products():
            return kernel.gradient(
                self.architecture, weights, *self._pixels(), self.backend, self.threads,
                compiled=self.arithmetic.compiled,
            )  # fmt: skip

    def learning_rates(self) -> torch.Tensor:
        """``(B, 1)``: each fit's schedule runs from its own start."""
        budget, end = self.budget, self.method.schedule_end()
        rates = [
            rate_at(budget.lr * fit.rate, self.done - fit.start, end - fit.start, warmup=budget.warmup,
                    schedule=budget.schedule)
            for fit in self.fits
        ]  # fmt: skip
        return column(rates, self.device)

    def _pixels(self) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Positions and colours of this step: every pixel, or the next slice of a stratified order."""
        if self.every_pixel:
            return self.positions, self.targets
        inputs, targets = [], []
        for fit, (height, width) in enumerate(self.sizes):
            slices = height * width // self.pixels
            epoch, place = divmod(self.done, slices)
            number = epoch // SAME_ORDER
            if self._drawn[fit][0] != number:
                order = stratified_order(
                    height, width, self.pixels, seed=self.seeds[fit] * 100_003 + number, device=self.device
                )
                self._drawn[fit] = (number, self.positions[fit][:, order], self.targets[fit][:, order])
            _, x, y = self._drawn[fit]
            part = slice(place * self.pixels, (place + 1) * self.pixels)
            inputs.append(x[:, part])
            targets.append(y[:, part])
        return inputs, targets

    # Scoring ----------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def score(self) -> dict[str, list[float]]:
        """PSNR in dB of every fit as its file would show it; keeps what is best and restarts what has collapsed."""
        shown, allowed = self.method.stored()
        colours = kernel.colours(self.architecture, shown, self.positions, self.backend, self.threads)
        scores = []
        for index, (fit, colour, target) in enumerate(zip(self.fits, colours, self.targets, strict=True)):
            mse = float((colour.clamp_(0, 1).mul_(255).round_() - 255 * target).square().double().mean())
            psnr = 10 * math.log10(255**2 / max(mse, 1e-9)) if math.isfinite(mse) else -math.inf
            fit.history.append((self.done, round(psnr, 4)))
            if allowed[index] and psnr > fit.best:
                fit.best, fit.best_step = psnr, self.done
                self.best[index] = shown[index]
                self.method.keep(index)
            if self._collapsed(fit, psnr, self.constant[index]) and self.done < self.steps:
                self._restart(index)
            scores.append(psnr)
        self.method.scored(scores)
        return {"psnr": scores}

    def _collapsed(self, fit: _Fit, psnr: float, constant: float) -> bool:
        """Is this a constant picture where, by now, it should not be?"""
        if not math.isfinite(psnr):
            return True
        constant = min(constant, 50.0)  # a picture of one colour may well be drawn as one
        # After a restart the grace period begins again, whatever the fit had reached before.
        had_left = fit.restarts[-1]["from"] == "best" if fit.restarts else False
        had_left = had_left or any(score > constant + 1 for step, score in fit.history if step > fit.start)
        late = self.done - fit.start >= max(200, self.budget.steps // 20)
        return psnr < constant + 0.5 and (had_left or late)

    def _restart(self, index: int) -> None:
        """Half the rate, a fresh optimiser, and the best parameters so far (or new first values, if it never left the
        mean).
        """
        fit = self.fits[index]
        fit.rate, fit.start = fit.rate / 2, self.done
        resumed = fit.best > self.constant[index] + 3
        if resumed:
            self.parameters[index] = self.best[index].float()
        else:
            self.parameters[index] = self._first_values(index, self.seeds[index] + 1_000_003 * (len(fit.restarts) + 1))
        self.optimiser.reset(index)
        origin = "best" if resumed else "new"
        fit.restarts.append({"step": self.done, "from": origin, "lr": self.budget.lr * fit.rate})
        self.method.restart(index)

    # Checkpoints and results ------------------------------------------------------------------------------------------

    def state(self) -> dict[str, torch.Tensor]:
        """Parameters, the best of them, the optimiser's tensors and the method's."""
        optimiser = {f"optimiser.{name}": tensor for name, tensor in self.optimiser.state.items()}
        return {"parameters": self.parameters, "best": self.best} | optimiser | self.method.state()

    def plain(self) -> dict:
        """The rest of the state."""
        return super().plain() | {"notes": self.notes}

    @property
    def notes(self) -> list[dict]:
        """What is known of each fit besides its tensors."""
        return [vars(fit) for fit in self.fits]

    @notes.setter
    def notes(self, values: list[dict]) -> None:
        self.fits = [_Fit(**fit) for fit in values]

    def results(self) -> list[FitResult]:
        """What has been reached so far, one a fit."""
        made, seconds = [], self.seconds / len(self.fits)
        for index, fit in enumerate(self.fits):
            history = [(step, psnr) for step, psnr in fit.history]
            parameters = self.best[index].cpu().clone()
            result = FitResult(parameters, fit.best, fit.best_step, history, fit.restarts, seconds)
            made.append(self.method.result(index, result))
        return made


def stratified_order(
    height: int, width: int, pixels: int, *, seed: int, device: str | torch.device = "cpu"
) -> torch.Tensor:
    """An order of all pixels, int64 ``(height * width,)``, in which every slice of about ``pixels`` is spread over the
    picture.

    The picture is cut into cells of s x s pixels, s^2 about ``height * width / pixels``, and each cell drawn in a
    random order of its own: the k-th pixels of all cells come before the (k+1)-th. Neighbouring pixels are alike, so a
    slice with one from each cell has a gradient with less noise than as many pixels drawn at random.
    """
    side = max(1, round(math.sqrt(height * width / pixels)))
    rows, cols = -(-height // side), -(-width // side)
    generator = torch.Generator(device).manual_seed(seed)
    turn = torch.rand(rows * cols, side * side, generator=generator, device=device).argsort(1).T
    cell = torch.arange(rows * cols, device=device)
    y = (cell // cols) * side + turn // side
    x = (cell % cols) * side + turn % side
    inside = ((y < height) & (x < width)).flatten()
    first = (~inside).to(torch.uint8).argsort(stable=True)[: height * width]  # a mask would wait to know its length
    return (y * width + x).flatten()[first]


def fit(
    pictures: Sequence[np.ndarray],
    architecture: Architecture,
    budget: FitBudget,
    *,
    seeds: Sequence[int] | None = None,
    coordinates: str = "per_axis",
    device: str | torch.device = "cpu",
    backend: str = "auto",
    checkpoint: Path | None = None,
    max_seconds: float | None = None,
    stop_at: float | None = None,
    on_score: Callable[[int, dict], None] | None = None,
    method: Callable[[SirenTraining], Method] = Method,
    arithmetic: Arithmetic = FLOAT32,
) -> list[FitResult]:
    """Fit one SIREN to each picture, all in one batch.

    See `SirenTraining` for the arguments that are not named here, and `loop.run` for checkpoints and pauses.

    Parameters
    ----------
    seeds : sequence of int, optional
        One a picture; 0 for all by default.
    stop_at : float, optional
        Stop for good as soon as every fit has a state to keep of so many dB.
    """
    training = SirenTraining(
        pictures, architecture, budget,
        seeds=[0] * len(pictures) if seeds is None else seeds, coordinates=coordinates, device=device, backend=backend,
        method=method, arithmetic=arithmetic,
    )  # fmt: skip
    with one_thread_of_torch(training.backend == "kernel"):
        run(
            training, checkpoint=checkpoint, max_seconds=max_seconds, on_score=on_score,
            enough=lambda training: stop_at is not None and min(fit.best for fit in training.fits) >= stop_at,
        )  # fmt: skip
    return training.results()


@contextmanager
def one_thread_of_torch(wanted: bool) -> Iterator[None]:
    """Within it PyTorch has one thread, if that is wanted: beside the kernel, which has its own number of threads.

    What PyTorch does then are products of tiny matrices, and their last bits depend on the number of threads.
    """
    before = torch.get_num_threads()
    try:
        if wanted:
            torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(before)
