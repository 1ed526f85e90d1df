"""How long a plan will take on a machine, before it starts: its work, over what a machine does in a second.

::

    seconds = steps (max(2 MACs / rate, bytes / bandwidth) + kernels * launch)

Rates are assumptions until something has run: shares of a card's peak that such small networks reach. What a plan then
took, ended or paused, stands in ``speeds.json`` beside the records, and corrects the estimates of its kind.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from sparsecomp.files import write_atomic
from sparsecomp.training.arithmetic import Arithmetic


@dataclass(frozen=True)
class Cost:
    """The work of a training.

    Attributes
    ----------
    kind : str
        Estimates of one kind share a factor of correction.
    steps : int
    macs : float
        Multiply-accumulates a step, forward and backward.
    bytes : float
        Moved between memory and chip a step.
    kernels : float
        Launched a step.
    saved : int
        Bytes of its checkpoint, about.
    model : int
        Bytes of the model that it leaves, about.
    """

    kind: str
    steps: int
    macs: float
    bytes: float
    kernels: float
    saved: int
    model: int = 0


@dataclass(frozen=True)
class Machine:
    """What a device does, assumed: operations a second by precision, bytes a second, seconds to launch a kernel."""

    rates: dict[str, float]
    bandwidth: float
    launch: float


# A GPU: an H200's 67, 495 and 990 TFLOP/s, of which convolutions and products of 32 to 128 channels reach a third to a
# fifth; 4.8 TB/s; 8 microseconds from Python. A CPU: one core, measured with the trainings on record.
MACHINES = {
    "cuda": Machine({"float32": 2.5e13, "tf32": 1e14, "bfloat16": 2e14}, 2.9e12, 8e-6),
    "cpu": Machine({"float32": 1e11, "bfloat16": 1e11}, 1e12, 1e-6),
}
COMPILED = 0.5  # of kernels and of bytes moved are left where networks are compiled


def seconds(cost: Cost, device: str, arithmetic: Arithmetic, speeds: dict[str, float]) -> float:
    """The estimate; ``speeds`` has for a kind the seconds it took over those first estimated."""
    machine, left = MACHINES[device.partition(":")[0]], COMPILED if arithmetic.compiled else 1.0
    work = max(2 * cost.macs / machine.rates[arithmetic.precision], left * cost.bytes / machine.bandwidth)
    each = work + left * cost.kernels * machine.launch
    return cost.steps * each * speeds.get(key(cost, device, arithmetic), 1.0)


def key(cost: Cost, device: str, arithmetic: Arithmetic) -> str:
    """By what a measured speed is found again."""
    how = " compiled" if arithmetic.compiled else ""
    return f"{cost.kind} {device.partition(':')[0]} {arithmetic.precision}{how}"


def read(out: Path) -> dict[str, float]:
    """The speeds that were measured so far."""
    path = out / "speeds.json"
    return json.loads(path.read_text()) if path.exists() else {}


def note(out: Path, of: str, ratio: float) -> None:
    """Keep one: the measured time over the estimate without any."""
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "speeds.json", json.dumps(read(out) | {of: round(ratio, 4)}, indent=1).encode())
