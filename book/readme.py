"""Write the README's table and picture anew from the records: `make readme`."""

from __future__ import annotations

from pathlib import Path

from reproduce import plot
from reproduce.papers import cae_admm, loonie, sparse_cae
from reproduce.records import Records

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- made by `make readme` from results/runs: begin -->", "<!-- end -->"


def table() -> str:
    """One table: of each paper its method, what it is compared with, and what that shows."""
    records = Records(preset="laptop")
    (coin,) = (row for row in loonie.coin_table(records).rows if row["architecture"] == "10x28")
    whole = {row["method"]: row for row in loonie.methods_table(records).rows if row["pictures"] == 24}
    filters = {row["constraint"]: row for row in sparse_cae.table_1(records.at("desktop")).rows}["l1,1 (bilevel)"]
    more = cae_admm.bytes_more(records.at("desktop"), "pruned", "estimated", files="code")
    low, high = more.overlap
    best = cae_admm.stepped(records.at("desktop"), "estimated", (1, *cae_admm.STEPS))
    others = [cae_admm.family(records, codec).at(0.6) for codec in ("jpeg2000", "jpeg")]

    def of(method: str) -> str:
        return f"{whole[method]['PSNR in dB']} dB at {whole[method]['bpp of the file']} bpp"

    rows = (
        ("COIN, 10x28", f"{coin['PSNR, ours']} dB at {coin['bpp of the file']} bpp",
         f"published: {coin['PSNR, published']} dB", coin["preset"]),
        ("L0onie, gates", of("L0onie (gates)"), f"COIN with as many steps: {of('COIN, as many steps')}", "laptop"),
        ("Quantisation-aware COIN", of("our files: quantised in training"),
         "fewer bits per weight; no gates", "laptop"),
        ("Sparse CAE, 83 % zeros by Algorithm 1", f"{filters['dB at the same bytes']} dB at equal bytes",
         f"{filters['after surgery']} % fewer MACs in the encoder", "desktop"),
        ("CAE-ADMM, pruned code", f"{more.value:+.0f} % bytes at equal SSIM ({low:.2f} to {high:.2f})",
         "against the same network with an entropy estimate", "desktop"),
        ("The same network, entropy estimate", f"SSIM {best.at(0.6):.3f} at 0.6 bpp, best of four steps",
         f"JPEG 2000: {others[0]:.3f}, JPEG: {others[1]:.3f}", "desktop"),
    )  # fmt: skip
    return markdown([dict(zip(("method", "measured", "compared with", "preset"), row, strict=True)) for row in rows])


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
    png.write_bytes(picture().png())
