"""A sweep as data: a YAML file that names a notebook, a grid over its parameters, and what a row may use.

::

    notebook: 12_loonie_results
    base: {pictures: bundled}            # the same for all rows
    product:                             # every combination
      bpp: [0.15, 0.3]
      seed: {range: [0, 3]}              # 0, 1, 2; a third number is the step
    zip:                                 # in step: the first with the first, and so on
      start: [5x30, 10x28]
      label: [small, large]
    exclude: [{bpp: 0.15, start: 10x28}]
    resources: {cpu: 1, gpu: 0, memory: 2 GiB}
    smoke: {product: {bpp: [0.1]}}       # what is different at preset smoke

A number may be written as in Python (``1e-3``).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from reproduce import notebooks
from sparsecomp.checks import InputError

AXIS = {"anyOf": [
    {"type": "array", "minItems": 1},
    {"type": "object", "required": ["range"], "additionalProperties": False, "properties": {
        "range": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 3}}},
]}  # fmt: skip
AXES = {"type": "object", "additionalProperties": AXIS}
GRID = {
    "base": {"type": "object"}, "product": AXES, "zip": AXES,
    "exclude": {"type": "array", "items": {"type": "object", "minProperties": 1}},
}  # fmt: skip
SCHEMA = {
    "type": "object", "required": ["notebook"], "additionalProperties": False, "properties": GRID | {
        "notebook": {"type": "string"},
        "resources": {"type": "object", "additionalProperties": False, "properties": {
            "cpu": {"type": "integer", "minimum": 1}, "gpu": {"type": "integer", "minimum": 0, "maximum": 1},
            "memory": {"type": "string"}}},
        "smoke": {"type": "object", "additionalProperties": False, "properties": GRID},
    },
}  # fmt: skip
UNITS = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")  # YAML 1.1 reads 1e-3 as text
NAME_LENGTH = 120


@dataclass(frozen=True)
class Row:
    """One run of the notebook.

    Attributes
    ----------
    name : str
        Its values of the axes, fit to be a file's name.
    parameters : dict
        All that replace the notebook's own.
    """

    name: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Grid:
    """A sweep's file, read and checked.

    Attributes
    ----------
    source : Path
        The notebook.
    base : dict
        Parameters of all rows.
    product, zip : dict
        Values by axis: every combination, and in step.
    exclude : tuple of dict
        Rows that have all these values are left out.
    cpu, gpu, memory : int
        Threads, GPUs, and bytes of memory (0: no limit) of a row.
    """

    name: str
    source: Path
    base: dict[str, Any] = field(default_factory=dict)
    product: dict[str, list] = field(default_factory=dict)
    zip: dict[str, list] = field(default_factory=dict)
    exclude: tuple[dict[str, Any], ...] = ()
    cpu: int = 1
    gpu: int = 0
    memory: int = 0

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of what differs between rows."""
        return (*self.product, *self.zip)

    def with_axis(self, name: str, values: list) -> Grid:
        """Replace an axis or a base value, or add one; a value of a zipped axis cannot be replaced alone."""
        if name in self.zip:
            raise InputError(f"--set {name}: it moves in step with {', '.join(set(self.zip) - {name})}")
        base = {key: value for key, value in self.base.items() if key != name}
        return replace(self, base=base, product=self.product | {name: values})

    def rows(self) -> list[Row]:
        """List the rows; `ValueError` if there is none, or two have one name."""
        zipped = [dict(zip(self.zip, values, strict=True)) for values in zip(*self.zip.values(), strict=True)] or [{}]
        found: dict[str, Row] = {}
        for values in itertools.product(*self.product.values()):
            for together in zipped:
                chosen = dict(zip(self.product, values, strict=True)) | together
                row = Row(_name(chosen), self.base | chosen)
                if any(all(row.parameters.get(k) == v for k, v in left_out.items()) for left_out in self.exclude):
                    continue
                if row.name in found:
                    raise InputError(f"sweep {self.name}: two rows have the name {row.name!r}")
                found[row.name] = row
        if not found:
            raise InputError(f"sweep {self.name}: no row is left")
        return list(found.values())


def read(path: Path, preset: str | None = None) -> Grid:
    """Read the file of a sweep.

    Parameters
    ----------
    preset : str, optional
        For the notebook's parameter ``preset``; "smoke" takes the file's part ``smoke``, too.

    Raises
    ------
    ValueError
        If the file cannot be read or does not keep to `SCHEMA`; the message names the place in it.
    """
    try:
        found = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InputError(f"sweep {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"sweep {path}: no YAML: {' '.join(str(error).split())}") from error
    _check(found, path)
    small = found.get("smoke", {}) if preset == "smoke" else {}
    merged = {name: small.get(name, found.get(name, kind())) for name, kind in
              (("product", dict), ("zip", dict), ("exclude", list))}  # fmt: skip
    base = found.get("base", {}) | small.get("base", {}) | ({"preset": preset} if preset else {})
    product, together = ({name: _values(of) for name, of in merged[kind].items()} for kind in ("product", "zip"))
    if len(lengths := {name: len(of) for name, of in together.items()}) and len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InputError(f"sweep {path}: zip: axes of one length are needed, got {said}")
    for one, other in itertools.combinations({"base": base, "product": product, "zip": together}.items(), 2):
        if both := set(one[1]) & set(other[1]):
            raise InputError(f"sweep {path}: {min(both)} stands in {one[0]} and in {other[0]}")
    resources = found.get("resources", {})
    return Grid(
        path.stem, notebooks.find(found["notebook"], beside=path.parent), _plain(base), product, together,
        tuple(map(_plain, merged["exclude"])), resources.get("cpu", 1), resources.get("gpu", 0),
        _bytes(resources["memory"], path) if "memory" in resources else 0,
    )  # fmt: skip


def _check(found: object, path: Path) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    if error := best_match(Draft202012Validator(SCHEMA).iter_errors(found)):
        place = ".".join(map(str, error.absolute_path))
        raise InputError(f"sweep {path}: {place + ': ' if place else ''}{error.message}")


def _values(axis: list | dict) -> list:
    if isinstance(axis, list):
        return [_plain(value) for value in axis]
    start, stop, step = (*axis["range"], 1)[:3]
    if step == 0 or (stop - start) / step <= 0:
        raise InputError(f"range {axis['range']} is empty")
    # Counted, not added up, so that 0.1 to 0.5 has no rounding piled up in it.
    count = int((stop - start) / step - 1e-9) + 1
    return [round(start + i * step, 12) for i in range(count)]


def _plain(value: Any) -> Any:
    """A value of YAML with numbers such as 1e-3 read as Python does."""
    if isinstance(value, Mapping):
        return {key: _plain(of) for key, of in value.items()}
    if isinstance(value, list):
        return [_plain(of) for of in value]
    return float(value) if isinstance(value, str) and NUMBER.fullmatch(value) else value


def _bytes(text: str, path: Path) -> int:
    size = re.fullmatch(r"(\d+(?:\.\d+)?) ?(\w+)", text.strip())
    if not size or size[2] not in UNITS or float(size[1]) <= 0:
        raise InputError(f"sweep {path}: resources.memory: a size such as 2 GiB is needed, got {text!r}")
    return int(float(size[1]) * UNITS[size[2]])


def _name(chosen: dict[str, Any]) -> str:
    words = [f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in chosen.items()]
    name = re.sub(r"[^A-Za-z0-9._=,+-]+", "-", ",".join(words)) or "all"
    if len(name) > NAME_LENGTH:
        raise InputError(f"row {name[:40]}...: a name of at most {NAME_LENGTH} characters is needed")
    return name
