"""Training of an autoencoder with a short code: d(x, x_hat), and pruning or a price on the code.

::

    d = 1000 (1 - MS-SSIM) + 1000 (1 - SSIM) + 10^4 MSE + (45 - PSNR)      (the released code's mix; at first 10^5 MSE)

    pruned      d + rho/2 ||Q(z) - Z + U||_F^2, with Z and U updated now and then      (Zhao & Liao 2019, eq. 8 to 11)
    estimated   d + lam bpp, with the bits that a Gaussian scale mixture estimates     (Theis et al. 2017)
    projected   d, where the decoder is given the projection of Q(z): after ADMM, or in its place
    neither     d

In training Q rounds up or down at random, its gradient that of its mean (`stochastic_round`); in use it rounds to the
nearest. ADMM's own updates take the code as it is in use. MS-SSIM has a window of 7 pixels here, because crops of 128
are too small for the usual one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from pytorch_msssim import ms_ssim, ssim
from torch import nn

from sparsecomp import metrics
from sparsecomp.checks import in_range, refuse, require
from sparsecomp.coding.priors import ScaleMixture
from sparsecomp.data import fingerprint
from sparsecomp.models.cae_admm import SCALE, CaeAdmm, calibrate
from sparsecomp.models.inference import channels_last, to_input
from sparsecomp.options import as_dict
from sparsecomp.sparsify.admm import Z_UPDATES, Admm, balancing, projected, top_l
from sparsecomp.training.arithmetic import FLOAT32, Arithmetic
from sparsecomp.training.autoencoder import check_pictures, generators
from sparsecomp.training.configs import CodeDescent, Pruning
from sparsecomp.training.crops import FixedCrops, FreshCrops, Places
from sparsecomp.training.loop import Training, hash_of
from sparsecomp.training.optimisers import PRIOR, NamedOptimiser, Plateau, rate_at

RELEASED_DIVISOR = 20  # by which the released code divides the mean code
RHO_SPAN = 100.0  # how far rho may go from its first value, as a factor


def stochastic_round(t: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """``floor(t) + eps``, eps in {0, 1} with the mean ``t - floor(t)`` (eq. 3), and a gradient of 1 (eq. 4).

    ``uniform``, of t's shape and in [0, 1), is what eps is drawn with.
    """
    return t + (torch.floor(t + uniform) - t).detach()


def mix(x: torch.Tensor, reconstruction: torch.Tensor) -> torch.Tensor:
    """The distortion ``1000 (1 - MS-SSIM) + 1000 (1 - SSIM) + 10^4 MSE + (45 - PSNR)``, mean over a batch.

    Both ``(B, 3, H, W)``, x in [0, 1], sides of at least 104 pixels. SSIM has its usual window of 11 pixels, MS-SSIM
    one of 7.
    """
    squared = (reconstruction - x).square().mean((1, 2, 3))
    psnr = -10 * torch.log10(squared.clamp(min=1e-10)).mean()
    structure = ssim(reconstruction, x, data_range=1) + ms_ssim(reconstruction, x, data_range=1, win_size=7)
    return 1000 * (2 - structure) + 1e4 * squared.mean() + 45 - psnr


class CodeTraining(Training):
    """One training of a CAE-ADMM network.

    Parameters
    ----------
    model : CaeAdmm
        Trained in place; its first values are what it holds.
    pictures : mapping of str to uint8 array (H, W, 3)
        To train on; each side at least ``descent.crop``.
    validation : mapping of str to uint8 array
        Scored now and then; nothing is chosen by it here. Each side at least 161 pixels.
    descent : CodeDescent
    pruning : Pruning, optional
        Prune the codes.
    lam : float
        Price of an estimated bit per pixel; 0 trains no estimate.
    seed : int
        Of the crops, their order, and what the quantiser draws. (The model's first values are the model's.)
    device : str
    arithmetic : Arithmetic
        Of encoder and decoder while they are trained; scores and ADMM's updates are float32.

    Attributes
    ----------
    crops : `FixedCrops` or `FreshCrops`
    admms : list of Admm
        Z and U: one for fixed crops, one for each size of picture for fresh ones.
    residuals : list
        ``[step, primal, dual, share of zeros, rho]`` after each of ADMM's updates (`Admm.update`); where Z and U rest,
        as often, with 0 for the dual one. Zeros are of the codes of all crops, not of Z.
    skipped : int
        Steps whose gradient was not finite, and which changed nothing: one crop is not to end a training of hours.

    Raises
    ------
    ValueError
        If a picture is smaller than the crop (to score: than 161 pixels), there is none, or both ways to a short code
        are asked for.
    """

    def __init__(
        self,
        model: CaeAdmm,
        pictures: Mapping[str, np.ndarray],
        validation: Mapping[str, np.ndarray],
        descent: CodeDescent,
        *,
        pruning: Pruning | None = None,
        lam: float = 0.0,
        seed: int = 0,
        device: str | torch.device = "cpu",
        arithmetic: Arithmetic = FLOAT32,
    ) -> None:
        in_range("lam", lam, 0)
        require(pruning is None or not lam, "lam", "0 where codes are pruned", lam)
        check_pictures(pictures, validation, descent.crop)
        least = metrics.MS_SSIM_SMALLEST_SIDE
        if small := [name for name, picture in validation.items() if min(picture.shape[:2]) < least]:
            refuse("validation", f"pictures of at least {least} pixels a side", ", ".join(small))
        if pruning is not None and pruning.penalty == "norm":  # of a batch, whose codes must lie in one tensor
            apart = descent.crops == "fresh" and pruning.state == "per_code"
            require(not apart, "penalty", "square where fresh crops have Z of their own", pruning.penalty)
        super().__init__()
        arithmetic.check(device)
        self.descent, self.steps, self.score_every = descent, descent.steps, descent.score_every
        self.seed, self.device, self.pruning, self.lam = seed, torch.device(device), pruning, lam
        self.model, self.arithmetic = channels_last(model, self.device), arithmetic
        self.encode, self.decode = arithmetic.applied(model.encoder), arithmetic.applied(model.decoder)
        self.normalisations = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
        for layer in self.normalisations:
            layer.momentum = descent.momentum
        self.prior = ScaleMixture(model.shape.latent).to(self.device) if lam else None
        named = dict(self.model.named_parameters())
        if self.prior is not None:
            named |= {PRIOR + name: p for name, p in self.prior.named_parameters()}
        self.optimiser = NamedOptimiser(named, descent.optimiser, weight_decay=descent.weight_decay)
        self.pictures, self.validation = list(pictures.values()), list(validation.values())
        kind = FreshCrops if descent.crops == "fresh" else FixedCrops
        self.crops = kind(self.pictures, descent, seed, self.device)
        if descent.start == "dct":
            calibrate(model, _input(next(iter(self.crops.one_of_each(torch.Generator().manual_seed(seed))))))
        self.admms = self._admms()
        self.residuals: list[list[float]] = []
        self._skipped = torch.zeros((), dtype=torch.int64, device=self.device)
        self.batches = self.crops.count // descent.batch  # of an epoch
        self.plateau = Plateau(self.batches)
        self.identity = {
            "descent": as_dict(descent), "pruning": as_dict(pruning) if pruning else None, "lam": lam, "seed": seed,
            "shape": as_dict(model.shape), "device": self.device.type,
            "pictures": fingerprint({str(i): p for i, p in enumerate(self.pictures)}),
            "start": hash_of(dict(model.named_parameters())),
        } | as_dict(arithmetic)  # fmt: skip

    def _admms(self) -> list[Admm]:
        if self.pruning is None:
            return []
        project, keep = Z_UPDATES[self.pruning.z_update], self.pruning.keep
        if self.pruning.state == "per_code":
            codes, dtype = self.crops.codes, torch.float32 if self.pruning.balance else torch.int16
        else:  # a mean of codes is no integer
            codes, dtype = [(1, self.descent.crop // SCALE, self.descent.crop // SCALE)], torch.float32
        return [
            Admm((count, self.model.shape.latent, *places), self.pruning.rho, lambda v: project(v, keep), self.device,
                 dtype) for count, *places in codes
        ]  # fmt: skip

    @property
    def rests(self) -> bool:
        """Do Z and U rest by now?"""
        return self.pruning is not None and self.pruning.until is not None and self.done >= self.pruning.until

    @property
    def projects(self) -> bool:
        """Is a code projected by now, on its way to the decoder?"""
        return self.rests and self.pruning is not None and self.pruning.then == "projection"

    @property
    def admm(self) -> Admm | None:
        """Z and U, where there is one pair."""
        return self.admms[0] if len(self.admms) == 1 else None

    # One step ---------------------------------------------------------------------------------------------------------

    def step(self) -> torch.Tensor:
        """Take one step, and ADMM's updates where they are due; return the loss before it."""
        self.model.train()
        rests, projects = self.rests, self.projects
        if self.done >= self.descent.settle:
            for layer in self.normalisations:
                layer.eval()
        host, generator = generators(self.seed * 1_000_003 + self.done, self.device)
        drawn, places = self.crops.drawn(self._which(), host)
        x = _input(drawn)
        z = self.encode(x)
        code = stochastic_round(z, torch.rand(z.shape, generator=generator, device=self.device))
        if projects:
            assert self.pruning is not None
            code = projected(code, self.pruning.keep)
        reconstruction = self.decode(code)
        if self.done < self.descent.mse_steps:
            loss = 1e5 * (reconstruction - x).square().mean()
        else:
            loss = mix(x, reconstruction)
            if self.pruning is not None and not projects:
                loss = loss + self._penalty(code, places)
        if self.prior is not None:
            noise = torch.rand(z.shape, generator=generator, device=self.device) - 0.5
            loss = loss + self.lam * self.prior.bits(code, noise).sum() / (len(x) * x[0, 0].numel())
        named = self.optimiser.named
        with self.arithmetic.products():
            gradients = torch.autograd.grad(loss, list(named.values()))
        sound = torch.stack([gradient.isfinite().all() for gradient in gradients]).all()
        self.optimiser.step(dict(zip(named, gradients, strict=True)), self._rate(), self.done + 1, allowed=sound)
        self._skipped += ~sound
        self.done += 1
        if self.descent.schedule == "plateau":
            self.plateau.add(loss.detach().double(), self.done)
        if self.pruning is not None and not projects and self.done % self.pruning.interval == 0:
            self._prune(rests)
        return loss.detach()

    def _which(self) -> torch.Tensor:
        """The crops of this step; once through all that fill batches, in a new order, is an epoch."""
        epoch, batch = divmod(self.done, self.batches)
        _, order = generators(self.seed * 7_368_787 + epoch, self.crops.order_on)
        drawn = torch.randperm(self.crops.count, generator=order, device=self.crops.order_on)
        return drawn[batch :: self.batches][: self.descent.batch]

    def _penalty(self, code: torch.Tensor, places: Places) -> torch.Tensor:
        assert self.pruning is not None  # the caller asks only where codes are pruned
        if self.pruning.state == "data_set":
            places = torch.zeros(len(code), dtype=torch.int64, device=self.device)
        if isinstance(places, list):
            each = [self.admms[place.group].penalty(own, place.part).sum()
                    for own, place in zip(code, places, strict=True)]  # fmt: skip
            return torch.stack(each).mean()
        if self.pruning.penalty == "norm":
            return self.admms[0].penalty_norm(code, places)
        return self.admms[0].penalty(code, places).mean()

    @torch.no_grad()
    def _prune(self, rests: bool) -> None:
        """ADMM's updates of Z, U and rho, with the codes of all crops, or of whole pictures, rounded as in use; where
        Z and U rest, only how far the codes are from Z.
        """
        assert self.pruning is not None
        self.model.eval()
        squares, zeros, entries = np.zeros(2), 0.0, 0
        host = torch.Generator().manual_seed(self.seed * 5_000_011 + self.done)
        every = self.crops.whole() if self.pruning.state == "per_code" else [self.crops.one_of_each(host)]
        for admm, pictures in zip(self.admms, every, strict=True):
            codes = torch.cat([self.model.encoder(_input(part)).round() for part in pictures])
            zeros += float(codes.eq(0).float().mean()) * codes.numel()
            entries += codes.numel()
            if self.pruning.state == "data_set":
                codes = codes.mean(0, keepdim=True) / (RELEASED_DIVISOR if self.pruning.z_update == "released" else 1)
            found = (float((codes - admm.z).norm()) / math.sqrt(codes.numel()), 0.0) if rests else admm.update(codes)
            squares += np.square(found) * codes.numel()
        of = sum(admm.z.numel() for admm in self.admms)
        primal, dual = found if len(self.admms) == 1 else np.sqrt(squares / of).tolist()
        self.residuals.append([self.done, round(primal, 5), round(dual, 5), round(zeros / entries, 5), self.rho])
        if self.pruning.balance and not rests:
            factor = balancing(primal, dual)
            if 1 / RHO_SPAN <= factor * self.rho / self.pruning.rho <= RHO_SPAN:
                for admm in self.admms:
                    admm.rescale(factor)

    @property
    def rho(self) -> float:
        """The penalty; it changes where it is balanced."""
        return self.admms[0].rho if self.admms else 0.0

    @rho.setter
    def rho(self, value: float) -> None:
        for admm in self.admms:
            admm.rho = value

    def _rate(self) -> float:
        descent = self.descent
        lr = rate_at(descent.lr, self.done, descent.steps, warmup=descent.warmup, schedule=descent.schedule)
        return lr * (self.plateau.factor if descent.schedule == "plateau" else 1)

    # Scoring ----------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def score(self) -> dict[str, float]:
        """Of the validation pictures, codes rounded: PSNR in dB, estimated bits per pixel (the entropy of each
        channel's own symbols), SSIM, MS-SSIM, and the share of zeros. Means over pictures, the last two over entries.
        """
        self.model.eval()
        measured, codes, pixels = [], [], 0
        for picture in self.validation:
            height, width, _ = picture.shape
            code = self._in_use(picture)
            shown = self.model.decoder(code)[0, :, :height, :width].permute(1, 2, 0).cpu().numpy()
            pair = {"reference": picture, "reconstruction": metrics.to_uint8(shown)}
            measured.append([metrics.psnr(**pair), metrics.ssim(**pair), metrics.ms_ssim(**pair)])
            codes.append(code[0].flatten(1).cpu())
            pixels += height * width
        psnr, ssim_, ms_ssim_ = map(float, np.mean(np.array(measured, dtype=float), 0))
        code = torch.cat(codes, 1)
        return {
            "psnr": psnr, "estimated_bpp": entropy_of(code) / pixels, "ssim": ssim_, "ms_ssim": ms_ssim_,
            "zeros": float((code == 0).float().mean()),
        }  # fmt: skip

    @torch.no_grad()
    def codes(self) -> list[torch.Tensor]:
        """The codes int32 ``(C, h, w)`` of the whole training pictures, as they are in use."""
        self.model.eval()
        return [self._in_use(picture)[0].to(torch.int32).cpu() for picture in self.pictures]

    def _in_use(self, picture: np.ndarray) -> torch.Tensor:
        """The code ``(1, C, h, w)`` of a whole picture: rounded, and projected if training projects by now."""
        code = self.model.encoder(to_input(picture, SCALE, self.device)).round()
        return top_l(code, self.pruning.keep) if self.pruning is not None and self.projects else code

    # Checkpoints ------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, torch.Tensor]:
        """The network with its running statistics, the prior, the moments of the optimiser, Z and U."""
        found = self.optimiser.state() | dict(self.model.named_buffers())
        for number, admm in enumerate(self.admms):
            tail = str(number) if len(self.admms) > 1 else ""
            found |= {f"Z{tail}": admm.z, f"U{tail}": admm.u}
        return found

    def plain(self) -> dict:
        """The rest of the state."""
        names = ("residuals", "skipped", "plateau_state", *(("rho",) if self.pruning and self.pruning.balance else ()))
        own = {name: getattr(self, name) for name in names}
        return super().plain() | own

    @property
    def skipped(self) -> int:
        """How many steps changed nothing, because a gradient was not finite."""
        return int(self._skipped)

    @skipped.setter
    def skipped(self, value: int) -> None:
        self._skipped.fill_(value)

    @property
    def plateau_state(self) -> dict:
        """What the schedule "plateau" knows."""
        return vars(self.plateau) | {"total": float(self.plateau.total)}

    @plateau_state.setter
    def plateau_state(self, values: dict) -> None:
        vars(self.plateau).update(values | {"total": torch.tensor(values["total"], dtype=torch.float64)})


def _input(crops: torch.Tensor) -> torch.Tensor:
    return (crops.float() / 255).contiguous(memory_format=torch.channels_last)


def entropy_of(code: torch.Tensor) -> float:
    """Bits of integers ``(C, n)`` if each channel had the best table for just these: an estimate, and no file."""
    total = 0.0
    for channel in code:
        counts = channel.unique(return_counts=True)[1].double()
        total -= float((counts * torch.log2(counts / counts.sum())).sum())
    return total
