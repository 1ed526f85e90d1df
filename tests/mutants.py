"""Mutation testing: break the library on purpose, one small fault at a time, and see which test notices.

::

    python tests/mutants.py              all mutants that are not known survivors
    python tests/mutants.py --all        known survivors, too
    python tests/mutants.py --only KEY   these
    python tests/mutants.py --list       where each fault goes, without running anything

A mutant is a text and its replacement. The text must occur exactly once in the package, in whichever file: so mutants
still fit after files were renamed or merged. If a text is gone or not unique, the script stops and names the mutant.

Each mutant gets a fresh copy of the tree in a temporary folder; the working tree is only read. The test files that
import the changed module run first, then those that import it by way of other modules. A mutant is killed if a test
fails twice with it (a test of timing may fail once on a busy machine) and passes in a copy without it. Survivors that
we know are listed with a reason in `tests/expected/mutants.txt`. Any other survivor makes the exit status 1; a text
that does not fit makes it 2.

pytest loads this file as a plugin in the copies, to write down the names of the tests that fail.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "sparsecomp"
KNOWN = ROOT / "tests" / "expected" / "mutants.txt"
SLOW = {"test_fuzz.py", "test_notebooks_run.py"}  # minutes each, whatever the mutant
FOLDERS = (PACKAGE, "reproduce", "tests", "results", "notebooks", "sweeps", "book")  # copied, those that there are
REPORT = "MUTANTS_REPORT"  # environment variable: the file that the plugin writes into

# key: (text, replacement). The text occurs once in the whole package. Keep it short, so that it outlives refactoring.
MUTANTS = {
    # metrics ----------------------------------------------------------------------------------------------------------
    "metrics-8-bits-truncated": ("np.rint(np.clip(", "np.floor(np.clip("),
    "metrics-ssim-sample-covariance": ("use_sample_covariance=False", "use_sample_covariance=True"),
    "metrics-ms-ssim-limit": ("< MS_SSIM_SMALLEST_SIDE:", "<= MS_SSIM_SMALLEST_SIDE:"),
    "metrics-bpp-width-only": ("(int(height) * int(width))", "(int(width) * int(width))"),
    "metrics-bd-touching-curves": ("if low >= high:", "if low > high:"),
    # data -------------------------------------------------------------------------------------------------------------
    "data-fingerprint-without-shape": (r"\0{picture.shape}\0", r"\0"),
    "data-hash-not-compared": (".hexdigest() != SETS[name].files[file]:", ".hexdigest() == SETS[name].home:"),
    # complexity -------------------------------------------------------------------------------------------------------
    "complexity-one-layer-more": ("(depth - 1) * width * width", "depth * width * width"),
    "complexity-transposed-as-plain": ("= inputs[0].numel() *", "= output.numel() *"),
    "complexity-live-filters-twice": ("int(taps.any(0).sum())", "int(taps.any(1).sum())"),
    # sparsify ---------------------------------------------------------------------------------------------------------
    "gates-stretch-swapped": ("low, high = self.stretch", "high, low = self.stretch"),
    "gates-open-probability-sign": ("_sigmoid(log_alpha - self.temperature", "_sigmoid(log_alpha + self.temperature"),
    "gates-column-stays": ("after[:, :, None] * before[:, None, :]", "after[:, :, None] * (before[:, None, :] > -1)"),
    "gates-constant-without-frequency": ("torch.sin(architecture.w0 * bias)", "torch.sin(bias)"),
    "lagrangian-descends": ("self.value.add_(self.lr * violation)", "self.value.sub_(self.lr * violation)"),
    "lagrangian-negative-multiplier": ("self.lr * violation).clamp_(min=0)", "self.lr * violation)"),
    "lagrangian-restart-boundary": ("masked_fill_(violation <= 0, 0.0)", "masked_fill_(violation < 0, 0.0)"),
    "magnitude-keeps-smallest": ("flat.abs().argsort(descending=True", "flat.abs().argsort(descending=False"),
    "magnitude-prunes-last-layer": ("pruned[None])[1:-1]", "pruned[None])[1:]"),
    "projections-newton-step": ("bound = means - radius / counts", "bound = means - radius / (counts + 1)"),
    "projections-l21-of-l1-norms": ("_group_norms(v, radius, 2)", "_group_norms(v, radius, 1)"),
    "projections-radius-search-strict": ("if share >= sparsity else", "if share > sparsity else"),
    "admm-top-l-signed": ("flat.abs().argsort(dim=1", "flat.argsort(dim=1"),
    "admm-dual-sign": ("self._stored(self.u + gap)", "self._stored(self.u - gap)"),
    "admm-penalty-without-half": ("/ 2 * self._gap(code, which).square()", "* self._gap(code, which).square()"),
    "surgery-constant-forgotten": ("torch.where(written, 0, bias + constant)", "torch.where(written, 0, bias)"),
    # coding -----------------------------------------------------------------------------------------------------------
    "container-varint-bound": ("while value >= 0x80:", "while value > 0x80:"),
    "container-varint-not-minimal": ("if byte == 0 and shift or value >= 2**32:", "if value >= 2**32:"),
    "container-crc-not-compared": ("if zlib.crc32(body) != checksum:", "if zlib.crc32(body) < 0:"),
    "container-trailing-bytes": ("if declared != there:", "if declared > there:"),
    "entropy-noise-width": ("self._mixed(z - step / 2, sign)", "self._mixed(z - step, sign)"),
    "entropy-cells-not-cut": ("inner = below[cell] + counts[cell] * rest //", "inner = below[cell] + 0 * rest //"),
    "entropy-trailing-zeros-decode": ("same = write(symbols) == data", 'same = write(symbols) == data.rstrip(b"\\0")'),
    "quantize-index-rounded-down": ("torch.log2(step.double())).round()", "torch.log2(step.double())).floor()"),
    "quantize-no-gradient": ("* (theta / step).round() - theta).detach()", "* (theta / step).round() - theta)"),
    "histograms-counts-rounded-up": ("torch.floor((TOTAL", "torch.ceil((TOTAL"),
    "histograms-threshold-excluded": ("_MAGNITUDES >= threshold", "_MAGNITUDES > threshold"),
    "histograms-coarser-by-whole-cells": ("edges // cell, edges % cell", "edges // cell, 0 * edges"),
    "weights-sign-not-carried-on": ("(after[:, order] * sign, after_bias)", "(after[:, order], after_bias)"),
    # models -----------------------------------------------------------------------------------------------------------
    "siren-first-values-without-frequency": ("math.sqrt(6 / inp) / architecture.w0", "math.sqrt(6 / inp)"),
    "siren-span-off-by-one": ("max(width - 1, 1)", "max(width, 1)"),
    "inference-pads-with-zeros": ('mode="replicate"', 'mode="constant"'),
    "inference-strip-without-lower-margin": ("min(length, last + margin)", "min(length, last)"),
    "sparse-cae-margin": ("MARGIN = 12", "MARGIN = 8"),
    "pretrained-variance-not-clamped": ("t.clamp(min=LEAST_VARIANCE) if", "t if"),
    # training ---------------------------------------------------------------------------------------------------------
    "optimisers-adam-bias-correction": ("return m / (1 - b1**clock),", "return m,"),
    "optimisers-broken-basis-kept": ("torch.where(orthonormal, x.to(basis.dtype), basis)", "x.to(basis.dtype)"),
    "optimisers-cholesky-without-sum": (" + 1e-10 * old", ""),
    "optimisers-masked-entry-moves": ("update if mask is None else update * mask", "update"),
    "optimisers-second-moment-not-saved": (".named.items()} | m | v", ".named.items()} | m"),
    "loop-cosine-off-by-one": ("math.pi * age / steps", "math.pi * (age + 1) / steps"),
    "loop-seconds-forgotten": ("before + now - begun", "now - begun"),
    "fit-seed-ignored": ("seed=self.seeds[fit] * 100_003 + number", "seed=number"),
    "fit-mask-not-applied": ("training.parameters *= self.mask", "training.parameters *= 1"),
    "constrained-proxy-ascends": (" if file else self._counted(drawn.detach()) / self.area", ""),
    "constrained-keeps-over-budget": ("if allowed[index] and psnr > fit.best:", "if psnr > fit.best:"),
    "autoencoder-rate-weight": ("delta.flatten().square() * bpp", "delta.flatten() * bpp"),
    "double-descent-second-start-dense": ("mul_(projected.masks[name].to(parameter.device))", "mul_(1)"),
    "cae-admm-z-and-u-not-updated": ("if rests else admm.update(codes)", "if True else admm.update(codes)"),
    "cae-admm-normalisation-not-settled": ("if self.done >= self.descent.settle:", "if self.done < 0:"),
    "kernel-beyond-last-pixel": ("* LANES + j >= pixels) e[j] = 0", "* LANES + j > pixels) e[j] = 0"),
    # codecs -----------------------------------------------------------------------------------------------------------
    "standard-container-not-counted": ("8 * len(data) / pixels <= bpp", "8 * (len(data) - 18) / pixels <= bpp"),
    "standard-height-only": ("if size != declared:", "if size[0] != declared[0]:"),
    "coin-payload-only": ("if 8 * size / (height * width) > bpp:", "if 8 * (size - 26) / (height * width) > bpp:"),
    "cae-admm-over-ceiling": ("for way in (fits, is_written):", "for way in (fits,):"),
    "trained-trailing-zeros": (r' or (len(values) > needed and values.endswith(b"\0"))', ""),
    "trained-pixels-truncated": ("(x.clamp(0, 1) * 255).round()", "(x.clamp(0, 1) * 255)"),
    "codecs-smallest-rate-rounded-down": ("math.ceil(smallest * 1e4)", "math.floor(smallest * 1e4)"),
}  # fmt: skip


# Where a mutant goes --------------------------------------------------------------------------------------------------


class Misfit(Exception):
    """The text of a mutant does not occur exactly once."""


def place_of(key: str) -> Path:
    """The file, relative to the root, that holds the mutant's text."""
    text, found = MUTANTS[key][0], []
    for path in sorted((ROOT / PACKAGE).rglob("*")):
        if path.suffix in (".py", ".c"):
            found += [path.relative_to(ROOT)] * path.read_text().count(text)
    if len(found) != 1:
        raise Misfit(f"mutant {key}: its text occurs {len(found)} times; rewrite it")
    return found[0]


