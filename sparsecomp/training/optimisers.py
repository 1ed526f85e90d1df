"""Learning rates and optimisers: Adam and SOAP for batches of small networks, Adam and Muon for one large one.

A batch of independent fits has parameters ``(B, P)``, one learning rate and one clock a fit. The state of these
optimisers is a flat dictionary of tensors whose first dimension is the fit, so that it can be written to a file, read
back to the same bits, and reset for one fit alone (`reset`) without touching its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch

from sparsecomp.models.siren import Architecture, layers

Tensors = dict[str, torch.Tensor]
Turn = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def rate_at(lr: float, age: int, steps: int, *, warmup: int, schedule: str) -> float:
    """Return the learning rate of one step: a linear warm-up, then the schedule.

    Parameters
    ----------
    lr : float
        The peak.
    age, steps : int
        Steps since the schedule began, and steps that it takes.
    schedule : {"constant", "cosine", "quadratic"}
        ``1``, ``(1 + cos(pi t)) / 2`` or ``(1 - t)^2`` of the peak, with ``t = age / steps``. Any other name is
        constant here, and changes the rate by other means (`Plateau`).
    """
    warm = lr * min(1.0, (age + 1) / max(1, warmup))
    if schedule == "cosine":
        return warm * (0.5 + 0.5 * math.cos(math.pi * age / steps))
    return warm * (1 - age / steps) ** 2 if schedule == "quadratic" else warm


def adam_moments(
    m: torch.Tensor,
    v: torch.Tensor,
    gradient: torch.Tensor,
    clock: torch.Tensor | int,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Update both moments of Adam (Kingma & Ba 2015, algorithm 1) in place; return ``m_hat`` and ``sqrt(v_hat) + eps``.

    ::

        m <- b1 m + (1 - b1) g;   v <- b2 v + (1 - b2) g^2;   theta <- theta - lr m_hat / (sqrt(v_hat) + eps)
    """
    b1, b2 = betas
    m.lerp_(gradient, 1 - b1)
    v.mul_(b2).addcmul_(gradient, gradient, value=1 - b2)
    return m / (1 - b1**clock), (v / (1 - b2**clock)).sqrt_().add_(eps)


# Batches of small networks --------------------------------------------------------------------------------------------


def column(values: Sequence[float], device: str | torch.device) -> torch.Tensor:
    """Numbers of the host as ``(B, 1)`` on a device, filled in there: to copy a tensor would wait for the device."""
    if len(set(values)) == 1:
        return torch.full((len(values), 1), float(values[0]), device=device)
    return torch.cat([torch.full((1, 1), float(value), device=device) for value in values])


class BatchOptimiser:
    """What the optimisers of batches share: their state, and how one fit's part of it is forgotten.

    The clock counts the steps of each fit. It stays on the host, which decides by it what is due.
    """

    state: Tensors

    def tick(self) -> list[int]:
        """Count a step of every fit; return how many each has taken."""
        return self.state["clock"].add_(1).flatten().int().tolist()

    def reset(self, fit: int) -> None:
        """Forget everything about one fit."""
        for tensor in self.state.values():
            tensor[fit].zero_()


