"""The command line. Every command is a few lines around a library function; what is particular to it stands here:
progress, plain tables, files that appear whole or not at all, and errors in one line, with exit status 2 for bad input
and 1 for a bug.

PyTorch is imported inside the commands that need it, so that ``sparsecomp --help`` is there at once.
"""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from typer.core import TyperCommand

from sparsecomp import __version__, data, notebooks, profiles
from sparsecomp.checks import InputError
from sparsecomp.files import write_atomic

if TYPE_CHECKING:
    import numpy as np

    from sparsecomp.codecs import Measurement
    from sparsecomp.codecs.network import Coin

EXAMPLES = """
Try it on a bundled photograph:

  sparsecomp encode astronaut -o astronaut.spc --codec jpeg --bpp 0.5

  sparsecomp decode astronaut.spc -o astronaut.png

  sparsecomp compare astronaut --bpp 0.3 --html astronaut.html
"""
plain = {"add_completion": False, "pretty_exceptions_enable": False, "context_settings": {"max_content_width": 100}}
app = typer.Typer(**plain)
data_app = typer.Typer(help="The pictures: which sets there are, and getting one.", **plain)
bench_app = typer.Typer(help="Measurements of speed on this machine.", **plain)
app.add_typer(data_app, name="data")
app.add_typer(bench_app, name="bench")

Picture = Annotated[
    str,
    typer.Argument(metavar="PICTURE", help="A picture file, or a bundled photograph: " + ", ".join(data.BUNDLED)),
]
File = Annotated[Path, typer.Argument(metavar="FILE.spc", help="A file that `encode` wrote.")]
Seed = Annotated[int, typer.Option(min=0, max=2**31 - 1, help="First values and order of the pixels of a fit.")]
Device = Annotated[str, typer.Option(help="Where networks are fitted or run: cpu, cuda or cuda:NUMBER.")]
NAMES = ", ".join(profiles.PROFILES)
# Known without PyTorch; the tests hold them against the studies.
STUDIES = (
    "coin", "gallery", "search", "ingredients", "loonie", "loonie_parts", "loonie_race", "baselines",
    "cae", "cae_sparse", "cae_density", "cae_speed",
    "cae_admm", "cae_admm_mixed",
)  # fmt: skip


def _version(asked: bool) -> None:
    if asked:
        print(f"sparsecomp {__version__}")
        raise typer.Exit()


