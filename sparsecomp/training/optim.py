"""Optimisers over a batch of independent fits: parameters ``(B, P)``, one learning rate and one clock a fit.

The state is a flat dictionary of tensors whose first dimension is the fit, so that it can be written to a file, read
back to the same bits, and reset for one fit alone (`reset`) without touching its neighbours.
"""

from __future__ import annotations

import math

import torch

from sparsecomp.models.siren import Architecture, layers


class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1).

    m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;  theta <- theta - lr m_hat / (sqrt(v_hat) + eps)
    """

    def __init__(self, parameters: torch.Tensor, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> None:
        self.betas, self.eps = betas, eps
        self.state = {
            "clock": torch.zeros(len(parameters), 1),
            "m": torch.zeros_like(parameters),
            "v": torch.zeros_like(parameters),
        }

    def step(self, parameters: torch.Tensor, gradient: torch.Tensor, lr: torch.Tensor) -> None:
        """Update ``parameters (B, P)`` in place from ``gradient (B, P)`` with the learning rates ``lr (B, 1)``."""
        b1, b2 = self.betas
        clock, m, v = self.state["clock"].add_(1).to(parameters.device), self.state["m"], self.state["v"]
        m.lerp_(gradient, 1 - b1)
        v.mul_(b2).addcmul_(gradient, gradient, value=1 - b2)
        parameters.sub_(lr * (m / (1 - b1**clock)) / ((v / (1 - b2**clock)).sqrt_().add_(self.eps)))

    def reset(self, fit: int) -> None:
        """Forget everything about one fit."""
        for tensor in self.state.values():
            tensor[fit].zero_()


class Soap:
    """SOAP (Vyas et al. 2024, algorithm 3): Adam in the eigenbasis of each layer's gradient covariances.

    For the gradient G (out, in + 1) of a layer's [W b], with L and R the running means of G G^T and G^T G::

        Q_L, Q_R <- eigenvectors of L, R             (one step of power iteration with QR, every `every` steps)
        G'       =  Q_L^T G Q_R
        v        <- b2 v + (1 - b2) G'^2             (second moment in the eigenbasis)
        m        <- b1 m + (1 - b1) G                (first moment in the plain basis)
        [W b]    <- [W b] - lr Q_L (Q_L^T m_hat Q_R / (sqrt(v_hat) + eps)) Q_R^T

    The layers of a SIREN are tiny (28x29), so this costs about 0.6 ms a step on one core. As in the
    authors' code the first gradient only fills L and R and moves nothing.
    """

    def __init__(
        self,
        parameters: torch.Tensor,
        architecture: Architecture,
        betas: tuple[float, float] = (0.95, 0.99),
        covariance_beta: float = 0.95,
        every: int = 10,
        eps: float = 1e-8,
    ) -> None:
        self.architecture, self.betas, self.covariance_beta = architecture, betas, covariance_beta
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

        On a CPU each fit is worked on by itself and by one thread: the last bits of a matrix product depend on both,
        and a fit is to be the same whatever stands beside it and however many cores there are.
        """
        if parameters.device.type != "cpu":
            self._step(parameters, gradient, lr, self.state)
            return
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for fit in range(len(parameters)):
                part = slice(fit, fit + 1)
                state = {name: tensor[part] for name, tensor in self.state.items()}
                self._step(parameters[part], gradient[part], lr[part], state)
        finally:
            torch.set_num_threads(threads)

    def _step(
        self, parameters: torch.Tensor, gradient: torch.Tensor, lr: torch.Tensor, state: dict[str, torch.Tensor]
    ) -> None:
        b1, b2 = self.betas
        ages = state["clock"].add_(1).flatten().int().tolist()
        clock = state["clock"].to(parameters.device)
        into, out_of = layers(self.architecture, parameters), layers(self.architecture, gradient)
        taken = (clock - 1).clamp_(min=1).view(-1, 1, 1, 1)  # the first gradient moved nothing and is not counted
        moving = (clock > 1).float() * lr
        for i, group in enumerate(self.groups):
            left, right, m, v = (state[f"{name}{i}"] for name in ("L", "R", "m", "v"))
            basis_left, basis_right = state[f"QL{i}"], state[f"QR{i}"]
            g = torch.stack([torch.cat(out_of[layer], 2) for layer in group], 1)  # (B, layers, out, in + 1)
            left.lerp_(g @ g.mT, 1 - self.covariance_beta)
            right.lerp_(g.mT @ g, 1 - self.covariance_beta)
            for age in set(ages):
                fits = [fit for fit, a in enumerate(ages) if a == age]
                if age == 1:
                    basis_left[fits] = torch.linalg.eigh(left[fits])[1]
                    basis_right[fits] = torch.linalg.eigh(right[fits])[1]
                elif age < 20 or age % self.every == 0:  # often while young: the covariances still turn fast
                    basis_left[fits] = torch.linalg.qr(left[fits] @ basis_left[fits])[0]
                    basis_right[fits] = torch.linalg.qr(right[fits] @ basis_right[fits])[0]
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

    def reset(self, fit: int) -> None:
        """Forget everything about one fit."""
        for tensor in self.state.values():
            tensor[fit].zero_()


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


def _zeros(fits: int, *shape: int, device: torch.device) -> torch.Tensor:
    """Zeros ``(fits, *shape)`` in which every fit begins at a multiple of 64 bytes, as a tensor of its own would: MKL
    promises the same bits only then.
    """
    size = math.prod(shape)
    return torch.zeros(fits, -(-size // 16) * 16, device=device)[:, :size].unflatten(1, shape)
