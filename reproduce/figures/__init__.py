"""Every figure and table of the book as a function of records and published numbers, and the map that says which is
which.

A figure function returns a matplotlib `Figure`, a table function a pandas `DataFrame`; neither computes anything that a
record could hold. `FIGURES` is the book's figure map.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reproduce.figures.autoencoders import (
    cae_high_rates,
    cae_models_table,
    cae_pictures,
    cae_rate_distortion,
    cae_table,
    cae_training,
    cae_variants_table,
    macs_over_density,
    surgery_table,
)
from reproduce.figures.base import (
    STANDARD,
    STYLE,
    Table,
    pictures,
    provenance,
    verdict_table,
)
from reproduce.figures.cae_admm import (
    admm_codes,
    admm_fair_table,
    admm_models_table,
    admm_nats_table,
    admm_pictures,
    admm_rate_distortion,
    admm_residuals,
    admm_table1,
    admm_table2,
    admm_variants_table,
)
from reproduce.figures.networks import (
    bd_table,
    bench_table,
    coin_table,
    colour_transform,
    depth_search,
    fit_course,
    ingredients_table,
    loonie_dynamics,
    loonie_files,
    loonie_histogram,
    loonie_parts_table,
    loonie_race,
    loonie_rate_distortion,
    loonie_reconstructions,
    loonie_table,
    projections_table,
    rate_distortion,
)
from reproduce.records import Records

__all__ = [
    "FIGURES", "STANDARD", "STYLE", "Table", "admm_codes", "admm_fair_table", "admm_models_table",
    "admm_nats_table", "admm_pictures", "admm_rate_distortion", "admm_residuals", "admm_table1", "admm_table2",
    "admm_variants_table", "bd_table", "bench_table", "cae_high_rates", "cae_models_table", "cae_pictures",
    "cae_rate_distortion", "cae_table", "cae_training", "cae_variants_table", "coin_table", "colour_transform",
    "depth_search", "figure_map", "fit_course", "ingredients_table", "loonie_dynamics", "loonie_files",
    "loonie_histogram", "loonie_parts_table", "loonie_race", "loonie_rate_distortion", "loonie_reconstructions",
    "loonie_table", "macs_over_density", "pictures", "projections_table", "provenance", "rate_distortion",
    "record_table", "surgery_table", "verdict_table",
]  # fmt: skip

# The map --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One figure or table of the book: what draws it, from which study, and the command that makes its records."""

    title: str
    function: Callable
    study: str
    made_by: str = ""

    @property
    def command(self) -> str:
        """What makes its records."""
        return f"python -m reproduce {self.made_by or f'study {self.study}'}"