@app.callback(
    help="Sparse neural networks as image codecs: a picture becomes a file, and a file a picture.", epilog=EXAMPLES
)
def top(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options that stand before a command."""
    context.ensure_object(dict)["debug"] = debug


# Pictures and files ---------------------------------------------------------------------------------------------------


class _ListsCodecs(TyperCommand):
    """The codecs are known to their registry alone, which needs PyTorch: they are named when the help is asked for."""

    def format_help(self, ctx: typer.Context, formatter: object) -> None:
        from sparsecomp import codecs

        for parameter in self.params:
            if parameter.name == "codec":
                parameter.help = ", ".join(codecs.NAMES) + "."
        super().format_help(ctx, formatter)


@app.command(cls=_ListsCodecs)
def encode(
    picture: Picture,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE.spc", help="The file to write; else PICTURE.spc, if there is none."),
    ] = None,
    codec: Annotated[str, typer.Option(help="Which codec; `encode --help` names them.")] = "coin",
    bpp: Annotated[
        float | None, typer.Option(help="Bits per pixel that the file may have; else the codec's own setting.")
    ] = None,
    profile: Annotated[str, typer.Option(help=f"How long a network is fitted: {NAMES}.")] = "laptop",
    seed: Seed = 0,
    arch: Annotated[
        str | None,
        typer.Option(metavar="DEPTHxWIDTH", help="COIN: this network, such as 10x28. L0onie: the one to begin with."),
    ] = None,
    device: Device = "cpu",
    coordinates: Annotated[str | None, typer.Option(help="Of networks: per_axis (the default) or coin.")] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Trained codecs: this model of results/models; else the best of them."),
    ] = None,
    keep: Annotated[
        float | None,
        typer.Option(help="cae-admm, cae-theis: the share of the code's entries to keep, above 0 and up to 1."),
    ] = None,
) -> None:
    """Write a picture as an .spc file; --bpp is a ceiling, never passed.

    COIN and L0onie fit a network to the picture: minutes at the profile laptop, a second at smoke. cae, cae-admm and
    cae-theis have networks that are trained already, which who decodes needs, too.
    """
    chosen = profiles.get(profile)
    if keep is not None and bpp is not None:
        raise InputError(f"--keep {keep:g} and --bpp {bpp:g}: give one of them, each says how long the file will be")
    if out is None:
        out = Path(Path(picture).stem + ".spc")
        if out.exists():
            raise InputError(f"{str(out)!r} is there already: say with -o what to write")
    _check_out(out, picture)
    image = data.load_picture(picture)
    from sparsecomp import codecs

    given = (("arch", arch), ("coordinates", coordinates), ("model", model), ("keep", keep))
    options = {name: value for name, value in given if value is not None}
    fit = _budget(codec, chosen)
    with _progress(fit.steps if fit else 1) as on_score:
        options |= _taken(codec, budget=fit, seed=seed, device=device, on_score=on_score)
        made = codecs.get_codec(codec, **options)
        fixed = codec == "coin" and arch is not None
        if bpp is not None and fixed:
            _check_fits(made, image, bpp)
        measured = codecs.evaluate(made, image, None if fixed else bpp)
    write_atomic(out, measured.data)
    print(f"{out}: {measured.bytes:,} bytes, {measured.bpp:.4f} bpp, {measured.psnr:.2f} dB")


@app.command()
def decode(
    file: File,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT.png", help="The picture to write, lossless.")],
) -> None:
    """Write the picture of an .spc file as PNG; nothing but the file is needed (of a trained codec: and its model)."""
    if out.suffix.lower() != ".png":
        raise InputError(f"output {str(out)!r}: a name that ends in .png is needed, because nothing more may be lost")
    _check_out(out, file)
    written = file.read_bytes()
    from sparsecomp import codecs

    picture = codecs.decode(written)
    write_atomic(out, _png(picture))
    print(f"{out}: {picture.shape[1]} x {picture.shape[0]} pixels")


@app.command()
def info(file: File) -> None:
    """Say what is in an .spc file and what its bytes are spent on."""
    written = file.read_bytes()
    from sparsecomp import metrics
    from sparsecomp.codecs.base import codec_of
    from sparsecomp.coding.container import layout, unpack

    container = unpack(written)
    codec = codec_of(container)
    rate = metrics.bpp(data=written, height=container.height, width=container.width)
    lines = [
        ("codec", codec.name),
        ("picture", f"{container.width} x {container.height} pixels"),
        ("file", f"{len(written):,} bytes, {rate:.4f} bpp"),
    ]
    for name, size in layout(written):
        lines.append((f"  {name}", f"{size:,} bytes, {100 * size / len(written):.1f} %"))
    lines += codec.describe(container)
    macs = codec.macs_per_pixel(container)
    if macs is not None:
        lines.append(("cost", f"{macs:,.0f} MAC/px"))
    for name, text in lines:
        print(f"{name:<13}{text}")


@app.command()
def compare(
    picture: Picture,
    bpp: Annotated[float, typer.Option(help="Bits per pixel that no file may pass.")] = 0.3,
    html: Annotated[Path | None, typer.Option(metavar="OUT.html", help="A page that shows the pictures.")] = None,
    profile: Annotated[
        str | None, typer.Option(help=f"How long networks are fitted: {NAMES}; else 5,000 steps, about a minute each.")
    ] = None,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Write a picture with every codec at the same budget, and measure what comes back."""
    chosen = profiles.get(profile or "laptop")
    if html is not None:
        _check_out(html, picture)
    image = data.load_picture(picture)
    from sparsecomp import codecs
    from sparsecomp.codecs.base import check_bpp

    check_bpp(bpp)
    fits = {name: fit for name in codecs.NAMES if (fit := _budget(name, chosen))}
    if profile is None:
        fits = {name: replace(fit, steps=5000) for name, fit in fits.items()}
    measured: dict[str, Measurement | InputError] = {}
    for name in codecs.NAMES:
        fit = fits.get(name)
        with _progress(fit.steps if fit else 1) as on_score:
            options = _taken(name, budget=fit, seed=seed, device=device, on_score=on_score)
            try:
                measured[name] = codecs.evaluate(codecs.get_codec(name, **options), image, bpp)
            except InputError as error:  # the picture and the budget are legal: this codec cannot do it
                measured[name] = error
    refused = [error for error in measured.values() if isinstance(error, InputError)]
    if len(refused) == len(measured):
        raise min(refused, key=lambda error: getattr(error, "smallest", float("inf")))
    title = f"{Path(picture).name}, {image.shape[1]} x {image.shape[0]}, at most {bpp:g} bits per pixel"
    notes = [
        "; ".join(f"{name}: {fit.steps:,} steps" for name, fit in fits.items())
        + (f" (profile {profile})" if profile else "")
        + f", seed {seed}",
        *_said_of_codecs(),
        "encode: the whole search for the best file that fits",
        *map(str, refused),
    ]
    _table(title, HEADS, [_cells(name, m) for name, m in measured.items()], notes)
    if html is not None:
        write_atomic(html, _page(title, image, measured, notes).encode())
        print(f"{html}: the pictures")


# Evidence -------------------------------------------------------------------------------------------------------------


@app.command()
def study(
    name: Annotated[str, typer.Argument(metavar="NAME", help=", ".join(STUDIES) + ".")],
    profile: Annotated[str, typer.Option(help=f"How much is done: {NAMES}.")] = "laptop",
    device: Device = "cpu",
    max_minutes: Annotated[float | None, typer.Option(help="Pause after so many minutes.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where records go; else results/runs.")] = None,
    of: Annotated[str | None, typer.Option("--data", help="Pictures: kodak or bundled; else the study's own.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes on a CPU; else one a core.")] = None,
    seed: Seed = 0,
    commit: Annotated[str | None, typer.Option(help="The code's commit, where there is no git.")] = None,
    train_on: Annotated[
        Path | None, typer.Option("--train", metavar="DIR", help="Autoencoders: a folder to train on; else BSDS500.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the records that are there or to be made.")] = False,
    pack: Annotated[bool, typer.Option("--pack", help="Then pack the records into parts of at most 16 MiB.")] = False,
) -> None:
    """Make the records of a study. What is there is kept, what is half done is continued."""
    chosen = profiles.get(profile)
    if max_minutes is not None and not 0 < max_minutes < float("inf"):
        raise InputError(f"max_minutes={max_minutes}: a number above 0 is needed")
    from concurrent.futures import BrokenExecutor

    from sparsecomp import results, studies
    from sparsecomp.training.loop import Paused

    if name not in studies.STUDIES:
        raise InputError(f"study {name!r} is unknown; known are {', '.join(studies.STUDIES)}")
    function = studies.STUDIES[name]
    if of is not None and "pictures_of" not in inspect.signature(function).parameters:
        raise InputError(f"study {name} has its own pictures: leave out --data {of}")
    if train_on is not None and not name.startswith("cae"):
        raise InputError(f"study {name} trains no autoencoder: leave out --train {train_on}")
    out = results.folder() / "runs" if out is None else out
    setup = studies.Setup(
        chosen, out, device=_device(device), max_minutes=max_minutes, seed=seed,
        workers=workers or results.cores(), commit=commit, report=lambda line: print(line, flush=True),
        train_on=train_on, dry_run=dry_run,
    )  # fmt: skip
    if out.exists() and not out.is_dir():
        raise InputError(f"output {str(out)!r} is there and is no folder")
    import torch

    torch.set_num_threads(1)  # the work is done by processes, one a core; here only files are measured
    with _workers_die_with_us():
        try:
            made = function(setup, **({} if of is None else {"pictures_of": of}))
            if dry_run:
                print(f"{sum(not path.exists() for path in made)} of {len(made)} records to be made in {out / name}")
            else:
                print(f"done: {len(made)} records in {out / name}")
        except Paused as reason:
            print(f"paused: {reason}; the same command goes on from here")
        except BrokenExecutor as error:
            raise MemoryError("a worker was killed, for memory perhaps; the same command goes on") from error
    if pack and not dry_run:
        for part in studies.pack(out, (name,)):
            print(f"packed: {part}")


class _Pairs(TyperCommand):
    """typer knows no list of pairs: ``-p name value`` is read as ``-p name=value``."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        rest, joined = list(args), []
        while rest:
            joined.append(rest.pop(0))
            if joined[-1] == "-p" and len(rest) > 1 and "=" not in rest[0]:
                joined.append(f"{rest.pop(0)}={rest.pop(0)}")
        return super().parse_args(ctx, joined)


@app.command(cls=_Pairs)
def run(
    notebook: Annotated[str, typer.Argument(metavar="NOTEBOOK", help="A chapter, such as 10_coin, or a .py file.")],
    parameter: Annotated[
        list[str] | None, typer.Option("-p", metavar="NAME VALUE", help="Replace a parameter; may be repeated.")
    ] = None,
    profile: Annotated[str | None, typer.Option(help=f"Short for -p profile: {NAMES}.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.ipynb", help="The executed notebook; else build/notebooks/NAME.ipynb.")
    ] = None,
) -> None:
    """Run a notebook with parameters of your own."""
    source = notebooks.find(notebook)
    values: dict[str, object] = {} if profile is None else {"profile": profiles.get(profile).name}
    for pair in parameter or []:
        name, equals, text = pair.partition("=")
        if not equals:
            raise InputError(f"-p {pair}: a name and a value are needed")
        values[name] = notebooks.value(text)
    if out is None:
        out = notebooks.folder().parent / "build" / "notebooks" / f"{source.stem}.ipynb"
        out.parent.mkdir(parents=True, exist_ok=True)
    elif out.suffix != ".ipynb":
        raise InputError(f"output {str(out)!r}: a name that ends in .ipynb is needed")
    _check_out(out, source)
    print(notebooks.run(source, values, out))


@data_app.command("list")
def data_list() -> None:
    """List the sets of pictures, where each was found, and on what terms it may be used."""
    for row in data.listing():
        print(f"{row.name:<9}{row.pictures:>4} pictures  {row.found or f'not here: sparsecomp data fetch {row.name}'}")
        print(f"{'':<24}{row.licence}\n{'':<24}{row.home}")


@data_app.command("fetch")
def data_fetch(name: Annotated[str, typer.Argument(metavar="NAME", help="bundled, kodak or bsds500.")]) -> None:
    """Get a set into the cache, every file checked; print the folder it is in."""
    print(data.fetch(name))


@bench_app.command("fit")
def bench_fit(
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep the table as a record in this folder.")] = None,
) -> None:
    """Time `fast` fits, and `loonie` files, against `reference` (COIN's own way) to the same PSNR; about a minute."""
    from sparsecomp import bench

    if out is not None and not out.is_dir():
        raise InputError(f"output {str(out)!r}: there is no such folder")
    table = bench.bench_fit(seed)
    if out is not None:
        bench.write(table, out, seed)
    heads = ["mode", "backend", "optimiser", "pixels a step", "ns a pixel and step"]
    heads += [f"s to {target:g} dB" for target in table.targets] + [f"ratio, {target:g} dB" for target in table.targets]
    rows = []
    for row in table.rows:
        cells = [row.mode, row.backend, row.optimiser, f"{row.pixels:,}", f"{row.nanoseconds:,.0f}"]
        cells += ["-" if seconds is None else f"{seconds:,.2f}" for seconds in row.seconds]
        rows.append(cells + ["-" if ratio is None else f"{ratio:.0f}x" for ratio in table.ratios(row)])
    _table(f"{bench.ARCHITECTURE} on {table.picture}, threads: {table.threads}", heads, rows, [
        f"reference: seconds a step measured here, times the steps of a recorded course ({table.course})",
        "fast: whole fits, compiling the kernel and scoring included",
        f"loonie: until one of our files of at most {bench.LOONIE_BPP} bpp (a larger network) has that PSNR",
        f"-: not reached in {bench.FAST.steps} steps, or {bench.GIVE_UP:g} s",
    ])  # fmt: skip


@bench_app.command("projections")
def bench_projections(
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of the tensor that is projected.")] = 0,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep the table as a record in this folder.")] = None,
) -> None:
    """Time the projections of a layer's weights against sorting them; about ten seconds."""
    from sparsecomp import bench

    if out is not None and not out.is_dir():
        raise InputError(f"output {str(out)!r}: there is no such folder")
    table = bench.bench_projections(seed)
    if out is not None:
        bench.write_projections(table, out, seed)
    heads = ["projection", "ms", "of a sort", "radius", "zeros", "dead groups", "distance", "x Euclidean"]
    heads.append("released, ms")
    rows = []
    for row in table.rows:
        cells = [row.projection, f"{row.milliseconds:,.1f}", f"{table.ratio(row):.2f}", f"{row.radius:,.4g}"]
        cells += [f"{100 * share:.2f} %" for share in (row.sparsity, row.dead)] + [f"{row.distance:.3f}"]
        cells.append("-" if row.over_euclidean is None else f"{row.over_euclidean:.3f}")
        rows.append([*cells, "-" if row.released is None else f"{row.released:,.0f}"])
    _table(f"{'x'.join(map(str, table.shape))}, sort: {table.sort:,.1f} ms, threads: {table.threads}", heads, rows, [
        "distance: from the tensor, over the tensor's norm",
        "x Euclidean: distance of a bilevel projection over that of the Euclidean one at the same radius",
        "released: the paper's code, timed once on 4 cores; shown, not counted",
    ])  # fmt: skip


