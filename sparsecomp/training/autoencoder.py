"""Training of an autoencoder: one descent of ``huber(x_hat - x) + lam Delta^2 bpp`` over crops of a set of pictures.

The quantiser is replaced by uniform noise of one step's width (Ballé et al. 2017), or by rounding whose gradient is
passed straight through. The step Delta is drawn anew for every crop, so that one model serves a range of them; lambda
is proportional to Delta^2. Weights may be masked: a masked one starts at zero and never moves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F

from sparsecomp.coding import entropy
from sparsecomp.coding.entropy import FactorizedPrior
from sparsecomp.data import fingerprint
from sparsecomp.models.inference import to_input
from sparsecomp.models.sparse_cae import SCALE, SparseCAE
from sparsecomp.profiles import Descent, as_dict
from sparsecomp.training import checkpoint as checkpoints
from sparsecomp.training.descent import PRIOR, Descending, Masks, reduced


class Training(Descending):
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
        self.seed, self.device = seed, torch.device(device)
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
        masks = {name: mask.to(self.device) for name, mask in (masks or {}).items()}
        for name, mask in masks.items():
            if name not in named or mask.dtype != torch.bool or mask.shape != named[name].shape:
                raise ValueError(f"masks[{name!r}]: a bool tensor of the shape of that parameter is needed")
            with torch.no_grad():
                named[name].mul_(mask)
        super().__init__(descent, named | {PRIOR + name: p for name, p in self.prior.named_parameters()}, masks)
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

    # Scoring ----------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def score(self) -> tuple[float, float]:
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
        return float(np.mean(psnrs)), float(np.mean(rates))

    @torch.no_grad()
    def histogram(self) -> torch.Tensor:
        """How often the latents of the training pictures fall into each cell (`coding.entropy`): ``(C, 512)``."""
        total = torch.zeros(self.model.shape.latent, entropy.CELLS, dtype=torch.long)
        for picture in self.pictures:
            z = self.model.encoder(to_input(picture.numpy(), SCALE, self.device))
            cells = entropy.cells_of(z)[0].flatten(1).cpu()
            total += torch.stack([torch.bincount(c, minlength=entropy.CELLS) for c in cells])
        return total
