"""Compare this tree with another version of the code, bit by bit: trainings, paused trainings, and files.

    python tests/same_bits.py --base REVISION [--only PREFIX]

Both versions run their own `probe.py` on this machine, each with its own code. (The compiled kernel differs from
machine to machine, so no digest of a training can be committed.) Exit status 1 if a value differs or is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def start(tree: Path, out: Path, only: str) -> subprocess.Popen:
    """Start the probe of a tree, which imports nothing but that tree's code."""
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(tree / "tests" / "probe.py"), str(out), only]
    return subprocess.Popen(command, cwd=tree, env=environment, stderr=subprocess.DEVNULL)


def differences(base: dict[str, dict], now: dict[str, dict]) -> list[str]:
    """One line for each case or value that is not the same in both."""
    lines = [f"{case}: missing here" for case in base if case not in now]
    lines += [f"{case}: not in the base" for case in now if case not in base]
    for case in base:
        if case in now and base[case] != now[case]:
            names = sorted({name for name in base[case] | now[case] if base[case].get(name) != now[case].get(name)})
            lines.append(f"{case}: {', '.join(names)}")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", required=True, metavar="REVISION", help="a commit that has tests/probe.py")
    parser.add_argument("--only", default="", metavar="PREFIX", help="cases whose names begin so")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tree, outs = Path(folder) / "base", [Path(folder) / name for name in ("base.json", "now.json")]
        tree.mkdir()
        archive = subprocess.run(["git", "archive", given.base], cwd=ROOT, capture_output=True, check=True).stdout
        subprocess.run(["tar", "-x", "-C", str(tree)], input=archive, check=True)
        running = [start(tree, outs[0], given.only), start(ROOT, outs[1], given.only)]
        if any([process.wait() for process in running]):
            print("a probe failed: run tests/probe.py by itself to see why", file=sys.stderr)
            return 1
        base, now = (json.loads(out.read_text()) for out in outs)
    lines = differences(base, now)
    print("\n".join(lines) or f"no difference in {len(base)} cases, {sum(map(len, base.values()))} values")
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main())
