"""What people install: a wheel, in a folder of its own, far from the clone."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Every codec writes and reads a small picture with nothing but what the wheel holds.
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import sparsecomp
from sparsecomp import codecs, data
from sparsecomp.training.configs import FitBudget
assert sparsecomp.__file__.startswith(sys.argv[1]), sparsecomp.__file__
image = np.ascontiguousarray(data.bundled()["coffee"][100:148, 100:164])
quick = FitBudget(steps=20, lr=2e-3, batch_pixels=256, score_every=10)
for name in codecs.NAMES:
    options = {"budget": quick} if name in ("coin", "loonie") else {}
    measured = codecs.evaluate(codecs.get_codec(name, **options), image, bpp=2.0)
    assert measured.bpp <= 2 and measured.reconstruction.shape == image.shape, name
    print(name)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder that holds the installed wheel and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "wheel", *options, "--wheel-dir", folder, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", *options[:-1], "--target", folder / "site", wheel], check=True)
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"sparsecomp"}, "nothing but the package"
    assert {"sparsecomp/py.typed", "sparsecomp/training/kernel.c"} <= set(names)
    return folder / "site"


def test_wheel_has_every_codec(site, tmp_path):
    from sparsecomp import codecs

    command = [sys.executable, "-I", "-c", PROGRAM, str(site)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(codecs.NAMES)


def test_wheel_has_the_command(site, tmp_path):
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); from sparsecomp.cli import main; sys.exit(main())"
    command = [sys.executable, "-I", "-c", program, str(site)]
    listed = subprocess.run([*command, "data", "list"], cwd=tmp_path, capture_output=True, text=True)
    assert listed.returncode == 0 and "bundled" in listed.stdout, listed.stderr
