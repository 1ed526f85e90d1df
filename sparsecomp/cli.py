"""The command line. Every command is a few lines around a library function; what is particular to it stands here:
progress, plain tables, files that appear whole or not at all, and errors in one line, with exit status 2 for bad input
and 1 for a bug.

PyTorch is imported inside the commands that need it, so that ``sparsecomp --help`` is there at once.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer.core import TyperCommand

from sparsecomp import __version__, data
from sparsecomp.checks import InputError, one_of
from sparsecomp.files import write_atomic
from sparsecomp.report import HEADS, cells, page, png, show_table
from sparsecomp.training.configs import PRESETS

if TYPE_CHECKING:
    import numpy as np

    from sparsecomp.codecs import Measurement
    from sparsecomp.codecs.network import Coin
    from sparsecomp.training.configs import FitBudget

EXAMPLES = """
Try it on a bundled photograph:

  sparsecomp encode astronaut -o astronaut.spc --codec jpeg --bpp 0.5

  sparsecomp decode astronaut.spc -o astronaut.png

  sparsecomp compare astronaut --bpp 0.3 --html astronaut.html
"""
plain: dict[str, Any] = {
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "context_settings": {"max_content_width": 100},
}
app = typer.Typer(**plain)
data_app = typer.Typer(help="The pictures: which sets there are, and getting one.", **plain)
app.add_typer(data_app, name="data")

Picture = Annotated[
    str,
    typer.Argument(metavar="PICTURE", help="A picture file, or a bundled photograph: " + ", ".join(data.BUNDLED)),
]
File = Annotated[Path, typer.Argument(metavar="FILE.spc", help="A file that `encode` wrote.")]
Seed = Annotated[int, typer.Option(min=0, max=2**31 - 1, help="First values and order of the pixels of a fit.")]
Device = Annotated[str, typer.Option(help="Where networks are fitted or run: cpu, cuda or cuda:NUMBER.")]
NAMES = ", ".join(PRESETS)


def _version(asked: bool) -> None:
    if asked:
        print(f"sparsecomp {__version__}")
        raise typer.Exit()


def top(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options that stand before a command."""
    context.ensure_object(dict)["debug"] = debug


app.callback(
    help="Sparse neural networks as image codecs: a picture becomes a file, and a file a picture.", epilog=EXAMPLES
)(top)


# Pictures and files ---------------------------------------------------------------------------------------------------


class _ListsCodecs(TyperCommand):
    """The codecs are known to their registry alone, which needs PyTorch: they are named when the help is asked for."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from sparsecomp import codecs

        for parameter in cast(Any, self.params):
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
    cae-theis use networks that are trained already; decoding needs the same model.
    """
    one_of("profile", profile, PRESETS)
    if keep is not None and bpp is not None:
        raise InputError(f"--keep {keep:g} and --bpp {bpp:g}: give one of them, each says how long the file will be")
    if out is None:
        out = Path(Path(picture).stem + ".spc")
        if out.exists():
            raise InputError(f"{str(out)!r} is there already: say with -o what to write")
    check_out(out, picture)
    image = data.load_picture(picture)
    from sparsecomp import codecs

    given = (("arch", arch), ("coordinates", coordinates), ("model", model), ("keep", keep))
    options: dict[str, Any] = {name: value for name, value in given if value is not None}
    fit = _budget(codec, profile)
    with _progress(fit.steps if fit else 1) as on_score:
        options |= _taken(codec, budget=fit, seed=seed, device=device, on_score=on_score)
        made: Any = codecs.get_codec(codec, **options)
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
    check_out(out, file)
    written = file.read_bytes()
    from sparsecomp import codecs

    picture = codecs.decode(written)
    write_atomic(out, png(picture))
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
    one_of("profile", profile or "laptop", PRESETS)
    if html is not None:
        check_out(html, picture)
    image = data.load_picture(picture)
    from sparsecomp import codecs
    from sparsecomp.codecs.base import check_bpp

    check_bpp(bpp)
    fits = {name: fit for name in codecs.NAMES if (fit := _budget(name, profile or "laptop"))}
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
    show_table(title, HEADS, [cells(name, m) for name, m in measured.items()], notes)
    if html is not None:
        write_atomic(html, page(title, image, measured, notes).encode())
        print(f"{html}: the pictures")


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


