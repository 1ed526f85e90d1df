"""Training of an autoencoder: one descent of ``huber(x_hat - x) + lam Delta^2 bpp`` over crops of a set of pictures.

The quantiser is replaced by uniform noise of one step's width (Ballé et al. 2017), or by rounding whose gradient is
passed straight through. The step Delta is drawn anew for every crop, so that one model serves a range of them; lambda
is proportional to Delta^2. Weights may be masked: a masked one starts at zero and never moves.

What a step draws depends on the seed and the number of the step alone: a training that was stopped goes on to the same
bits on a CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from sparsecomp.coding import entropy
from sparsecomp.coding.entropy import FactorizedPrior
from sparsecomp.data import fingerprint
from sparsecomp.models.sparse_cae import SparseCAE, to_input
from sparsecomp.profiles import Descent, as_dict
from sparsecomp.training import checkpoint as checkpoints
from sparsecomp.training.optim import orthogonalised
from sparsecomp.training.running import Watch

Masks = dict[str, torch.Tensor]  # parameter's name -> bool of its shape; True may move


class Training:
    """The state of one descent.

    Parameters
    ----------
    model : SparseCAE
        Trained in place; its first values are what it holds.
    pictures : mapping of str to uint8 array (H, W, 3)
        To train on; each side at least ``descent.crop`` after it was reduced.
    validation : mapping of str to uint8 array
        Scored now and then, reduced likewise; nothing is chosen by it here.
    descent : Descent
    seed : int
        Of the order of crops and of the noise. (The model's first values are the model's.)
    masks : dict of bool tensors, optional
        Which weights may move; parameters that are not named may.
    device : str

    Raises
    ------
    ValueError
        If a picture is smaller than the crop, or a mask is not of its parameter's shape.
    """

    def __init__(
        self,
        model: SparseCAE,
        pictures: Mapping[str, np.ndarray],
        validation: Mapping[str, np.ndarray],
        descent: Descent,
        *,
        seed: int = 0,
        masks: Masks | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.descent, self.seed, self.device = descent, seed, torch.device(device)
        self.pictures = [reduced(p, descent.reduce) for p in pictures.values()]
        self.validation = [reduced(p, descent.reduce) for p in validation.values()]
        small = [name for name, p in zip(pictures, self.pictures, strict=True) if min(p.shape[:2]) < descent.crop]
        if small or not pictures or not validation:
            missing = "pictures and validation: at least one of each is needed"
            raise ValueError(f"crop={descent.crop}: larger than {', '.join(small)}" if small else missing)
        # Channels last is how a CPU convolves fastest; the numbers do not depend on it.
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.prior = FactorizedPrior(model.shape.latent).to(self.device)
        named = dict(self.model.named_parameters())
        self.masks = {name: mask.to(self.device) for name, mask in (masks or {}).items()}
        for name, mask in self.masks.items():
            if name not in named or mask.dtype != torch.bool or mask.shape != named[name].shape:
                raise ValueError(f"masks[{name!r}]: a bool tensor of the shape of that parameter is needed")
            with torch.no_grad():
                named[name].mul_(mask)
        self.named = named | {f"prior.{name}": p for name, p in self.prior.named_parameters()}
        self.m, self.v = ({name: torch.zeros_like(p) for name, p in self.named.items()} for _ in range(2))
        self.step, self.seconds, self.history = 0, 0.0, []
        self.identity = {
            "descent": as_dict(descent), "seed": seed, "shape": as_dict(model.shape), "device": self.device.type,
            "pictures": fingerprint({str(i): p for i, p in enumerate(pictures.values())}),
            "masks": checkpoints.hash_of(self.masks),
            "start": checkpoints.hash_of(dict(self.model.named_parameters())),
        }  # fmt: skip

    # One step ---------------------------------------------------------------------------------------------------------

    def advance(self) -> float:
        """One step of the optimiser; returns the loss before it."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)
        x, delta = self._crops(generator), self._deltas(generator)
        z = self.model.encoder(x)
        noise = torch.rand(z.shape, generator=generator).to(self.device) - 0.5
        received, rated = self._quantised(z, noise, delta)
        loss = F.huber_loss(self.model.decoder(received), x)
        if rated is not None:
            bpp = self.prior.bits(rated, delta).sum((1, 2, 3)) / x[0, 0].numel()
            loss = loss + (self.descent.lam * delta.flatten().square() * bpp).mean()
        gradients = torch.autograd.grad(loss, list(self.named.values()), allow_unused=True)
        self._update(dict(zip(self.named, gradients, strict=True)))
        self.step += 1
        return float(loss.detach())

    def _crops(self, generator: torch.Generator) -> torch.Tensor:
        """``(batch, 3, crop, crop)`` in [0, 1] from random pictures, places and flips."""
        side, crops = self.descent.crop, []
        for _ in range(self.descent.batch):
            picture = self.pictures[int(torch.randint(len(self.pictures), (), generator=generator))]
            top, left = (int(torch.randint(n - side + 1, (), generator=generator)) for n in picture.shape[:2])
            crop = picture[top : top + side, left : left + side]
            crops.append(crop.flip(1) if torch.rand((), generator=generator) < 0.5 else crop)
        x = torch.stack(crops).permute(0, 3, 1, 2).to(self.device)
        return (x.float() / 255).contiguous(memory_format=torch.channels_last)

    def _deltas(self, generator: torch.Generator) -> torch.Tensor:
        """Steps ``(batch, 1, 1, 1)``, log-uniform."""
        low, high = math.log(self.descent.finest), math.log(self.descent.coarsest)
        drawn = torch.rand(self.descent.batch, 1, 1, 1, generator=generator)
        return (low + (high - low) * drawn).exp().to(self.device)

    def _quantised(
        self, z: torch.Tensor, noise: torch.Tensor, delta: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What the decoder gets in training, and what the rate is estimated from, if it trains anything."""
        noisy = z + delta * noise
        if self.descent.quantiser == "noise":
            return noisy, noisy
        if self.descent.quantiser == "straight_through":
            return z + (delta * torch.round(z / delta) - z).detach(), noisy
        return z, None

    @torch.no_grad()
    def _update(self, gradients: dict[str, torch.Tensor | None], betas: tuple[float, float] = (0.9, 0.999)) -> None:
        """Adam (Kingma & Ba 2015), or Muon (Jordan et al. 2024) for weights and Adam at a tenth of the rate for biases.

        The prior has Adam at ten times their rate and no weight decay.
        """
        (b1, b2), clock, muon = betas, self.step + 1, self.descent.optimiser == "muon"
        lr = self.descent.lr * min(1.0, clock / max(1, self.descent.warmup))
        if self.descent.schedule == "cosine":
            lr *= 0.5 + 0.5 * math.cos(math.pi * self.step / self.descent.steps)
        for name, parameter in self.named.items():
            gradient, of_prior = gradients[name], name.startswith("prior.")
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

    # Scoring ----------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def score(self) -> tuple[float, float]:
        """Mean PSNR in dB and estimated bits per pixel of the validation pictures, rounded at the middle step."""
        delta = math.sqrt(self.descent.finest * self.descent.coarsest)
        psnrs, rates = [], []
        for picture in self.validation:
            x = to_input(picture.numpy(), self.device)
            z = torch.round(self.model.encoder(x) / delta) * delta
            rates.append(float(self.prior.bits(z, delta).sum()) / x[0, 0].numel())
            height, width, _ = picture.shape
            shown = (self.model.decoder(z)[0, :, :height, :width].clamp(0, 1) * 255).round()
            mse = float((shown - picture.to(self.device).permute(2, 0, 1)).square().double().mean())
            psnrs.append(10 * math.log10(255**2 / max(mse, 1e-9)))
        return float(np.mean(psnrs)), float(np.mean(rates))

    @torch.no_grad()
    def histogram(self) -> torch.Tensor:
        """How often the latents of the training pictures fall into each cell (`coding.entropy`): ``(C, 512)``."""
        total = torch.zeros(self.model.shape.latent, entropy.CELLS, dtype=torch.long)
        for picture in self.pictures:
            cells = entropy.cells_of(self.model.encoder(to_input(picture.numpy(), self.device)))[0].flatten(1).cpu()
            total += torch.stack([torch.bincount(c, minlength=entropy.CELLS) for c in cells])
        return total

    # Checkpoints ------------------------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, torch.Tensor]:
        """All that the next step depends on, beside the step itself."""
        m, v = ({f"{kind}.{name}": t for name, t in own.items()} for kind, own in (("m", self.m), ("v", self.v)))
        return {name: p.detach() for name, p in self.named.items()} | m | v

    def save(self, path: Path) -> None:
        """Write the state, whole or not at all."""
        state = {"step": self.step, "seconds": self.seconds, "history": self.history}
        checkpoints.save(path, self.tensors(), self.identity, state)

    def load(self, path: Path) -> None:
        """Go on from `save`; `ValueError` if the file is broken or of another training."""
        state = checkpoints.load(path, self.tensors(), self.identity)
        self.step, self.seconds, self.history = state["step"], state["seconds"], state["history"]


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
    training: Training,
    *,
    checkpoint: Path | None = None,
    max_seconds: float | None = None,
    on_score: Callable[[int, list[float]], None] | None = None,
) -> Training:
    """Run a training to its end, from its checkpoint if there is one; the last state stays in it.

    Parameters
    ----------
    training : Training
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
            psnr, rate = training.score()
            training.history.append([training.step, loss, rate, psnr])
            if on_score is not None:
                on_score(training.step, [psnr])
        watch.after_step()
    watch.end()
    return training