@app.command()
def verify(
    update: Annotated[bool, typer.Option("--update", help="Agree on today's verdicts from now on.")] = False,
) -> None:
    """Weigh every claim against the records; fail (exit 1) if one that held no longer does."""
    from sparsecomp import verdicts

    now, lost = (verdicts.weigh_all(), []) if update else verdicts.verify()
    rows = [[v.paper, v.claim, v.published, v.ours, v.verdict] for v in now]
    _table("verdicts, from the records", ["paper", "claim", "published", "ours", "verdict"], rows, [])
    if update:
        verdicts.write(now)
    elif lost:
        print(f"sparsecomp: no longer holds: {', '.join(lost)}", file=sys.stderr)
        raise typer.Exit(1)


# What the commands share ----------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Run a command and give the exit status: 0, 2 for bad input, 1 for a bug, or 130 after Ctrl-C.

    Bad input and bugs are one line on stderr; with ``--debug`` their traceback stands before it.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    options = {"debug": False}  # filled by `top`
    try:
        code = app(arguments or ["--help"], prog_name="sparsecomp", standalone_mode=False, obj=options)
    except typer.TyperException as error:
        where = getattr(error, "ctx", None)
        hint = f" (see {where.command_path} --help)" if where else ""
        return _fail(error.format_message() + hint, 2)
    except Exception as error:
        if options["debug"]:
            traceback.print_exception(error)
        if _is_bad_input(error):
            return _fail(_message(error), 2)
        hint = "" if options["debug"] else "; run again with --debug for the traceback"
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return _fail(f"internal error: {said}{hint}", 1)
    if code == 130:
        how = "; the same command goes on from the last checkpoints" if arguments[:1] == ["study"] else ""
        print("sparsecomp: stopped" + how, file=sys.stderr)
    return code or 0