# What the commands share ----------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Run a command of `app` and give the exit status."""
    return run(app, "sparsecomp", sys.argv[1:] if arguments is None else arguments)


def run(app: typer.Typer, program: str, arguments: list[str]) -> int:
    """Run a command and give the exit status: 0, 2 for bad input, 1 for a bug, or 130 after Ctrl-C.

    Bad input and bugs are one line on stderr; with ``--debug`` their traceback stands before it.
    """
    options = {"debug": False}  # filled by `top`
    try:
        code = app(arguments or ["--help"], prog_name=program, standalone_mode=False, obj=options)
    except typer.TyperException as error:
        where = getattr(error, "ctx", None)
        hint = f" (see {where.command_path} --help)" if where else ""
        return _fail(program, error.format_message() + hint, 2)
    except Exception as error:
        if options["debug"]:
            traceback.print_exception(error)
        if _is_bad_input(error):
            return _fail(program, _message(error), 2)
        hint = "" if options["debug"] else "; run again with --debug for the traceback"
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return _fail(program, f"internal error: {said}{hint}", 1)
    if code == 130:
        how = "; the same command resumes" if arguments[:1] in (["study"], ["sweep"]) else ""
        return _fail(program, "stopped" + how, 130)
    return code or 0


def _is_bad_input(error: Exception) -> bool:
    """Is the error what the reader gave us, or what this machine lacks? Everything else is a bug of ours.

    Bad input is an `InputError`, or a learning rate so high that a loss is no number. A machine lacks pictures, a file
    or the right to it, memory, or an optional package.
    """
    if isinstance(error, ImportError):
        return (error.name or "").split(".")[0] not in ("sparsecomp", "reproduce")
    torch = sys.modules.get("torch")  # without it nothing of PyTorch's can have been raised
    if torch is not None and isinstance(error, RuntimeError):
        if isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error):
            return True
    return isinstance(error, (InputError, data.DataUnavailable, FloatingPointError, OSError, MemoryError))


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename!r}: {error.strerror}"
    return str(error) or type(error).__name__


def _fail(program: str, message: str, status: int) -> int:
    print(f"{program.split()[-1]}: {' '.join(message.split())}", file=sys.stderr)
    return status


def check_out(out: Path, source: str | Path) -> None:
    """Refuse, before any work, a place where no file can be made, or one that would cost the reader the input."""
    if not out.parent.is_dir():
        raise InputError(f"output {str(out)!r}: there is no folder {str(out.parent)!r}")
    if out.exists() and not out.is_file():
        raise InputError(f"output {str(out)!r} is there and is no plain file")
    if not os.access(out.parent, os.W_OK):
        raise InputError(f"output {str(out)!r}: the folder {str(out.parent)!r} may not be written to")
    if out.exists() and os.path.exists(source) and out.samefile(source):
        raise InputError(f"output {str(out)!r} is the input: choose another name")


def _budget(codec: str, profile: str) -> FitBudget | None:
    """How long the network of a codec is fitted; None for a codec that fits none, or is unknown."""
    from sparsecomp.codecs.base import REGISTRY

    known = REGISTRY.get(codec)
    return known.budgets.get(profile) if known else None


def _taken(codec: str, **options: Any) -> dict[str, Any]:
    """Those of the options that the codec has; a device is checked where it is used."""
    from sparsecomp.codecs.base import REGISTRY

    known = REGISTRY[codec].options() if codec in REGISTRY else ()
    taken = {name: value for name, value in options.items() if name in known}
    return taken | ({"device": checked_device(taken["device"])} if "device" in taken else {})


def _said_of_codecs() -> list[str]:
    """What codecs say of themselves below a table; those that say the same share a line."""
    from sparsecomp.codecs.base import REGISTRY, names

    said: dict[str, list[str]] = {}
    for name in names():
        said.setdefault(REGISTRY[name].note, []).append(name)
    return [f"{', '.join(of)}: {note}" for note, of in said.items() if note]


def checked_device(name: str) -> str:
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
