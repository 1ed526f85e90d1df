"""What is kept in `tests/expected/` to compare with: files of every codec, verdicts, and the data behind each figure.

    python tests/goldens.py            makes them anew; refuses a tree with other changes

Goldens change in a commit of their own that says why. They hold on any CPU: symbols are exact, pixels may differ by
1, numbers by a relative 1e-4.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np

from reproduce import claims, tables
from reproduce.records import Records
from sparsecomp import codecs, data, network_weights
from sparsecomp.codecs.base import codec_of
from sparsecomp.codecs.trained import Trained, read_symbols
from sparsecomp.coding.container import Container, unpack
from sparsecomp.training.configs import FitBudget, Sparsity

ROOT = Path(__file__).parents[1]
EXPECTED = Path(__file__).parent / "expected"
FIT = FitBudget(steps=60, lr=2e-3, batch_pixels=256, score_every=20)
# Written once; what is tested is that they decode to the same symbols and pixels, whatever encoders do since.
FILES: dict[str, tuple[str, dict]] = {
    "jpeg": ("jpeg", {"quality": 60}),
    "jpeg2000": ("jpeg2000", {"rate": 1.0}),
    "webp": ("webp", {"quality": 60}),
    "avif": ("avif", {"quality": 50}),
    "jpegxl": ("jpegxl", {"distance": 2.0}),
    "coin": ("coin", {"arch": "3x12", "budget": FIT}),
    "loonie": ("loonie", {"arch": "3x14", "budget": FIT, "bpp": 2.0}),
    "loonie-nonzeros": ("loonie", {"arch": "3x14", "budget": FIT, "bpp": 2.0, "rate": "nonzeros"}),
    "loonie-neurons": (
        "loonie",
        {"arch": "3x14", "budget": FIT, "bpp": 2.0, "sparsity": Sparsity("file", structured=True, log_alpha=-1.55)},
    ),
    "cae": ("cae", {"model": "cae-low-seed-0-desktop-bfloat16"}),
    "cae-admm": ("cae-admm", {"model": "code-keep-10-seed-0-laptop"}),
    "cae-theis": ("cae-theis", {"model": "code-lambda-150-seed-0-laptop", "keep": 0.2}),
}


def picture() -> np.ndarray:
    """The picture of the golden files: 40 x 52 pixels of a bundled photograph."""
    return np.ascontiguousarray(data.bundled()["coffee"][120:160, 150:202])


# Files ----------------------------------------------------------------------------------------------------------------


def symbols_of(container: Container) -> np.ndarray | None:
    """The integers that a file's range coder carries; None where a foreign codec or fp16 weights hold the picture."""
    codec = codec_of(container)
    if codec.name == "loonie" and "values" in container.sections:
        return network_weights.decode(container.sections).symbols.numpy()
    return read_symbols(container)[1] if issubclass(codec, Trained) else None


def make_files(folder: Path) -> None:
    """Write every golden file, and beside it the pixels and symbols that it decodes to."""
    for name, (codec, options) in FILES.items():
        written = codecs.get_codec(codec, **options).encode(picture())
        (folder / f"{name}.spc").write_bytes(written)
        found, symbols = {"pixels": codecs.decode(written)}, symbols_of(unpack(written))
        np.savez_compressed(folder / f"{name}.npz", **found, **({} if symbols is None else {"symbols": symbols}))


# Numbers --------------------------------------------------------------------------------------------------------------


def verdict_rows() -> list[dict]:
    """Every claim as it is weighed today, without the words that explain it."""
    shown = ("key", "published", "ours", "preset", "status")
    return [{name: verdict.row()[name] for name in shown} for verdict in claims.weigh_all()]


def figure_data() -> dict[str, list]:
    """The data of each figure and table."""
    return {key: figure(key) for key in tables.FIGURES}


def figure(key: str) -> list[dict]:
    """The data of one figure or table, with bundled photographs in its pictures whether Kodak is at hand or not."""
    entry = tables.FIGURES[key]
    with mock.patch.object(data, "available", return_value=False):
        rows = entry.function(Records(preset=entry.preset)).rows
    return json.loads(json.dumps(rows, default=plain), parse_float=lambda text: float(f"{float(text):.6g}"))


def plain(value: np.ndarray) -> list[float]:
    """An array by its shape, mean and spread: the pixels of a picture may differ by 1."""
    return [*value.shape, float(value.mean()), float(value.std())]


def write_json(name: str, make: Callable[[], object]) -> None:
    rows = make()
    if isinstance(rows, dict):
        body = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in rows.items())
        (EXPECTED / name).write_text("{\n" + body + "\n}\n")
    else:
        (EXPECTED / name).write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")


def main() -> int:
    changed = subprocess.run(
        ["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    if changed.strip():
        print("the tree has changes: commit them first, goldens change in a commit of their own", file=sys.stderr)
        return 1
    (EXPECTED / "files").mkdir(parents=True, exist_ok=True)
    make_files(EXPECTED / "files")
    write_json("verdicts.json", verdict_rows)
    write_json("figures.json", figure_data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
