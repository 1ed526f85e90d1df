"""The one training loop: it counts seconds, keeps the history, saves checkpoints, and pauses.

What differs between the papers is a `Training`: its loss, and what happens between two steps. A training knows no
clock and no file. What a step draws depends on the seed and the number of the step alone, so that on a CPU a training
that was paused ends with the same bits as one that was not.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from sparsecomp.checks import InputError
from sparsecomp.files import atomic_path
from sparsecomp.training.arithmetic import FLOAT32

CHECKPOINT_SECONDS = 60.0
T = TypeVar("T", bound="Training")


class Paused(Exception):
    """The time limit was reached. The state is in a checkpoint, and the same call resumes from it."""


class Training(ABC):
    """What the loop runs.

    Attributes
    ----------
    steps : int
        When it ends.
    score_every : int
        Steps between two scorings; the last step is scored too.
    identity : dict
        All that decides the result. A checkpoint of another identity is refused.
    done : int
        Steps that were taken.
    history : list of dict
        Step, loss and scores of every scoring; the loop appends to it.
    seconds : float
        Wall-clock time of all calls of the loop.
    mends_itself : bool
        Whether it continues after a loss that is not finite. If not, the loop ends it with a `FloatingPointError`,
        before a checkpoint could keep such a state.
    """

    steps: int
    score_every: int
    identity: dict
    mends_itself = False

    def __init__(self) -> None:
        self.done, self.seconds = 0, 0.0
        self.history: list[dict] = []

    @abstractmethod
    def step(self) -> torch.Tensor:
        """Take one step of the optimiser, add 1 to `done`, and return the loss before it.

        The loss is a tensor of no dimension that nobody reads but at a scoring: to read it is to wait for the device.
        """

    @abstractmethod
    def score(self) -> dict:
        """Measure the current state, with ``psnr`` in dB among the numbers."""

    @abstractmethod
    def state(self) -> dict[str, torch.Tensor]:
        """Return the tensors that the next step depends on; a checkpoint is copied into them."""

    def plain(self) -> dict:
        """Return the rest of the state as plain values, by the names of the attributes that hold them."""
        return {"done": self.done, "history": self.history, "seconds": self.seconds}

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        about = json.dumps({"identity": self.identity, "state": self.plain()})
        tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in self.state().items()}
        with atomic_path(path) as beside:
            save_file(tensors, beside, metadata={"about": about})

    @torch.no_grad()
    def load(self, path: Path) -> None:
        """Continue from a checkpoint.

        Raises
        ------
        ValueError
            If the file is broken, belongs to another identity, or holds other tensors; nothing is changed then.
        """
        tensors, plain = self.state(), self.plain()
        try:
            with safe_open(path, "pt") as file:
                about = json.loads(file.metadata()["about"])
                kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            identity, state = about["identity"], {name: about["state"][name] for name in plain}
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"checkpoint {path}: cannot be read ({error}); delete it to start again") from error
        if identity != json.loads(json.dumps(self.identity)):
            raise InputError(f"checkpoint {path}: made by another configuration; delete it to start again")
        if {name: t.shape for name, t in kept.items()} != {name: t.shape for name, t in tensors.items()}:
            raise InputError(f"checkpoint {path}: its tensors are not those of this training; delete it to start again")
        for name, tensor in tensors.items():
            tensor.copy_(kept[name])
        for name, value in state.items():
            setattr(self, name, value)


def run(
    training: T,
    *,
    checkpoint: Path | None = None,
    max_seconds: float | None = None,
    on_score: Callable[[int, dict], None] | None = None,
    enough: Callable[[T], bool] = lambda training: False,
) -> T:
    """Run a training to its end, from its checkpoint if there is one, and return it.

    Parameters
    ----------
    training : Training
    checkpoint : Path, optional
        Where the state is kept, once a minute and at the end. A finished training gives its results at once when it is
        run again, so nothing is lost before its caller has kept them.
    max_seconds : float, optional
        Pause after so much wall-clock time. Needs ``checkpoint``.
    on_score : callable, optional
        Called with the step and the scores at each scoring: progress bars hang here.
    enough : callable, optional
        Stop for good at the first scoring where ``enough(training)`` is true.

    Raises
    ------
    Paused
        After ``max_seconds``.
    ValueError
        If ``max_seconds`` has no checkpoint to pause into, or the checkpoint is of another training.
    """
    if max_seconds is not None and checkpoint is None:
        raise InputError("max_seconds needs a checkpoint to pause into")
    if checkpoint is not None and checkpoint.exists():
        training.load(checkpoint)
        if training.history and training.history[-1]["step"] == training.done and enough(training):
            return training  # it stopped there for good
    # A GPU's TF32 would be in everything but the networks, whose products a training chooses itself: in losses, scores.
    with FLOAT32.products():
        return _run(training, checkpoint, max_seconds, on_score, enough)


def _run(
    training: T, checkpoint: Path | None, max_seconds: float | None, on_score: Callable[[int, dict], None] | None,
    enough: Callable[[T], bool],
) -> T:  # fmt: skip
    begun = saved = time.perf_counter()
    before = training.seconds
    while training.done < training.steps:
        loss = training.step()
        last = training.done == training.steps
        if last or training.done % training.score_every == 0:
            value = read(training, loss)
            scores = training.score()
            training.history.append({"step": training.done, "loss": value} | scores)
            training.seconds = before + time.perf_counter() - begun
            if on_score is not None:
                on_score(training.done, scores)
            if enough(training):
                break
        now = time.perf_counter()
        training.seconds = before + now - begun
        if checkpoint is None or last:
            continue
        out_of_time = max_seconds is not None and now - begun >= max_seconds
        if out_of_time or now - saved >= CHECKPOINT_SECONDS:
            read(training, loss)
            training.save(checkpoint)
            saved = now
        if out_of_time:
            raise Paused(f"at step {training.done} of {training.steps}; state in {checkpoint}")
    if checkpoint is not None:
        training.save(checkpoint)
    return training


def read(training: Training, loss: torch.Tensor) -> float:
    """The loss as a number; `FloatingPointError` if it is not finite and the training cannot mend that."""
    value = float(loss)
    if not math.isfinite(value) and not training.mends_itself:
        raise FloatingPointError(f"the loss is {value} at step {training.done}: the learning rate is too high")
    return value


def hash_of(tensors: dict[str, torch.Tensor]) -> str:
    """Ten hexadecimal digits that name tensors by their names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:10]
