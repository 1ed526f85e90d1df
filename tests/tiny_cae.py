"""Small autoencoders for tests, drawn or trained for a second."""

from __future__ import annotations

from pathlib import Path

import torch

from sparsecomp.coding import latents, priors
from sparsecomp.coding.contexts import Contexts
from sparsecomp.data import bundled
from sparsecomp.models import pretrained
from sparsecomp.models.inference import to_input
from sparsecomp.models.sparse_cae import SCALE, Shape, SparseCAE
from sparsecomp.training.autoencoder import CaeTraining
from sparsecomp.training.configs import Descent

ABOUT = {"finest": 1 / 64, "coarsest": 1 / 16, "search": True}


@torch.no_grad()
def model(seed: int = 0, width: int = 8, latent: int = 3) -> SparseCAE:
    """Every weight is drawn, so that the layers look as far as they can; the signal keeps its size."""
    made, generator = SparseCAE(Shape(width, latent)), torch.Generator().manual_seed(seed)
    for name, parameter in made.named_parameters():
        scale = 1.4 / parameter[0].numel() ** 0.5 if parameter.dim() > 1 else 0.02
        parameter.copy_(
            (3 if name == "encoder.conv3.weight" else 1) * scale * torch.randn(parameter.shape, generator=generator)
        )
    return made


@torch.no_grad()
def counts(of: SparseCAE) -> torch.Tensor:
    cells = latents.cells_of(of.encoder(to_input(bundled()["coffee"][:200, :200], SCALE)))[0].flatten(1)
    histogram = torch.stack([torch.bincount(c, minlength=latents.CELLS) for c in cells])
    return latents.counts_of(priors.FactorizedPrior(of.shape.latent), histogram)


@torch.no_grad()
def contexts(of: SparseCAE) -> Contexts:
    z = of.encoder(to_input(bundled()["coffee"][:200, :200], SCALE))[0]
    return Contexts.fit([latents.quantise(z, step).numpy() for step in (256, 1024)])


def write(
    folder: Path, name: str, seed: int = 0, width: int = 8, latent: int = 3, coded: str = "tables", **about: object
) -> Path:
    made = model(seed, width, latent)
    path = folder / f"{name}.safetensors"
    pretrained.save(path, made, counts(made), ABOUT | about, contexts(made) if coded == "contexts" else None)
    return path


def train(folder: Path, name: str, latent: int, **about: object) -> Path:
    descent = Descent(steps=60, batch=4, crop=32, reduce=1, lr=3e-3, warmup=5)
    coffee = {"coffee": bundled()["coffee"]}
    training = CaeTraining(SparseCAE(Shape(8, latent)), coffee, coffee, descent)
    for _ in range(descent.steps):
        training.step()
    path = folder / f"{name}.safetensors"
    pretrained.save(path, training.model, latents.counts_of(training.prior, training.histogram()), ABOUT | about)
    return path
