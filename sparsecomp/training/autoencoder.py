"""Training of an autoencoder: one descent of ``huber(x_hat - x) + lam Delta^2 bpp`` over crops of a set of pictures.

The quantiser is replaced by uniform noise of one step's width (Ballé et al. 2017), or by rounding whose gradient is
passed straight through. The step Delta is drawn for every crop, so that one model serves a range of steps; lambda
is proportional to Delta^2. Weights may be masked: a masked one starts at zero and never moves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F

from sparsecomp.checks import require
from sparsecomp.coding import latents
from sparsecomp.coding.priors import FactorizedPrior
from sparsecomp.data import fingerprint
from sparsecomp.models.inference import channels_last, to_input
from sparsecomp.models.sparse_cae import SCALE, SparseCAE
from sparsecomp.options import as_dict
from sparsecomp.training.arithmetic import FLOAT32, Arithmetic
from sparsecomp.training.configs import Descent
from sparsecomp.training.loop import Training, hash_of
from sparsecomp.training.optimisers import PRIOR, NamedOptimiser, rate_at

Masks = dict[str, torch.Tensor]  # parameter's name -> bool of its shape; True may move


class CaeTraining(Training):
    """One descent of a Sparse CAE.

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
    arithmetic : Arithmetic
        Of encoder and decoder while they are trained; scores are float32.

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
        arithmetic: Arithmetic = FLOAT32,
    ) -> None:
        super().__init__()
        arithmetic.check(device)
        self.descent, self.steps, self.score_every = descent, descent.steps, descent.score_every
        self.seed, self.device = seed, torch.device(device)
        self.pictures = [reduced(p, descent.reduce).to(self.device) for p in pictures.values()]
        self.validation = [reduced(p, descent.reduce) for p in validation.values()]
        check_pictures(dict(zip(pictures, self.pictures, strict=True)), validation, descent.crop)
        # Channels last is how a CPU convolves fastest; the numbers do not depend on it.
        self.model, self.arithmetic = channels_last(model, self.device), arithmetic
        self.encode, self.decode = arithmetic.applied(model.encoder), arithmetic.applied(model.decoder)
        self.prior = FactorizedPrior(model.shape.latent).to(self.device)
        named = dict(self.model.named_parameters())
        masks = {name: mask.to(self.device) for name, mask in (masks or {}).items()}
        for name, mask in masks.items():
            fits = name in named and mask.dtype == torch.bool and mask.shape == named[name].shape
            require(fits, f"masks[{name!r}]", "a bool tensor of the shape of that parameter", (mask.dtype, mask.shape))
            with torch.no_grad():
                named[name].mul_(mask)
        named = named | {PRIOR + name: p for name, p in self.prior.named_parameters()}
        self.optimiser = NamedOptimiser(named, descent.optimiser, weight_decay=descent.weight_decay, masks=masks)
        self.identity = {
            "descent": as_dict(descent), "seed": seed, "shape": as_dict(model.shape), "device": self.device.type,
            "pictures": fingerprint({str(i): p for i, p in enumerate(pictures.values())}),
            "masks": hash_of(masks),
            "start": hash_of(dict(self.model.named_parameters())),
        } | as_dict(arithmetic)  # fmt: skip

    # One step ---------------------------------------------------------------------------------------------------------

    def step(self) -> torch.Tensor:
        """Take one step; return the loss before it."""
        host, there = generators(self.seed * 1_000_003 + self.done, self.device)
        x, delta = self._crops(host), self._deltas(there)
        z = self.encode(x)
        noise = torch.rand(z.shape, generator=there, device=self.device) - 0.5
        received, rated = self._quantised(z, noise, delta)
        loss = F.huber_loss(self.decode(received), x)
        if rated is not None:
            bpp = self.prior.bits(rated, delta).sum((1, 2, 3)) / x[0, 0].numel()
            loss = loss + (self.descent.lam * delta.flatten().square() * bpp).mean()
        named, descent = self.optimiser.named, self.descent
        with self.arithmetic.products():
            gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        lr = rate_at(descent.lr, self.done, descent.steps, warmup=descent.warmup, schedule=descent.schedule)
        self.optimiser.step(dict(zip(named, gradients, strict=True)), lr, self.done + 1)
        self.done += 1
        return loss.detach()

    def _crops(self, generator: torch.Generator) -> torch.Tensor:
        """``(batch, 3, crop, crop)`` in [0, 1] from random pictures, places and flips."""
        side, crops = self.descent.crop, []
        for _ in range(self.descent.batch):
            picture = self.pictures[int(torch.randint(len(self.pictures), (), generator=generator))]
            top, left = (int(torch.randint(n - side + 1, (), generator=generator)) for n in picture.shape[:2])
            crop = picture[top : top + side, left : left + side]
            crops.append(crop.flip(1) if torch.rand((), generator=generator) < 0.5 else crop)
        x = torch.stack(crops).permute(0, 3, 1, 2)
        return (x.float() / 255).contiguous(memory_format=torch.channels_last)

    def _deltas(self, generator: torch.Generator) -> torch.Tensor:
        """Steps ``(batch, 1, 1, 1)``, log-uniform."""
        low, high = math.log(self.descent.finest), math.log(self.descent.coarsest)
        drawn = torch.rand(self.descent.batch, 1, 1, 1, generator=generator, device=self.device)
        return (low + (high - low) * drawn).exp()

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

    # Scoring ----------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def score(self) -> dict[str, float]:
        """Mean PSNR in dB and estimated bits per pixel of the validation pictures, rounded at the middle step."""
        delta = math.sqrt(self.descent.finest * self.descent.coarsest)
        psnrs, rates = [], []
        for picture in self.validation:
            x = to_input(picture.numpy(), SCALE, self.device)
            z = torch.round(self.model.encoder(x) / delta) * delta
            rates.append(float(self.prior.bits(z, delta).sum()) / x[0, 0].numel())
            height, width, _ = picture.shape
            shown = (self.model.decoder(z)[0, :, :height, :width].clamp(0, 1) * 255).round()
            mse = float((shown - picture.to(self.device).permute(2, 0, 1)).square().double().mean())
            psnrs.append(10 * math.log10(255**2 / max(mse, 1e-9)))
        return {"psnr": float(np.mean(psnrs)), "estimated_bpp": float(np.mean(rates))}

    def state(self) -> dict[str, torch.Tensor]:
        """The network, the prior, and the moments of the optimiser."""
        return self.optimiser.state()

    @torch.no_grad()
    def histogram(self) -> torch.Tensor:
        """How often the latents of the training pictures fall into each cell (`coding.latents`): ``(C, 512)``."""
        total = torch.zeros(self.model.shape.latent, latents.CELLS, dtype=torch.long)
        for picture in self.pictures:
            z = self.model.encoder(to_input(picture.cpu().numpy(), SCALE, self.device))
            cells = latents.cells_of(z)[0].flatten(1).cpu()
            total += torch.stack([torch.bincount(c, minlength=latents.CELLS) for c in cells])
        return total


