"""The papers, and their studies by name: each a function that gives its plans."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType

from reproduce.papers import baselines, cae_admm, loonie, sparse_cae
from reproduce.runner import Plan, Request

# In the order of the chapters. Each has its own ``STUDIES`` and ``FIGURES``.
PAPERS: dict[str, ModuleType] = {
    "baselines": baselines, "loonie": loonie, "sparse_cae": sparse_cae, "cae_admm": cae_admm,
}  # fmt: skip
STUDIES: dict[str, Callable[[Request], Sequence[Plan]]] = {
    name: plans for paper in PAPERS.values() for name, plans in paper.STUDIES.items()
}
OWN_PICTURES = ("gallery", "ingredients")  # they take no others