def _is_bad_input(error: Exception) -> bool:
    """Is the error what the reader gave us, or what this machine lacks? Everything else is a bug of ours.

    Bad input is an `InputError`, or a learning rate so high that a loss is no number. A machine lacks pictures, a file
    or the right to it, memory, or an optional package.
    """
    if isinstance(error, ImportError):
        return (error.name or "").split(".")[0] != "sparsecomp"
    torch = sys.modules.get("torch")  # without it nothing of PyTorch's can have been raised
    if torch is not None and isinstance(error, RuntimeError):
        if isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error):
            return True
    return isinstance(error, (InputError, data.DataUnavailable, FloatingPointError, OSError, MemoryError))


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename!r}: {error.strerror}"
    return str(error) or type(error).__name__


def _fail(message: str, status: int) -> int:
    print("sparsecomp: " + " ".join(message.split()), file=sys.stderr)
    return status


def _check_out(out: Path, source: str | Path) -> None:
    """Refuse, before any work, a place where no file can be made, or one that would cost the reader the input."""
    if not out.parent.is_dir():
        raise InputError(f"output {str(out)!r}: there is no folder {str(out.parent)!r}")
    if out.exists() and not out.is_file():
        raise InputError(f"output {str(out)!r} is there and is no plain file")
    if not os.access(out.parent, os.W_OK):
        raise InputError(f"output {str(out)!r}: the folder {str(out.parent)!r} may not be written to")
    if out.exists() and os.path.exists(source) and out.samefile(source):
        raise InputError(f"output {str(out)!r} is the input: choose another name")