FIGURES = {
    "baselines": Entry("Standard codecs on Kodak", rate_distortion, "baselines"),
    "colour-transform": Entry("JPEG 2000's colour transform", colour_transform, "baselines"),
    "bd": Entry("BD-rate and BD-PSNR", bd_table, "baselines"),
    "rate-distortion": Entry("COIN on Kodak (COIN, Fig. 2)", rate_distortion, "coin"),
    "coin-table": Entry("COIN: bytes and PSNR", coin_table, "coin"),
    "fit-course": Entry("PSNR over steps of a fit", fit_course, "coin"),
    "depth-search": Entry("PSNR over depth at equal bytes", depth_search, "search"),
    "ingredients": Entry("What each ingredient of a fit does", ingredients_table, "ingredients"),
    "loonie-paper": Entry(
        "PSNR over the paper's estimate of the rate (L0onie, PSNR against bpp)", loonie_rate_distortion, "loonie"
    ),
    "loonie-files": Entry("Our files against published ones", loonie_files, "loonie"),
    "loonie-dynamics": Entry("Training dynamics (L0onie)", loonie_dynamics, "loonie"),
    "loonie-race": Entry("PSNR over the work of training (L0onie, PSNR against time)", loonie_race, "loonie_race"),
    "loonie-reconstructions": Entry("Reconstructions (L0onie)", loonie_reconstructions, "gallery"),
    "loonie-histogram": Entry("PSNR histogram (L0onie)", loonie_histogram, "loonie"),
    "loonie-table": Entry("L0onie, pruning, COIN and our files: rates and PSNR", loonie_table, "loonie"),
    "loonie-parts": Entry("What each part of L0onie does", loonie_parts_table, "loonie_parts"),
    "cae-density": Entry("MACs over density (Sparse CAE, Fig. 2)", macs_over_density, "cae_density"),
    "cae-rate-distortion": Entry(
        "PSNR and mean SSIM over the rate (Sparse CAE, Figs 3 and 4)", cae_rate_distortion, "cae_sparse"
    ),
    "cae-table": Entry("Sparse CAE, Table I", cae_table, "cae_sparse"),
    "cae-pictures": Entry("Details (Sparse CAE, Figs 5 and 7)", cae_pictures, "cae_sparse"),
    "cae-high-rates": Entry("High rates (Sparse CAE, Fig. 6)", cae_high_rates, "cae"),
    "cae-variants": Entry("Every second descent, and the controls", cae_variants_table, "cae_sparse"),
    "cae-training": Entry("PSNR over steps of both descents", cae_training, "cae_sparse"),
    "projections": Entry("Speed of the projections", projections_table, "bench", "bench projections"),
    "bench": Entry("Seconds to a PSNR", bench_table, "bench", "bench fit"),
    "admm-rate-distortion": Entry(
        "SSIM and MS-SSIM over the rate (CAE-ADMM, Fig. 2)", admm_rate_distortion, "cae_admm"
    ),
    "admm-pictures": Entry("Details near 0.3 bpp (CAE-ADMM, Fig. 3)", admm_pictures, "cae_admm"),
    "admm-codes": Entry("A code before and after pruning (CAE-ADMM, Fig. 4)", admm_codes, "cae_admm"),
    "admm-table-1": Entry("CAE-ADMM, Table 1", admm_table1, "cae_admm_mixed"),
    "admm-table-2": Entry("CAE-ADMM, Table 2", admm_table2, "cae_admm_mixed"),
    "admm-fair": Entry("Pruning against an estimate, at equal bytes", admm_fair_table, "cae_admm"),
    "admm-variants": Entry("Every training of CAE-ADMM", admm_variants_table, "cae_admm"),
    "admm-residuals": Entry("ADMM's residuals over steps", admm_residuals, "cae_admm"),
    "admm-nats": Entry("Bits, nats and patches", admm_nats_table, "cae_admm_mixed"),
}


def figure_map() -> Table:
    """The figure map: for every figure its function, its records, the command that makes them, preset and commit."""
    rows, records = [], Records()
    for entry in FIGURES.values():
        found = [r for r in records.find(entry.study) if r.config["profile"] != "smoke"]
        rows.append({
            "figure": entry.title,
            "function": f"figures.{entry.function.__name__}",
            "records": f"{entry.study}/ ({len(found)})",
            "command": entry.command,
            "preset": ", ".join(sorted({r.config["profile"] for r in found})) or "not run",
            "commit": ", ".join(sorted({(r.environment["commit"] or "unknown")[:8] for r in found})) or "–",
        })  # fmt: skip
    return Table(rows)


def record_table() -> Table:
    """Every record there is: where it lies, how it was made, when it may be believed."""
    rows, records = [], Records()
    for study in records.studies:
        for record in records.find(study):
            environment = record.environment
            rows.append(
                {
                    "record": f"{study}/{record.name}",
                    "preset": record.config["profile"],
                    "pictures": record.config["pictures"],
                    "seed": record.config["seed"],
                    "device": environment["device"],
                    "minutes": f"{record.wall_seconds / 60:.1f}",
                    "commit": (environment["commit"] or "unknown")[:8] + ("" if environment["clean"] else ", changed"),
                    "torch": environment["versions"].get("torch", "–"),
                }
            )
    return Table(rows)