def line_of(key: str, path: Path) -> int:
    before, _, _ = (ROOT / path).read_text().partition(MUTANTS[key][0])
    return before.count("\n") + 1


# Which tests may notice -----------------------------------------------------------------------------------------------


def modules() -> dict[str, Path]:
    """Dotted names of the modules of all packages at the root, and of the files in `tests`, which go by their stem."""
    found = {}
    for package in sorted(path.parent for path in ROOT.glob("*/__init__.py") if path.parent.name != "tests"):
        for path in package.rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.relative_to(ROOT)
    for path in (ROOT / "tests").rglob("*.py"):
        if path.name not in ("__init__.py", Path(__file__).name) and path.parent.name != "book":
            found.setdefault(path.stem, path.relative_to(ROOT))
    return found


def imported(path: Path, known: dict[str, Path]) -> set[str]:
    """The modules among ``known`` that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = path.parent.parts[: len(path.parent.parts) - node.level + 1] if node.level else ()
            base = ".".join([*package, *filter(None, [node.module])])
            names |= {name if (name := f"{base}.{alias.name}") in known else base for alias in node.names}
    return names & set(known)


def stages(changed: Path) -> list[list[str]]:
    """Test files in the order of trying: named after the changed module, others that import it, indirect importers."""
    known = modules()
    readers: dict[str, set[str]] = {name: set() for name in known}
    for name, path in known.items():
        for used in imported(path, known):
            readers[used].add(name)
    module = changed.with_suffix(".py")  # a C source is read by the module of the same name
    distance = {name: 0 for name, path in known.items() if path == module}
    if not distance:
        raise Misfit(f"{changed}: there is no {module}, so its tests cannot be found")
    queue = list(distance)
    for name in queue:
        for reader in readers[name] - set(distance):
            distance[reader] = distance[name] + 1
            queue.append(reader)
    tests = [name for name in distance if name.startswith("test_") and known[name].name not in SLOW]
    tests.sort(key=lambda name: (distance[name], (ROOT / known[name]).stat().st_size))
    direct = [name for name in tests if distance[name] == 1]
    mirrors = [name for name in direct if changed.stem in name]
    others = [name for name in direct if name not in mirrors]
    indirect = [name for name in tests if name not in direct]
    return [[str(known[name]) for name in stage] for stage in (mirrors, others, indirect) if stage]


# One mutant -----------------------------------------------------------------------------------------------------------


def copied(folder: Path) -> Path:
    """A copy of `FOLDERS` and of the files beside them."""
    tree = folder / "tree"
    tree.mkdir()
    for name in FOLDERS:
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "_build"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, tree)
    return tree


def cached(folder: Path) -> Path:
    """A cache of our own with links to what is in the user's: mutants of the C source are compiled into it."""
    sys.path.insert(0, str(ROOT))
    from sparsecomp.data import cache_folder

    cache = folder / "cache"
    cache.mkdir()
    for entry in cache_folder().glob("*"):
        (cache / entry.name).symlink_to(entry.resolve())
    return cache


