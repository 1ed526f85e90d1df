"""What `compare` shows: a table of measurements, and a page with the table and the pictures."""

from __future__ import annotations

import sys
from base64 import b64encode
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sparsecomp.checks import InputError

if TYPE_CHECKING:
    from sparsecomp.codecs import Measurement

HEADS = ["codec", "bytes", "bpp", "PSNR dB", "SSIM", "MS-SSIM", "encode s", "decode s", "MAC/px"]


def cells(name: str, measured: Measurement | InputError) -> list[str]:
    """One row of the table, in the order of `HEADS`; dashes for a codec that refused."""
    if isinstance(measured, InputError):
        return [name] + ["-"] * (len(HEADS) - 1)
    m = measured
    return [
        name, f"{m.bytes:,}", f"{m.bpp:.4f}", f"{m.psnr:.2f}", "-" if m.ssim is None else f"{m.ssim:.4f}",
        "-" if m.ms_ssim is None else f"{m.ms_ssim:.4f}", f"{m.encode_seconds:.2f}", f"{m.decode_seconds:.3f}",
        "-" if m.macs_per_pixel is None else f"{m.macs_per_pixel:,.0f}",
    ]  # fmt: skip


def show_table(title: str, heads: list[str], rows: list[list[str]], notes: list[str]) -> None:
    """Print a table, its columns of numbers flush right, with notes below it."""
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


def page(title: str, image: np.ndarray, measured: dict[str, Measurement | InputError], notes: list[str]) -> str:
    """One HTML file that needs nothing else: the table, then the original and every decoded picture, lossless."""

    def figure(name: str, picture: np.ndarray, caption: str) -> str:
        source = "data:image/png;base64," + b64encode(png(picture)).decode()
        size = f'width="{picture.shape[1]}" height="{picture.shape[0]}"'
        alt = escape(name, quote=True)
        return (f'<figure><img src="{source}" {size} alt="{alt}">'
                f"<figcaption><strong>{escape(name)}</strong> {escape(caption)}</figcaption></figure>")  # fmt: skip

    rows = [cells(name, m) for name, m in measured.items()]
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


def png(picture: np.ndarray) -> bytes:
    """The picture as a PNG file."""
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()
