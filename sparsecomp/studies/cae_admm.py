"""The studies of CAE-ADMM: codes that are pruned, codes whose entropy is estimated, and codes that are left alone; and
the paper's two tables on a mixed set.

Every training is one record, and one model in ``models/`` beside the folder of records.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from sparsecomp import complexity, metrics, results
from sparsecomp.checks import InputError
from sparsecomp.codecs import evaluate, get_codec
from sparsecomp.codecs.trained import latent_of, pruned, read_symbols
from sparsecomp.coding import integer_latents
from sparsecomp.coding.container import unpack
from sparsecomp.models import pretrained
from sparsecomp.models.cae_admm import SCALE, CaeAdmm, Shape
from sparsecomp.models.pretrained import Models
from sparsecomp.profiles import CodeDescent, Pruning, as_dict
from sparsecomp.studies.base import Setup, config_of, finish, missing, row_of
from sparsecomp.studies.trainings import VALIDATION, Plan, history_of, kept, make, model_path, pictures, run, sets
from sparsecomp.training import loop
from sparsecomp.training.latent_pruning import CodeTraining
from sparsecomp.training.loop import Paused

# What is trained, by label: Zhao & Liao's pruning at several shares, Theis et al.'s estimate at several prices. Beside
# them what the released code makes of pruning, and nothing at all, with all channels and with half of them. Each sees
# the same crops in the same order, and begins with the same first values, but for the one with half the channels.
PRUNED = {"keep 40": 0.4, "keep 20": 0.2, "keep 10": 0.1, "keep 5": 0.05}
ESTIMATED = {"lambda 50": 50.0, "lambda 150": 150.0, "lambda 400": 400.0, "lambda 1000": 1000.0}
# Beside the released code's rho of 0.1 and updates every 100 steps, at the paper's share. 256 steps are an epoch.
VARIED: dict[str, dict] = {"rho 0.03": {"rho": 0.03}, "rho 0.3": {"rho": 0.3}, "every 256": {"interval": 256}}
RELEASED = Pruning(z_update="released", state="data_set", penalty="norm")
SEEDS = 2  # of `HEADLINE`
HEADLINE = ("keep 10", "lambda 400")  # one change: pruning against an estimate of the entropy
SHARES = (1.0, 0.2, 0.1, 0.05)  # of the code that a file keeps; 1 is the code as the encoder makes it
NEAR = 0.6  # bpp of Table 2
PATCH = 128  # pixels, along one side, of the patches that the released code measures by


@dataclass(frozen=True)
class CodePlan(Plan):
    """One training.

    Parameters
    ----------
    descent : CodeDescent
    shape : Shape
    pruning : Pruning, optional
    lam : float
        Price of an estimated bit per pixel.
    """

    descent: CodeDescent
    shape: Shape
    pruning: Pruning | None = None
    lam: float = 0.0

    family = "code"

    @property
    def codec(self) -> str:
        """Theis et al.'s where an entropy is estimated; else Zhao & Liao's, pruned or not."""
        return "cae-theis" if self.lam else "cae-admm"

    def config(self) -> dict:
        """What it adds to the configuration of its record."""
        return super().config() | {
            "codec": self.codec, "descent": as_dict(self.descent), "shape": as_dict(self.shape),
            "pruning": as_dict(self.pruning) if self.pruning else None, "lam": self.lam,
        }  # fmt: skip


# The studies ----------------------------------------------------------------------------------------------------------


def cae_admm(setup: Setup, pictures_of: str = "kodak") -> list[Path]:
    """One record a training: pruned, estimated, as the released code does it, and neither.

    Rows are pictures at several shares of the code kept: 1 is the code as the encoder makes it.
    """
    return make(setup, "cae_admm", pictures_of, plans(setup, pictures_of), _descend, _measure)


def plans(setup: Setup, pictures_of: str) -> list[CodePlan]:
    """What `cae_admm` trains; at the profile smoke one of a kind."""
    plain = _plan(setup, pictures_of, "unpruned", setup.seed)
    base = setup.profile.pruning
    pruned = [replace(plain, label=label, pruning=replace(base, keep=keep), search=True)
              for label, keep in PRUNED.items()]  # fmt: skip
    estimated = [replace(plain, label=label, lam=lam, search=True) for label, lam in ESTIMATED.items()]
    released = replace(
        plain, label="released", pruning=replace(RELEASED, keep=base.keep, rho=0.1, interval=base.interval)
    )
    if setup.profile.name == "smoke":
        return [replace(plan, search=False) for plan in (plain, pruned[2], estimated[2], released)]
    others = [replace(plain, label=label, pruning=replace(base, **changes)) for label, changes in VARIED.items()]
    narrow = replace(plain, label="16 channels", shape=replace(plain.shape, latent=16))
    first = [plain, *pruned, *estimated, *others, released, narrow]
    further = [replace(plan, seed=setup.seed + seed, search=False)
               for seed, plan in product(range(1, SEEDS), first) if plan.label in HEADLINE]  # fmt: skip
    return [*first, *further]


def _plan(setup: Setup, pictures_of: str, label: str, seed: int) -> CodePlan:
    shape = Shape(setup.profile.code_width, 32, setup.profile.code_depth)
    return CodePlan(label, seed, *sets(setup, pictures_of), False, setup.profile.code, shape)


def cae_admm_mixed(setup: Setup, pictures_of: str = "mixed") -> list[Path]:
    """Tables 1 and 2: codes before and after pruning, and codecs near 0.6 bpp with their seconds; one record a row.

    The paper's mixed set holds Urban100 and Manga109; here it is Kodak and the test pictures of BSDS500. What is near
    0.6 bpp is chosen on validation pictures, one setting for all pictures. Seconds are of one thread, from picture to
    file to picture, with as many rows side by side as ``setup.workers`` says; run it on a machine that has nothing else
    to do.
    """
    shown = _mixed(setup, pictures_of)
    found, tasks = {}, []
    for label, (codec, options) in _table_rows(setup, pictures_of).items():
        said = options | ({"model": pretrained.load(Path(options["model"])).key} if "model" in options else {})
        config = config_of(setup, pictures_of, shown) | {"codec": codec, "label": label, "options": said}
        name = f"{label}-{setup.profile.name}".replace(" ", "-")
        found[label] = results.path_of(setup.out, "cae_admm_mixed", name, config), config
        if missing(setup, found[label][0]):
            tasks.append((label, (codec, options, pictures_of)))

    def measured(label: str, rows: list[dict]) -> None:
        path, config = found[label]
        # Of encoding and decoding alone: what SSIM takes is no part of the row.
        seconds = sum(row["encode_seconds"] + row["decode_seconds"] for row in rows)
        finish(setup, "cae_admm_mixed", path, config, rows, seconds, {"side_by_side": min(setup.workers, len(tasks))})

    run(setup, _table_row, tasks, measured)
    return [path for path, _ in found.values()]


def _table_row(setup: Setup, codec: str, options: dict, pictures_of: str) -> list[dict]:
    """All pictures by one codec at one setting."""
    models = Models(options["model"]) if "model" in options else None
    shown, rows = _mixed(setup, pictures_of), []
    own = get_codec(codec, **options, **({"models": models} if models else {}))
    own.encode(next(iter(shown.values())))  # a first call pays for what is loaded once
    for name, picture in shown.items():
        if setup.seconds_left() == 0:
            raise Paused("the time given is over; this row of the table begins anew next time")
        measured = evaluate(own, picture)
        row = {"picture": name, "setting": 1.0} | row_of(measured, 8 * measured.bytes)
        if models:
            row |= _of_code(read_symbols(unpack(measured.data), models)[1])
        rows.append(row | _by_patches(picture, measured.reconstruction))
    return rows


def _mixed(setup: Setup, pictures_of: str) -> dict[str, np.ndarray]:
    """The pictures by name; at the profile smoke one of each set."""
    names = ("kodak", "bsds500/test") if pictures_of == "mixed" else (pictures_of,)
    count = 1 if setup.profile.name == "smoke" else None
    return {f"{name}/{key}": picture for name in names for key, picture in pictures(name, count).items()}


def _table_rows(setup: Setup, pictures_of: str) -> dict[str, tuple[str, dict]]:
    """For each row of the two tables a codec and its options."""
    of = "kodak" if pictures_of == "mixed" else pictures_of
    needed = ("unpruned", *PRUNED, *ESTIMATED)
    plain = {
        plan.label: str(kept(model_path(setup, plan)))
        for plan in plans(setup, of)
        if plan.seed == setup.seed and plan.label in needed
    }
    absent = [Path(path).stem for path in plain.values() if not Path(path).exists()]
    if absent:
        raise InputError(f"there is no model {absent[0]}: make it first, with `sparsecomp study cae_admm`")
    scored = list(pictures(sets(setup, of)[1], VALIDATION).values())
    rows = {label: ("cae-admm", {"model": plain[label]}) for label in ("unpruned", "keep 10")}
    for codec, labels in (("cae-admm", PRUNED), ("cae-theis", ESTIMATED)):
        near = [_near(plain[label], scored) for label in labels if label in plain]
        rows[f"{codec} near 0.6"] = codec, max(near, key=lambda found: found[0])[1]
    quality = min(range(5, 96), key=lambda q: abs(_mean_bpp("jpeg", {"quality": q}, scored) - NEAR))
    rows["jpeg"] = "jpeg", {"quality": quality}
    rows["jpeg2000"] = "jpeg2000", {"rate": NEAR}
    rows["jpeg2000 no transform"] = "jpeg2000", {"rate": NEAR, "colour_transform": False}
    return rows


def _near(model: str, scored: list[np.ndarray]) -> tuple[float, dict]:
    """The share of a model's code whose files are nearest to 0.6 bpp in the mean; SSIM, and the codec's options.

    A model that does not come within 10 % counts as the worst.
    """
    stored = pretrained.load(Path(model))
    codes = [latent_of(stored, picture) for picture in scored]
    pixels = [picture.shape[0] * picture.shape[1] for picture in scored]

    def rate(share: float) -> float:
        kept = [pruned(code, share) for code in codes]
        return float(np.mean([integer_latents.bits(code, stored.counts, integer_latents.threshold_of(code)) / n
                              for code, n in zip(kept, pixels, strict=True)]))  # fmt: skip

    share = min((round(0.9**k, 5) for k in range(40)), key=lambda share: abs(rate(share) - NEAR))
    options = {"model": model} | ({} if share == 1 else {"keep": share})
    if abs(rate(share) / NEAR - 1) > 0.1:
        return 0.0, options
    drawn = [stored.decode(pruned(code, share), *picture.shape[:2])
             for code, picture in zip(codes, scored, strict=True)]  # fmt: skip
    return float(np.mean([metrics.ssim(reference=a, reconstruction=b)
                          for a, b in zip(scored, drawn, strict=True)])), options  # fmt: skip


def _mean_bpp(codec: str, options: dict, scored: list[np.ndarray]) -> float:
    own = get_codec(codec, **options)
    return float(np.mean([8 * len(own.encode(picture)) / (picture.shape[0] * picture.shape[1]) for picture in scored]))


# How they work --------------------------------------------------------------------------------------------------------


def _descend(setup: Setup, plan: CodePlan, model_file: Path, checkpoint: Path) -> dict:
    """Train one model, store it, and say what became of it."""
    training = CodeTraining(
        CaeAdmm(plan.shape, plan.seed), pictures(plan.train_on), pictures(plan.validate_on, VALIDATION), plan.descent,
        pruning=plan.pruning, lam=plan.lam, seed=plan.seed, device=setup.device,
    )  # fmt: skip
    loop.run(training, checkpoint=checkpoint, max_seconds=setup.seconds_left())
    pretrained.round_(training.model)  # what is stored is what is measured, and what the tables are made for
    score = training.score()
    counts = integer_latents.counts_of(sum(integer_latents.histogram_of(code) for code in training.codes()))
    about = {
        "codec": plan.codec, "label": plan.label, "seed": plan.seed, "lam": plan.lam, "steps": plan.descent.steps,
        "keep": plan.pruning.keep if plan.pruning else 1.0, "search": plan.search, "profile": setup.profile.name,
    }  # fmt: skip
    pretrained.save(model_file, training.model.cpu(), counts, about)
    stored = pretrained.load(model_file)
    side = 8 * SCALE
    return {
        "model": stored.key, "file": model_file.stem, "seconds": round(training.seconds, 1),
        "psnr": round(score["psnr"], 4), "estimated_bpp": round(score["estimated_bpp"], 4),
        **{name: round(score[name], 5) for name in ("ssim", "ms_ssim", "zeros")}, "skipped": training.skipped,
        "macs": complexity.macs_per_pixel(stored.model.encoder, (1, 3, side, side), pixels=side**2),
        "macs_decoder": complexity.macs_per_pixel(
            stored.model.decoder, (1, plan.shape.latent, 8, 8), pixels=side**2
        ),
        "history": history_of(training),
        "admm": results.thin(training.residuals, ("step", "primal", "dual", "zeros")),
    }  # fmt: skip


def _measure(setup: Setup, plan: CodePlan, model_file: Path, name: str, picture: np.ndarray) -> list[dict]:
    """One picture at every share of its code."""
    models, rows = Models(model_file), []
    stored = models.find(model_file)
    code = latent_of(stored, picture)
    for share in _shares(setup, plan):
        keep = None if share == 1 else share
        measured = evaluate(get_codec(plan.codec, model=str(model_file), models=models, keep=keep), picture)
        symbols = code if keep is None else pruned(code, share)
        estimate = integer_latents.bits(symbols, stored.counts, integer_latents.threshold_of(symbols))
        row = {"picture": name, "setting": share} | row_of(measured, round(estimate)) | _of_code(symbols)
        rows.append(row | _by_patches(picture, measured.reconstruction))
    return rows


def _of_code(symbols: np.ndarray) -> dict:
    """What a row says of a code: its share of zeros, and the released code's "bpp"."""
    return {"zeros": round(float((symbols == 0).mean()), 5), "nats": round(released_bpp(symbols), 5)}


