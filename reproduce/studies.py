"""The studies by name: each a function that gives its plans."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reproduce.papers import baselines, cae_admm, loonie, sparse_cae
from reproduce.runner import Plan, Request

STUDIES: dict[str, Callable[[Request], Sequence[Plan]]] = {
    "baselines": baselines.plans,
    "coin": loonie.coin_plans,
    "gallery": loonie.gallery_plans,
    "search": loonie.search_plans,
    "ingredients": loonie.ingredient_plans,
    "loonie": loonie.loonie_plans,
    "loonie_parts": loonie.part_plans,
    "loonie_race": loonie.race_plans,
    "cae": sparse_cae.dense_plans,
    "cae_sparse": sparse_cae.sparse_plans,
    "cae_density": sparse_cae.density_plans,
    "cae_speed": sparse_cae.speed_plans,
    "cae_admm": cae_admm.plans,
    "cae_admm_mixed": cae_admm.mixed_plans,
}
OWN_PICTURES = ("gallery", "ingredients")  # they take no others