def failures(folder: Path, tree: Path, chosen: list[str], seconds: float, *, first: bool) -> tuple[list[str], str]:
    """Run tests in a copy; names of the tests that failed (only the first, if asked), and what went wrong otherwise."""
    report = folder / "report"
    report.write_text("")
    path = os.pathsep.join([str(tree), str(tree / "tests")])  # the copy comes before any installed package
    own = {"PYTHONPATH": path, "SPARSECOMP_CACHE": str(folder / "cache"), REPORT: str(report)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", Path(__file__).stem, *chosen]
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(
            command + ["-x"] * first, cwd=tree, env=os.environ | own, stdout=output, stderr=output,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return [], f"stopped after {seconds:.0f} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    failed = report.read_text().splitlines()
    if not failed and status not in (0, 5):  # 5: no test in these files
        tail = " | ".join((folder / "output").read_text().splitlines()[-3:])
        return [], f"pytest ended with {status} and named no test: {tail}"
    return failed, ""


def killer_of(key: str, path: Path, folder: Path, seconds: float) -> tuple[str, str]:
    """The test that notices a mutant, or ""; and a remark."""
    tree = copied(folder)
    try:
        source = (tree / path).read_text()
        (tree / path).write_text(source.replace(*MUTANTS[key]))
        remarks, by_chance = [], []
        for stage in stages(path):
            while True:
                skipped = [f"--deselect={test}" for test in by_chance]
                failed, remark = failures(folder, tree, stage + skipped, seconds, first=True)
                if not failed:
                    remarks.append(remark)
                    break
                if failures(folder, tree, failed[:1], seconds, first=True)[0]:
                    return failed[0], ""
                by_chance.append(failed[0])
        remarks += [f"{test} failed only once" for test in by_chance]
        return "", "; ".join(filter(None, remarks))
    finally:
        shutil.rmtree(tree)


# The plugin that the copies load --------------------------------------------------------------------------------------


def pytest_sessionstart() -> None:
    import sparsecomp

    if ROOT not in Path(sparsecomp.__file__).parents:
        raise RuntimeError(f"{sparsecomp.__file__} is not the copy in {ROOT}")


def pytest_runtest_logreport(report) -> None:
    if report.failed and REPORT in os.environ:
        with open(os.environ[REPORT], "a") as file:
            print(report.nodeid, file=file)


# Command line ---------------------------------------------------------------------------------------------------------


def known_survivors() -> dict[str, str]:
    """Keys and reasons from `tests/expected/mutants.txt`: one ``key: reason`` a line."""
    lines = KNOWN.read_text().splitlines() if KNOWN.exists() else []
    pairs = (line.partition(":") for line in lines if line.strip() and not line.startswith("#"))
    return {key.strip(): reason.strip() for key, _, reason in pairs}


def placed(keys: list[str]) -> Iterator[tuple[str, Path]]:
    """Every mutant and its file; `SystemExit` with status 2, after all of them were looked at, if one does not fit."""
    misfits, found = [], []
    for key in keys:
        try:
            found.append((key, place_of(key)))
        except Misfit as error:
            misfits.append(error)
    for error in misfits:
        print(error, file=sys.stderr)
    if misfits:
        raise SystemExit(2)
    return iter(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", nargs="+", metavar="KEY", help="run these mutants")
    parser.add_argument("--all", action="store_true", help="run known survivors, too")
    parser.add_argument("--list", action="store_true", help="show where each mutant goes, and run nothing")
    parser.add_argument("--seconds", type=float, default=900.0, help="time limit of one run of pytest (900)")
    asked = parser.parse_args()
    known = known_survivors()
    if unknown := [key for key in [*(asked.only or []), *known] if key not in MUTANTS]:
        parser.error(f"no such mutant: {', '.join(unknown)}")
    keys = asked.only or [key for key in MUTANTS if asked.all or asked.list or key not in known]
    mutants = list(placed(keys))
    if asked.list:
        for key, path in mutants:
            print(f"{key:40} {path}:{line_of(key, path)}{'  (known survivor)' if key in known else ''}")
        return 0
    killers: dict[str, str] = {}
    survivors: list[str] = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        folder = Path(name)
        cached(folder)
        for key, path in mutants:
            began = time.monotonic()
            killer, remark = killer_of(key, path, folder, asked.seconds)
            took = f"in {time.monotonic() - began:.0f} s"
            if killer:
                killers[key] = killer
                print(f"{key}: killed by {killer} {took}", flush=True)
            else:
                survivors.append(key)
                print(f"{key}: SURVIVED {took}{f' ({remark})' if remark else ''}", flush=True)
        unsound: set[str] = set()
        if killers:  # the tests that failed must pass without a mutant
            chosen = sorted(set(killers.values()))
            failed, remark = failures(folder, copied(folder), chosen, 4 * asked.seconds, first=False)
            unsound = set(chosen) if remark else set(failed)
            if remark:
                print(f"without a mutant: {remark}")
    for key, killer in killers.items():
        if killer in unsound:
            survivors.append(key)
            print(f"{key}: NOT KILLED, {killer} fails without it, too")
    new = [key for key in survivors if key not in known]
    for key in known:
        if key in killers and key not in survivors:
            print(f"{key} is killed: remove it from {KNOWN.relative_to(ROOT)}")
    killed = len(mutants) - len(survivors)
    print(f"{len(mutants)} mutants: {killed} killed, {len(survivors)} survived, {len(new)} of them new")
    return 1 if new else 0


if __name__ == "__main__":
    sys.exit(main())
