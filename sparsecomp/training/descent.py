"""What the trainings of autoencoders share: the optimiser's step, the state that is kept, and the loop.

A training has parameters by name, masks for some of them, and a ``descent`` that says how it steps. What a step draws
depends on the seed and the number of the step alone: a training that was stopped goes on to the same bits on a CPU.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from sparsecomp.profiles import CodeDescent, Descent
from sparsecomp.training import checkpoint as checkpoints
from sparsecomp.training.optim import orthogonalised
from sparsecomp.training.running import Watch

Masks = dict[str, torch.Tensor]  # parameter's name -> bool of its shape; True may move
PRIOR = "prior."  # names of parameters that say how likely a latent is begin so


class Descending(ABC):
    """The state of one descent; `advance` and `score` are its heirs'.

    Parameters
    ----------
    descent : Descent or CodeDescent
    named : dict of tensors
        Trained in place. Names that begin with ``prior.`` are the entropy estimate's.
    masks : dict of bool tensors
        Which weights may move; parameters that are not named may.

    Attributes
    ----------
    step : int
    seconds : float
    history : list
        One entry a scoring.
    identity : dict
        What decides the result, kept in every checkpoint; one of another training is not gone on from.
    """

    def __init__(self, descent: Descent | CodeDescent, named: dict[str, torch.Tensor], masks: Masks) -> None:
        self.descent, self.named, self.masks = descent, named, masks
        self.m, self.v = ({name: torch.zeros_like(p) for name, p in named.items()} for _ in range(2))
        self.step, self.seconds, self.history, self.identity = 0, 0.0, [], {}

    @abstractmethod
    def advance(self) -> float:
        """One step of the optimiser; returns the loss before it."""

    @abstractmethod
    def score(self) -> tuple[float, ...]:
        """What is written into the history beside step and loss; PSNR in dB comes first."""

    def _rate(self) -> float:
        """The learning rate of this step."""
        lr = self.descent.lr * min(1.0, (self.step + 1) / max(1, self.descent.warmup))
        if self.descent.schedule == "cosine":
            lr *= 0.5 + 0.5 * math.cos(math.pi * self.step / self.descent.steps)
        return lr

    @torch.no_grad()
    def _update(self, gradients: dict[str, torch.Tensor | None], betas: tuple[float, float] = (0.9, 0.999)) -> None:
        """Adam (Kingma & Ba 2015), or Muon (Jordan et al. 2024) for weights and for the rest Adam at a tenth of it.

        The prior has Adam at ten times their rate and no weight decay.
        """
        (b1, b2), clock, muon = betas, self.step + 1, self.descent.optimiser == "muon"
        lr = self._rate()
        for name, parameter in self.named.items():
            gradient, of_prior = gradients[name], name.startswith(PRIOR)
            if gradient is None:  # of the prior, where the rate trains nothing
                continue
            if not of_prior:
                gradient = gradient + self.descent.weight_decay * parameter
            mask = self.masks.get(name)
            gradient = gradient if mask is None else gradient * mask
            m, v = self.m[name], self.v[name]
            if muon and parameter.dim() == 4:
                m.mul_(b1).add_(gradient)
                update, rate = _orthogonal_filters(gradient + b1 * m, ".up" in name), lr
                update = update if mask is None else update * mask  # orthogonalised, a masked entry is no longer zero
            else:
                m.lerp_(gradient, 1 - b1)
                v.mul_(b2).addcmul_(gradient, gradient, value=1 - b2)
                update = m / (1 - b1**clock) / ((v / (1 - b2**clock)).sqrt_().add_(1e-8))
                rate = lr * (0.1 if muon else 1) * (10 if of_prior else 1)
            parameter.sub_(rate * update)

    # Checkpoints ------------------------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, torch.Tensor]:
        """All that the next step depends on, beside the step itself."""
        m, v = ({f"{kind}.{name}": t for name, t in own.items()} for kind, own in (("m", self.m), ("v", self.v)))
        return {name: p.detach() for name, p in self.named.items()} | m | v

    def plain(self) -> dict:
        """The rest of it, as plain values: attributes by name."""
        return {"step": self.step, "seconds": self.seconds, "history": self.history}

    def save(self, path: Path) -> None:
        """Write the state, whole or not at all."""
        checkpoints.save(path, self.tensors(), self.identity, self.plain())

    def load(self, path: Path) -> None:
        """Go on from `save`; `ValueError` if the file is broken or of another training."""
        state = checkpoints.load(path, self.tensors(), self.identity)
        for name in self.plain():
            setattr(self, name, state[name])


def _orthogonal_filters(update: torch.Tensor, transposed: bool) -> torch.Tensor:
    """`orthogonalised` for a layer's weight, seen as a matrix with one row a filter; taller matrices step farther."""
    filters = update.transpose(0, 1) if transposed else update
    matrix = filters.flatten(1)
    step = orthogonalised(matrix) * max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
    step = step.view(filters.shape)
    return step.transpose(0, 1) if transposed else step


def reduced(picture: np.ndarray, by: int) -> torch.Tensor:
    """A picture uint8 ``(H, W, 3)`` made smaller by averaging ``by x by`` pixels; what is left over is cut off."""
    height, width = (n // by * by for n in picture.shape[:2])
    cells = picture[:height, :width].reshape(height // by, by, width // by, by, 3)
    return torch.from_numpy(np.rint(cells.mean((1, 3))).astype(np.uint8))


def train(
    training: Descending,
    *,
    checkpoint: Path | None = None,
    max_seconds: float | None = None,
    on_score: Callable[[int, list[float]], None] | None = None,
) -> Descending:
    """Run a training to its end, from its checkpoint if there is one; the last state stays in it.

    Parameters
    ----------
    training : Descending
    checkpoint : Path, optional
    max_seconds : float, optional
        Pause after so much wall time: the state is saved and `Paused` raised. Needs ``checkpoint``.
    on_score : callable, optional
        Called with the step and [PSNR in dB] at each scoring.

    Raises
    ------
    FloatingPointError
        If the loss is no longer a finite number.
    """
    steps = training.descent.steps
    watch = Watch(training, steps, checkpoint, max_seconds)
    while training.step < steps:
        loss = training.advance()
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss} at step {training.step}: the learning rate is too high")
        if training.step % training.descent.score_every == 0 or training.step == steps:
            scored = training.score()
            training.history.append([training.step, loss, *scored])
            if on_score is not None:
                on_score(training.step, [scored[0]])
        watch.after_step()
    watch.end()
    return training
