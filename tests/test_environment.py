"""One environment told three ways: pyproject.toml, requirements.lock, environment.yml; no host is named."""

from __future__ import annotations

import importlib.metadata
import json
import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK_TEXT = (ROOT / "requirements.lock").read_text()
LOCK_LINES = [line for line in LOCK_TEXT.splitlines() if not line.startswith("#")]
LOCK = {canonicalize_name(name): version for name, version in (line.split("==") for line in LOCK_LINES)}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())


def direct() -> list[Requirement]:
    """List the requirements of pyproject.toml, extras and build system included."""
    extras = PROJECT["project"]["optional-dependencies"].values()
    listed = PROJECT["project"]["dependencies"] + sum(extras, []) + PROJECT["build-system"]["requires"]
    return [Requirement(text) for text in listed]


def test_lock_is_plain_pins():
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9A-Za-z.]*", line) for line in LOCK_LINES)
    assert LOCK["torch"] == "2.13.0" and "sparsecomp" not in LOCK


def test_lock_meets_the_project():
    unmet = [str(r) for r in direct() if LOCK.get(canonicalize_name(r.name)) not in r.specifier]
    assert not unmet


def test_conda_users_get_the_versions_of_the_lock():
    python, pip = (entry for entry in CONDA["dependencies"] if entry != "pip")
    assert python == f"python{PROJECT['project']['requires-python']}"
    pins = dict(line.split("==") for line in pip["pip"])
    assert pins == {r.name: LOCK[canonicalize_name(r.name)] for r in direct()}


def test_this_environment_is_the_locked_one():
    names = [canonicalize_name(r.name) for r in direct()]
    installed = {name: importlib.metadata.version(name).split("+")[0] for name in names}
    assert installed == {name: LOCK[name] for name in names}


def test_front_end_lock_names_no_host_and_checks_every_file():
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    wanted = json.loads((ROOT / "package.json").read_text())["dependencies"]
    assert {name: packages[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert not [name for name, entry in packages.items() if "resolved" in entry]
    assert all(entry["integrity"].startswith("sha512-") for name, entry in packages.items() if name)
