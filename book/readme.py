"""Write the README's table and picture anew from the records: `make readme`."""

from __future__ import annotations

from pathlib import Path

from reproduce import plot
from reproduce.papers import cae_admm, loonie, sparse_cae
from reproduce.records import Records

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- made by `make readme` from results/runs: begin -->", "<!-- end -->"


def table() -> str:
    """The tables of COIN, of L0onie on all of Kodak, of Sparse CAE (its Table I), and of CAE-ADMM, in Markdown."""
    records = Records(preset="laptop")
    whole = [row for row in loonie.methods_table(records).rows if row["pictures"] == 24]
    return "\n\n".join((
        markdown(loonie.coin_table(records).rows, leave_out=("SSIM", "s to encode")),
        markdown(whole),
        markdown(sparse_cae.table_1(records).rows),
        markdown(cae_admm.variants_table(records).rows, leave_out=("nats, the released code's bpp", "updates of ADMM")),
    ))  # fmt: skip


def markdown(rows: list[dict], leave_out: tuple[str, ...] = ()) -> str:
    """Rows as a table in Markdown, without some columns."""
    rows = [{name: str(cell) for name, cell in row.items() if name not in leave_out} for row in rows]
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def picture() -> plot.Figure:
    """Our files against published ones, as in the chapter on L0onie, others' points hollow."""
    shown = loonie.files_against_published(Records(preset="laptop"))
    figure, axes = plot.panels()
    for row in shown.rows:
        look = {"mfc": "none", "ls": "--"} if "printed" in row else {"ms": 17, "ls": "none"} if "whole" in row else {}
        axes.plot(row["x"], row["y"], label=row["name"], **plot.style(row["series"], **look))
    axes.set(xlabel=plot.BPP, ylabel=plot.PSNR)
    axes.legend(frameon=False, fontsize=8)
    plot.sign(figure, shown.records)
    return figure


def filled(text: str) -> str:
    """The README with its table as the records have it."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END, 1)[1]}"


if __name__ == "__main__":
    readme, png = ROOT / "README.md", ROOT / "results" / "figures" / "rate-distortion.png"
    readme.write_text(filled(readme.read_text()))
    png.parent.mkdir(exist_ok=True)
    png.write_bytes(picture()._repr_png_())