def _png(picture: np.ndarray) -> bytes:
    from io import BytesIO

    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def _budget(codec: str, profile: profiles.Profile) -> profiles.FitBudget | None:
    """How long a profile fits the network of a codec; None for a codec that fits none, or is unknown."""
    from sparsecomp.codecs.base import REGISTRY

    known = REGISTRY.get(codec)
    return getattr(profile, known.preset) if known and "budget" in known.options() else None


def _taken(codec: str, **options: object) -> dict[str, object]:
    """Those of the options that the codec has; a device is checked where it is used."""
    from sparsecomp.codecs.base import REGISTRY

    known = REGISTRY[codec].options() if codec in REGISTRY else ()
    taken = {name: value for name, value in options.items() if name in known}
    return taken | ({"device": _device(taken["device"])} if "device" in taken else {})


def _said_of_codecs() -> list[str]:
    """What codecs say of themselves below a table; those that say the same share a line."""
    from sparsecomp.codecs.base import REGISTRY, names

    said: dict[str, list[str]] = {}
    for name in names():
        said.setdefault(REGISTRY[name].note, []).append(name)
    return [f"{', '.join(of)}: {note}" for note, of in said.items() if note]


def _device(name: str) -> str:
    import torch

    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()) or name == "cpu:":
        raise InputError(f"device={name!r}: cpu, cuda or cuda:NUMBER is needed")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise InputError(f"device={name!r}: PyTorch sees {torch.cuda.device_count()} CUDA devices here")
    return name