def check_pictures(
    pictures: Mapping[str, np.ndarray | torch.Tensor], validation: Mapping[str, np.ndarray], crop: int
) -> None:
    """Refuse pictures to train on that a crop does not fit into, or no pictures at all (`ValueError`)."""
    small = [name for name, picture in pictures.items() if min(picture.shape[:2]) < crop]
    require(not small, "crop", f"at most the sides of {', '.join(small)}", crop)
    for name, given in (("pictures", pictures), ("validation", validation)):
        require(len(given) > 0, name, "at least 1 picture", len(given))


def reduced(picture: np.ndarray, by: int) -> torch.Tensor:
    """A picture uint8 ``(H, W, 3)`` made smaller by averaging ``by x by`` pixels; what is left over is cut off."""
    height, width = (n // by * by for n in picture.shape[:2])
    cells = picture[:height, :width].reshape(height // by, by, width // by, by, 3)
    return torch.from_numpy(np.rint(cells.mean((1, 3))).astype(np.uint8))


def generators(seed: int, device: torch.device) -> tuple[torch.Generator, torch.Generator]:
    """What a step draws from: places of crops on the host, noise on the device. On a CPU they are one generator."""
    host = torch.Generator().manual_seed(seed)
    return host, host if device.type == "cpu" else torch.Generator(device).manual_seed(seed)