class Adam(BatchOptimiser):
    """Adam (`adam_moments`) for a batch of fits."""

    def __init__(self, parameters: torch.Tensor, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        self.betas = betas
        self.state = {
            "clock": torch.zeros(len(parameters), 1),
            "m": torch.zeros_like(parameters),
            "v": torch.zeros_like(parameters),
        }

    def step(self, parameters: torch.Tensor, gradient: torch.Tensor, lr: torch.Tensor) -> None:
        """Update ``parameters (B, P)`` in place from ``gradient (B, P)`` with the learning rates ``lr (B, 1)``."""
        clock = column(self.tick(), parameters.device)
        mean, root = adam_moments(self.state["m"], self.state["v"], gradient, clock, self.betas)
        parameters.sub_(lr * mean / root)


def turned_by_qr(covariance: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """One step of power iteration: the Q of ``covariance @ basis``, both ``(..., n, n)``. Its columns have any sign."""
    return torch.linalg.qr(covariance @ basis)[0]


def turned_by_cholesky(covariance: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """`turned_by_qr` without QR, which CUDA computes for one matrix after the other (PyTorch issue 143281).

    Shifted Cholesky QR (Fukaya et al. 2020) in float64, with R upper triangular and its diagonal positive::

        X   <- (L / tr L + 1e-10 I) Q                (each column is then scaled to length 1)
        R^T R = X^T X + s I;   X <- X R^-1           (three rounds; s > 0 in the first, 0 in the others)

    Each round keeps the span of the first k columns for every k, as QR does, and brings X closer to orthonormal. A
    covariance of few gradients is singular, and a shift s alone does not repair that. So we add 1e-10 to the
    eigenvalues of L / tr L, far below what float32 resolves. The eigenvectors stay the same, a direction without
    gradients stays where it was, and the condition number of X is about 1e10 at most. Cholesky's factorisation of such
    matrices fails in float32.

    A matrix whose result is not orthonormal keeps its old basis; a covariance that is not finite is such a case.
    Nothing here waits for the device.

    Parameters
    ----------
    covariance : Tensor, shape (..., n, n)
        Symmetric, no eigenvalue below 0.
    basis : Tensor, shape (..., n, n)
        Orthonormal columns.
    """
    n, real = basis.shape[-1], torch.finfo(torch.float64)
    eye = torch.eye(n, dtype=torch.float64, device=basis.device)
    old, c = basis.double(), covariance.double()
    trace = c.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    x = c @ old / trace.clamp(min=real.tiny) + 1e-10 * old
    x = x / torch.linalg.vector_norm(x, dim=-2, keepdim=True)
    shift = 11 * n * (2 * n + 1) * real.eps / 2 * n  # of the paper, with n as a bound on the square of X's norm
    for s in (shift, 0.0, 0.0):
        factor = torch.linalg.cholesky_ex(x.mT @ x + s * eye, upper=True, check_errors=False)[0]
        x = torch.linalg.solve_triangular(factor, x, upper=True, left=False)
    # A failed factorisation shows here, too. Its own report, `info`, would miss a factor that is only inexact.
    orthonormal = (x.mT @ x - eye).abs().amax((-2, -1), keepdim=True) < 1e-6  # False where it is NaN
    return torch.where(orthonormal, x.to(basis.dtype), basis)


class Soap(BatchOptimiser):
    """SOAP (Vyas et al. 2024, algorithm 3): Adam in the eigenbasis of each layer's gradient covariances.

    For the gradient G (out, in + 1) of a layer's [W b], with L and R the running means of G G^T and G^T G::

        Q_L, Q_R <- eigenvectors of L, R             (one step of power iteration, every `every` steps)
        G'       =  Q_L^T G Q_R
        v        <- b2 v + (1 - b2) G'^2             (second moment in the eigenbasis)
        m        <- b1 m + (1 - b1) G                (first moment in the plain basis)
        [W b]    <- [W b] - lr Q_L (Q_L^T m_hat Q_R / (sqrt(v_hat) + eps)) Q_R^T

    The layers of a SIREN are tiny (28x29), so this costs about 0.6 ms a step on one core. As in the
    authors' code the first gradient only fills L and R and moves nothing.

    The first bases come from `torch.linalg.eigh`, which makes the host wait for a GPU, once in a fit and after each
    restart. Later ones come from QR as in the paper (`turned_by_qr`), on CUDA devices from shifted Cholesky QR
    (`turned_by_cholesky`). Both keep the columns in the same order. Their signs differ, which changes nothing: v holds
    squares, and an update passes through each basis twice.

    Parameters
    ----------
    turned : function of (covariance, basis), or None
        Returns the next basis, all ``(fits, layers, n, n)``. None chooses by the device of the parameters.
    """

    def __init__(
        self,
        parameters: torch.Tensor,
        architecture: Architecture,
        betas: tuple[float, float] = (0.95, 0.99),
        covariance_beta: float = 0.95,
        every: int = 10,
        eps: float = 1e-8,
        turned: Turn | None = None,
    ) -> None:
        if turned is None:
            turned = turned_by_cholesky if parameters.device.type == "cuda" else turned_by_qr
        self.architecture, self.betas, self.covariance_beta, self.turned = architecture, betas, covariance_beta, turned
        self.every, self.eps, fits = every, eps, len(parameters)
        shapes = architecture.shapes
        # Layers of one shape are worked on together: the first, all hidden ones, the last.
        self.groups = [g for g in ([0], list(range(1, len(shapes) - 1)), [len(shapes) - 1]) if g]
        self.state = {"clock": torch.zeros(fits, 1)}
        for i, group in enumerate(self.groups):
            (out, inp), n = shapes[group[0]], len(group)
            for name, shape in (
                ("m", (out, inp + 1)),
                ("v", (out, inp + 1)),
                ("L", (out, out)),
                ("R", (inp + 1, inp + 1)),
                ("QL", (out, out)),
                ("QR", (inp + 1, inp + 1)),
            ):
                self.state[f"{name}{i}"] = _zeros(fits, n, *shape, device=parameters.device)

    def step(self, parameters: torch.Tensor, gradient: torch.Tensor, lr: torch.Tensor) -> None:
        """Update ``parameters (B, P)`` in place from ``gradient (B, P)`` with the learning rates ``lr (B, 1)``.

        On a CPU each fit is worked on by itself: the last bits of a matrix product depend on the batch, and a fit is to
        be the same whatever stands beside it. They depend on the number of threads too: see `fit.one_thread_of_torch`.
        """
        ages = self.tick()
        if parameters.device.type != "cpu":
            self._step(parameters, gradient, lr, self.state, ages)
            return
        for part in (slice(fit, fit + 1) for fit in range(len(parameters))):
            state = {name: tensor[part] for name, tensor in self.state.items()}
            self._step(parameters[part], gradient[part], lr[part], state, ages[part])

    def _step(
        self, parameters: torch.Tensor, gradient: torch.Tensor, lr: torch.Tensor, state: Tensors, ages: list[int]
    ) -> None:
        b1, b2 = self.betas
        clock = column(ages, parameters.device)
        # Fits of one age turn their bases together: all of them, but for a batch in which one was restarted.
        together = [slice(None)] if len(set(ages)) == 1 else [slice(fit, fit + 1) for fit in range(len(ages))]
        into, out_of = layers(self.architecture, parameters), layers(self.architecture, gradient)
        taken = (clock - 1).clamp_(min=1).view(-1, 1, 1, 1)  # the first gradient moved nothing and is not counted
        moving = (clock > 1).float() * lr
        for i, group in enumerate(self.groups):
            left, right, m, v = (state[f"{name}{i}"] for name in ("L", "R", "m", "v"))
            basis_left, basis_right = state[f"QL{i}"], state[f"QR{i}"]
            g = torch.stack([torch.cat(out_of[layer], 2) for layer in group], 1)  # (B, layers, out, in + 1)
            left.lerp_(g @ g.mT, 1 - self.covariance_beta)
            right.lerp_(g.mT @ g, 1 - self.covariance_beta)
            for fits in together:
                age = ages[fits][0]
                if age == 1:
                    basis_left[fits] = torch.linalg.eigh(left[fits])[1]
                    basis_right[fits] = torch.linalg.eigh(right[fits])[1]
                elif age < 20 or age % self.every == 0:  # often while young: the covariances still turn fast
                    basis_left[fits] = self.turned(left[fits], basis_left[fits])
                    basis_right[fits] = self.turned(right[fits], basis_right[fits])
            rotated = basis_left.mT @ g @ basis_right
            started = (clock > 1).view(-1, 1, 1, 1)
            m.copy_(torch.where(started, m.lerp(g, 1 - b1), m))
            v.copy_(torch.where(started, v.lerp(rotated * rotated, 1 - b2), v))
            update = basis_left.mT @ m @ basis_right / (1 - b1**taken)
            update = basis_left @ (update / ((v / (1 - b2**taken)).sqrt_().add_(self.eps))) @ basis_right.mT
            for j, layer in enumerate(group):
                weight, bias = into[layer]
                weight.sub_(moving[:, :, None] * update[:, j, :, :-1])
                bias.sub_(moving[:, :, None] * update[:, j, :, -1:])


def _zeros(fits: int, *shape: int, device: torch.device) -> torch.Tensor:
    """Zeros ``(fits, *shape)`` in which every fit begins at a multiple of 64 bytes, as a tensor of its own would: MKL
    promises the same bits only then.
    """
    size = math.prod(shape)
    return torch.zeros(fits, -(-size // 16) * 16, device=device)[:, :size].unflatten(1, shape)


# One large network ----------------------------------------------------------------------------------------------------

PRIOR = "prior."  # names of parameters that say how likely a latent is begin so


class NamedOptimiser:
    """Adam, or Muon for the filters of a network and Adam at a tenth of its rate for the rest.

    Muon (Jordan et al. 2024) steps along the orthogonalised momentum of each layer's weight. Parameters of a prior
    (names that begin with ``prior.``) have Adam at ten times the rate of the rest, and no weight decay.

    Parameters
    ----------
    named : dict of tensors
        Updated in place.
    kind : {"adam", "muon"}
    weight_decay : float
        L2 penalty, its gradient added to the loss's.
    masks : dict of bool tensors
        Which weights may move; parameters that are not named there may.
    """

    def __init__(
        self,
        named: Mapping[str, torch.Tensor],
        kind: str,
        *,
        weight_decay: float = 0.0,
        masks: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        self.named, self.kind, self.weight_decay, self.masks = named, kind, weight_decay, masks or {}
        self.m, self.v = ({name: torch.zeros_like(p) for name, p in named.items()} for _ in range(2))

    def state(self) -> Tensors:
        """The parameters and both moments, by name."""
        m, v = ({f"{kind}.{name}": t for name, t in own.items()} for kind, own in (("m", self.m), ("v", self.v)))
        return {name: p.detach() for name, p in self.named.items()} | m | v

    @torch.no_grad()
    def step(
        self,
        gradients: Mapping[str, torch.Tensor | None],
        lr: float,
        clock: int,
        allowed: torch.Tensor | None = None,
    ) -> None:
        """Take step number ``clock`` (from 1) with the learning rate ``lr``. A gradient of None moves nothing.

        ``allowed``, a truth value on the device, may forbid the step: then nothing changes, and nobody waits to know.
        """
        muon = self.kind == "muon"
        beta = _if(allowed, 0.9, 1.0)
        rest: dict[bool, Tensors] = {False: {}, True: {}}  # those of a prior apart
        for name, parameter in self.named.items():
            gradient, of_prior, mask = gradients[name], name.startswith(PRIOR), self.masks.get(name)
            if gradient is None:
                continue
            if allowed is not None:
                gradient = torch.where(allowed, gradient, 0.0)
            if not of_prior:
                gradient = gradient + _if(allowed, self.weight_decay, 0.0) * parameter
            gradient = gradient if mask is None else gradient * mask
            if muon and parameter.dim() == 4:
                m = self.m[name].mul_(beta).add_(gradient)
                update = orthogonal_filters(gradient + 0.9 * m, transposed=".up" in name)
                update = update if mask is None else update * mask  # orthogonalised, a masked entry is no longer zero
                parameter.sub_(_if(allowed, lr, 0.0) * update)
            else:
                rest[of_prior][name] = gradient
        for of_prior, of in rest.items():
            if of:
                self._adam(of, lr * (0.1 if muon else 1) * (10 if of_prior else 1), clock, allowed)

    def _adam(self, gradients: Tensors, lr: float, clock: int, allowed: torch.Tensor | None) -> None:
        """`adam_moments` and the step of many parameters at once: on a GPU a few kernels for all of them."""
        (b1, b2), eps, given = (0.9, 0.999), 1e-8, list(gradients.values())
        p, m, v = ([of[name] for name in gradients] for of in (self.named, self.m, self.v))
        share = _if(allowed, 1 - b1, 0.0)
        torch._foreach_lerp_(m, given, share if isinstance(share, float) else [share] * len(m))
        torch._foreach_mul_(v, _if(allowed, b2, 1.0))
        torch._foreach_addcmul_(v, given, given, value=1 - b2)
        roots = torch._foreach_sqrt(torch._foreach_div(v, 1 - b2**clock))
        torch._foreach_add_(roots, eps)
        updates = torch._foreach_div(torch._foreach_div(m, 1 - b1**clock), roots)
        torch._foreach_mul_(updates, _if(allowed, lr, 0.0))
        torch._foreach_sub_(p, updates)


def _if(allowed: torch.Tensor | None, then: float, otherwise: float) -> float | torch.Tensor:
    return then if allowed is None else torch.where(allowed, then, otherwise)


class Plateau:
    """A factor on the learning rate, halved when so many epochs in a row have brought no lower mean loss.

    The losses are summed where they are; the sum is read at the end of an epoch.

    Parameters
    ----------
    batches : int
        Steps of an epoch.
    patience : int
        Epochs without a lower loss that pass before the rate falls; 10 in Zhao & Liao (2019).
    """

    def __init__(self, batches: int, patience: int = 10) -> None:
        self.batches, self.patience = batches, patience
        self.total = torch.zeros((), dtype=torch.float64)
        self.lowest, self.waited, self.factor = math.inf, 0, 1.0

    def add(self, loss: float | torch.Tensor, done: int) -> None:
        """Note the loss of step number ``done`` (from 1)."""
        self.total = self.total + loss / self.batches
        if done % self.batches == 0:
            total = float(self.total)
            self.waited = 0 if total < self.lowest else self.waited + 1
            self.lowest, self.total = min(self.lowest, total), torch.zeros((), dtype=torch.float64)
            if self.waited > self.patience:
                self.factor, self.waited = self.factor / 2, 0


def orthogonalised(matrix: torch.Tensor, iterations: int = 5) -> torch.Tensor:
    """The nearest matrix with orthonormal rows or columns, about: all singular values of ``matrix (m, n)`` near 1.

    Newton-Schulz iteration ``X <- a X + b (X X^T) X + c (X X^T)^2 X`` with the coefficients of Muon (Jordan et al.
    2024), which bring singular values into about 0.7 .. 1.2 in five rounds and no nearer. As an update in place of the
    gradient it moves every direction of a layer alike, however weak its gradient is.
    """
    # Below 1e-20 a norm in float32 loses its digits, and then is 0: such a matrix counts as zeros.
    x, tall = matrix / matrix.norm().clamp(min=1e-20), matrix.shape[0] > matrix.shape[1]
    x = x.T if tall else x
    for _ in range(iterations):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if tall else x


def orthogonal_filters(update: torch.Tensor, *, transposed: bool) -> torch.Tensor:
    """`orthogonalised` for a layer's weight, seen as a matrix with one row a filter; taller matrices step farther."""
    filters = update.transpose(0, 1) if transposed else update
    matrix = filters.flatten(1)
    step = orthogonalised(matrix) * max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
    step = step.view(filters.shape)
    return step.transpose(0, 1) if transposed else step