def _check_fits(codec: Coin, image: np.ndarray, bpp: float) -> None:
    """Refuse a COIN network whose file would be over the budget, before it is fitted."""
    from sparsecomp.codecs.base import BudgetError, check_bpp

    check_bpp(bpp)
    height, width, _ = image.shape
    rate = 8 * codec.file_bytes(codec.architecture, height, width) / (height * width)
    if rate > bpp:
        raise BudgetError(f"coin {codec.architecture}", bpp, rate)


@contextmanager
def _progress(steps: int) -> Iterator[Callable[[int, dict], None]]:
    """What a fit reports its scores to: a bar on a terminal that goes when the fit ends, else a line every tenth."""
    if not sys.stderr.isatty():
        shown = 0

        def line(step: int, scores: dict) -> None:
            nonlocal shown
            if 10 * step // steps > shown:
                shown = 10 * step // steps
                print(f"step {step:,} of {steps:,}: {scores['psnr'][0]:.2f} dB", file=sys.stderr, flush=True)

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("fit", total=steps, visible=False)

        def advance(step: int, scores: dict) -> None:
            bar.update(task, completed=step, description=f"fit {scores['psnr'][0]:.2f} dB", visible=True)

        yield advance


@contextmanager
def _workers_die_with_us() -> Iterator[None]:
    """On Ctrl-C or a kill end the processes of a study too: its pool would first finish all pictures that wait."""
    import multiprocessing
    import signal

    def stop(number: int, frame: object) -> NoReturn:
        for process in multiprocessing.active_children():
            process.terminate()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# Tables and the page of `compare` -------------------------------------------------------------------------------------

