"""Small autoencoders of CAE-ADMM for tests, drawn or trained for a second."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F

from sparsecomp.coding import integer_latents
from sparsecomp.data import bundled
from sparsecomp.models import pretrained
from sparsecomp.models.cae_admm import SCALE, CaeAdmm, Shape
from sparsecomp.models.inference import to_input

ABOUT = {"codec": "cae-admm", "search": True}


@torch.no_grad()
def model(seed: int = 0, width: int = 8, latent: int = 3, depth: int = 2, spread: float = 4.0) -> CaeAdmm:
    """As if trained: every block does something, and the running statistics are those of a picture, by and large.

    ``spread`` is the standard deviation of the code.
    """
    made, generator = CaeAdmm(Shape(width, latent, depth), seed), torch.Generator().manual_seed(seed)
    for name, tensor in made.state_dict().items():
        if name.endswith("1.weight") and tensor.dim() == 1 and len(tensor) > 1:
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        elif name.endswith("1.bias"):
            tensor.copy_(0.2 * torch.randn(tensor.shape, generator=generator))
    for layer in made.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    made.train()
    made.decoder(made.encoder(to_input(bundled()["coffee"][:120, :160], SCALE)))
    made.encoder[-1][1].weight.mul_(spread)
    made.decoder[0][0].weight.div_(spread)
    return made.eval()


@torch.no_grad()
def counts(of: CaeAdmm) -> torch.Tensor:
    code = of.eval().encoder(to_input(bundled()["coffee"][:200, :200], SCALE)).round()
    return integer_latents.counts_of(integer_latents.histogram_of(code))


def write(folder: Path, name: str, seed: int = 0, latent: int = 3, spread: float = 4.0, **about: object) -> Path:
    made = model(seed, latent=latent, spread=spread)
    path = folder / f"{name}.safetensors"
    pretrained.save(path, made, counts(made), ABOUT | about)
    return path


def train(folder: Path, name: str, latent: int, steps: int = 60, **about: object) -> Path:
    """By the mean squared error alone, rounding passed straight through."""
    made, generator = CaeAdmm(Shape(8, latent, 1)), torch.Generator().manual_seed(0)
    x = to_input(bundled()["coffee"][:320, :320], SCALE)
    crops = x.unfold(2, 64, 64).unfold(3, 64, 64).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
    optimiser = torch.optim.Adam(made.parameters(), 1e-2)
    for _ in range(steps):
        batch = crops[torch.randint(len(crops), (4,), generator=generator)]
        z = made.encoder(batch)
        optimiser.zero_grad()
        F.mse_loss(made.decoder(z + (z.round() - z).detach()), batch).backward()
        optimiser.step()
    with torch.no_grad():  # the running statistics of so few steps lag behind
        for layer in made.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = 1.0
        made.decoder(made.encoder(x).round())
    pretrained.round_(made)
    path = folder / f"{name}.safetensors"
    pretrained.save(path, made, counts(made), ABOUT | about)
    return path
