"""Write the README's table and picture anew from the records: `make readme`."""

from __future__ import annotations

from pathlib import Path

from reproduce import figures

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- made by `make readme` from results/runs: begin -->", "<!-- end -->"


def table() -> str:
    """The tables of COIN, of L0onie on all of Kodak, of Sparse CAE (its Table I), and of CAE-ADMM, in Markdown."""
    loonie = figures.loonie_table()
    coin = figures.coin_table().drop(columns=["SSIM", "s to encode"])
    admm = figures.admm_variants_table().drop(columns=["nats, the released code's bpp", "updates of ADMM"])
    whole = [coin, loonie[loonie["pictures"] == 24], figures.cae_table(), admm]
    return "\n\n".join(map(markdown, whole))


def markdown(rows: figures.Table) -> str:
    lines = [list(rows.columns), ["---"] * rows.shape[1], *rows.astype(str).values.tolist()]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def filled(text: str) -> str:
    """The README with its table as the records have it."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END, 1)[1]}"


if __name__ == "__main__":
    readme, picture = ROOT / "README.md", ROOT / "results" / "figures" / "rate-distortion.png"
    readme.write_text(filled(readme.read_text()))
    picture.parent.mkdir(exist_ok=True)
    picture.write_bytes(figures.loonie_files()._repr_png_())
