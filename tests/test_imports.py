"""The order of both packages: a module imports from lines above its own or from its own line, never in a circle."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAPERS = ("loonie", "sparse_cae", "cae_admm")
# From the first line to the last; a module imports from lines above its own, or from its own.
ORDER = [
    {f"sparsecomp.{name}" for name in ("checks", "options", "files", "data", "metrics", "complexity")},
    {"sparsecomp.coding"},
    {"sparsecomp.models"},
    {"sparsecomp.sparsify"},
    {"sparsecomp.network_weights"},
    {"sparsecomp.training"},
    {"sparsecomp.codecs"},
    {"sparsecomp.report"},
    {"sparsecomp.cli"},
    {"reproduce.revision", "reproduce.sparse_weights"},
    {"reproduce.records", "reproduce.cluster"},
    {"reproduce.figure_data", "reproduce.estimates"},
    {"reproduce.runner", "reproduce.bench"},
    {"reproduce.pictures"},
    {"reproduce.models"},
    {"reproduce.papers.baselines"},
    {"reproduce.papers.cae_admm.released"},
    {f"reproduce.papers.{paper}.plans" for paper in PAPERS},
    {"reproduce.papers.cae_admm.in_use"},
    *({f"reproduce.papers.{paper}.{part}" for paper in PAPERS} for part in ("measures", "figures")),
    {"reproduce.papers"},
    {"reproduce.studies"},
    {"reproduce.claims", "reproduce.queue"},
    {"reproduce.plot"},
    {"reproduce.tables", "reproduce.drawings", "reproduce.notebooks"},
    {"reproduce.widgets", "reproduce.grid", "reproduce.row"},
    {"reproduce.sweep", "reproduce.progress"},
    {"reproduce.sweep_report", "reproduce.sweep_bench"},
    {"reproduce.cli", "reproduce.__main__"},
]
LINE = {name: line for line, names in enumerate(ORDER, 1) for name in names}
# With all that stands above: what a machine that only computes needs.
COMPUTES = {"sparsecomp.cli", "reproduce.claims", "reproduce.queue"}
LIGHTEST = max(LINE[name] for name in COMPUTES)

# What such a machine has.
LIGHT = {
    "torch",
    "numpy",
    "PIL",
    "skimage",
    "safetensors",
    "typer",
    "rich",
    "constriction",
    "pytorch_msssim",
    "filelock",
}
HEAVY = {"imagecodecs", "bjontegaard", "pooch", "papermill", "jupytext", "matplotlib", "ipywidgets", "pandas"}


def modules() -> dict[str, Path]:
    """Map the dotted names of the modules of both packages to their files."""
    files = {}
    for package in ("sparsecomp", "reproduce"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


MODULES = modules()


def line(module: str) -> int:
    """The line of a module, or of the innermost package that has one; 0 for the two packages themselves."""
    while module and module not in LINE:
        module = module.rpartition(".")[0]
    return LINE.get(module, 0)


def imported(nodes, module: str) -> set[str]:
    """Name every module that import statements among syntax nodes load, relative ones resolved."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = node.level - (MODULES[module].name == "__init__.py")
                package = module.split(".")[: -up or None]
                base = ".".join([*package, base]).rstrip(".")
            members = {f"{base}.{alias.name}" for alias in node.names}
            submodules = members & set(MODULES)
            names |= submodules | ({base} if submodules != members else set())
    return names


def at_import(tree: ast.Module):
    """Yield the nodes that run when the module is imported: no function bodies, no TYPE_CHECKING."""
    stack = list(tree.body)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            stack.extend(node.orelse)
            continue
        yield node
        stack.extend(ast.iter_child_nodes(node))


TREES = {module: ast.parse(path.read_text("utf8")) for module, path in MODULES.items()}
EDGES = {module: imported(ast.walk(tree), module) & set(MODULES) for module, tree in TREES.items()}


def test_every_module_has_a_line():
    unknown = {module for module in MODULES if "." in module and not line(module)}
    assert len(MODULES) > 10 and not unknown


def test_no_import_points_down_the_list():
    wrong = [f"{a} imports {b}" for a, targets in EDGES.items() for b in targets if line(b) > line(a)]
    assert not wrong


def test_library_never_imports_the_reproduction():
    wrong = [f"{a} imports {b}" for a, targets in EDGES.items() for b in targets
             if a.startswith("sparsecomp") and b.startswith("reproduce")]  # fmt: skip
    assert not wrong


def test_papers_import_the_baselines_and_never_each_other():
    papers = {module: module.split(".")[2] for module in MODULES if module.startswith("reproduce.papers.")}
    assert set(papers.values()) == {"baselines", *PAPERS}
    allowed = {module: {paper, "baselines"} for module, paper in papers.items()}
    wrong = [f"{a} imports {b}" for a in papers for b in EDGES[a] & set(papers) if papers[b] not in allowed[a]]
    assert not wrong


def test_no_import_goes_in_a_circle():
    order = list(TopologicalSorter(EDGES).static_order())  # CycleError names the circle
    assert set(order) == set(MODULES)


def test_relative_imports_and_submodules_are_seen():
    source = "from .. import data\nfrom . import siren\nfrom sparsecomp.metrics import psnr\nimport torch.nn"
    for module in ("sparsecomp.models", "sparsecomp.models.siren"):
        names = imported(ast.walk(ast.parse(source)), module)
        assert names == {"sparsecomp.data", "sparsecomp.models.siren", "sparsecomp.metrics", "torch.nn"}


@pytest.mark.parametrize("module", [m for m in MODULES if line(m) <= LIGHTEST])
def test_library_imports_only_what_a_computing_machine_has(module):
    packages = {name.split(".")[0] for name in imported(at_import(TREES[module]), module)}
    assert packages <= LIGHT | {"sparsecomp", "reproduce"} | set(sys.stdlib_module_names)


def test_importing_the_library_loads_nothing_heavy():
    names = [module for module in MODULES if line(module) <= LIGHTEST]
    program = f"import sys\nfor name in {names!r}: __import__(name)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())