def _by_patches(reference: np.ndarray, reconstruction: np.ndarray) -> dict:
    """What a row says of SSIM by patches: null where it is not defined."""
    measured = patch_ssim(reference, reconstruction)
    return {"ssim_patches": None if measured is None else round(measured, 5)}


def _shares(setup: Setup, plan: CodePlan) -> tuple[float, ...]:
    """All of the unpruned model and of the headline's first seed; else the code as it is, and at its own share."""
    if plan.seed != setup.seed:
        return (1.0,)
    if plan.label in ("unpruned", *HEADLINE):
        return SHARES
    return (1.0, plan.pruning.keep) if plan.label in PRUNED else (1.0,)


# The released code's way of measuring ---------------------------------------------------------------------------------


def released_bpp(symbols: np.ndarray) -> float:
    """What the released code prints as "bpp": the entropy, in nats, of a patch's symbols, over its pixels; the mean of
    all patches of 128 x 128.

    All channels of a patch go into one histogram of its own, which no file would hold. For a code int ``(C, h, w)``
    patches are 16 x 16 places; what is left at the borders makes smaller ones, weighed by their size.
    """
    side, nats = PATCH // SCALE, 0.0
    channels, rows, columns = symbols.shape
    for top, left in product(range(0, rows, side), range(0, columns, side)):
        patch = symbols[:, top : top + side, left : left + side]
        counts = np.unique(patch, return_counts=True)[1]
        nats -= float(counts @ np.log(counts / counts.sum()))
    return nats / (rows * columns * SCALE**2)


def patch_ssim(reference: np.ndarray, reconstruction: np.ndarray) -> float | None:
    """SSIM as the released code has it: of patches of 128 x 128, and their mean, so that no window crosses a border.

    Patches that the picture's borders cut are left out; a picture smaller than one patch is measured whole.
    None where SSIM is not defined (`metrics.ssim`).
    """
    height, width, _ = reference.shape
    if min(height, width) < PATCH:
        return metrics.ssim(reference=reference, reconstruction=reconstruction)
    tops, lefts = range(0, height - PATCH + 1, PATCH), range(0, width - PATCH + 1, PATCH)
    return float(np.mean([
        metrics.ssim(reference=reference[top : top + PATCH, left : left + PATCH],
                     reconstruction=reconstruction[top : top + PATCH, left : left + PATCH])
        for top, left in product(tops, lefts)
    ]))  # fmt: skip