HEADS = ["codec", "bytes", "bpp", "PSNR dB", "SSIM", "MS-SSIM", "encode s", "decode s", "MAC/px"]


def _cells(name: str, measured: Measurement | InputError) -> list[str]:
    if isinstance(measured, InputError):
        return [name] + ["-"] * (len(HEADS) - 1)
    m = measured
    return [
        name, f"{m.bytes:,}", f"{m.bpp:.4f}", f"{m.psnr:.2f}", "-" if m.ssim is None else f"{m.ssim:.4f}",
        "-" if m.ms_ssim is None else f"{m.ms_ssim:.4f}", f"{m.encode_seconds:.2f}", f"{m.decode_seconds:.3f}",
        "-" if m.macs_per_pixel is None else f"{m.macs_per_pixel:,.0f}",
    ]  # fmt: skip


def _table(title: str, heads: list[str], rows: list[list[str]], notes: list[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    # In a file or a pipe nothing may be cut to the width of a terminal that is not there.
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False)
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for i, head in enumerate(heads):
        table.add_column(head, justify="left" if rows[0][i][:1].isalpha() else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for note in notes:
        console.print(note, soft_wrap=True)


STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0 auto; padding: 1rem; max-width: 110rem; background: Canvas; color: CanvasText; }
h1 { font-size: 1.3rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid color-mix(in srgb, CanvasText 25%, Canvas); }
th:first-child, td:first-child { text-align: left; }
.pictures { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }
figure { margin: 0; }
img { display: block; width: 100%; height: auto; }
small { color: color-mix(in srgb, CanvasText 70%, Canvas); }
"""


def _page(title: str, image: np.ndarray, measured: dict[str, Measurement | InputError], notes: list[str]) -> str:
    """One HTML file that needs nothing else: the table, then the original and every decoded picture, lossless."""
    from base64 import b64encode

    def figure(name: str, picture: np.ndarray, caption: str) -> str:
        source = "data:image/png;base64," + b64encode(_png(picture)).decode()
        size = f'width="{picture.shape[1]}" height="{picture.shape[0]}"'
        alt = escape(name, quote=True)
        return (f'<figure><img src="{source}" {size} alt="{alt}">'
                f"<figcaption><strong>{escape(name)}</strong> {escape(caption)}</figcaption></figure>")  # fmt: skip

    rows = [_cells(name, m) for name, m in measured.items()]
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in HEADS)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    figures = [figure("original", image, "24 bpp before any codec")]
    for name, m in measured.items():
        if not isinstance(m, InputError):
            caption = f"{m.bytes:,} bytes, {m.bpp:.4f} bpp, {m.psnr:.2f} dB"
            caption += "" if m.ssim is None else f", SSIM {m.ssim:.4f}"
            figures.append(figure(name, m.reconstruction, caption))
    small = "<br>\n".join(escape(note) for note in notes)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<div class="scroll" tabindex="0" role="region" aria-label="measurements"><table>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>
</table></div>
<p><small>{small}</small></p>
<div class="pictures">
{chr(10).join(figures)}
</div>
</body>
</html>
"""
