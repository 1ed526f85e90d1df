"""One environment written down three ways: pyproject.toml, requirements.lock, environment.yml; no host is named."""

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
LOCK_LINES = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
LOCK = {canonicalize_name(name): version for name, version in (line.split("==") for line in LOCK_LINES)}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"].values()
LISTED = PROJECT["project"]["dependencies"] + sum(EXTRAS, []) + PROJECT["build-system"]["requires"]
DIRECT = {canonicalize_name(of.name): of for of in map(Requirement, LISTED)}


def test_lock_is_plain_pins_that_meet_the_project_and_are_installed():
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9A-Za-z.]*", line) for line in LOCK_LINES)
    assert not [str(of) for name, of in DIRECT.items() if LOCK.get(name) not in of.specifier]
    installed = {name: importlib.metadata.version(name).split("+")[0] for name in DIRECT}
    assert installed == {name: LOCK[name] for name in DIRECT}


def test_conda_users_get_the_versions_of_the_lock():
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    python, pip = (entry for entry in entries if entry != "pip")
    assert python == f"python{PROJECT['project']['requires-python']}"
    assert dict(line.split("==") for line in pip["pip"]) == {of.name: LOCK[name] for name, of in DIRECT.items()}


def test_front_end_lock_names_no_host_and_checks_every_file():
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    wanted = json.loads((ROOT / "package.json").read_text())["dependencies"]
    assert {name: packages[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert not [name for name, entry in packages.items() if "resolved" in entry]
    assert all(entry["integrity"].startswith("sha512-") for name, entry in packages.items() if name)
