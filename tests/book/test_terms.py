"""Terms: the glossary's, and that a chapter uses none before it is defined or linked."""

from __future__ import annotations

import re
from pathlib import Path

import jupytext
import yaml

ROOT = Path(__file__).parents[2]
# Words of the glossary that English has as well: only a chapter's own definition could tell the two meanings apart.
ORDINARY = {"code", "estimate", "mask", "penalty", "record", "seed", "transform", "rate", "baseline", "preset"}
NOT_PROSE = re.compile(
    r"```.*?```|\$\$.*?\$\$(?: *\(eq-[\w-]+\))?|\$[^$]*\$|`[^`]*`|^#+ .*?$|^:.*?$|\[[^\]]*\]\([^)]*\)",
    re.DOTALL | re.MULTILINE,
)


def chapters() -> list[Path]:
    """The chapters in the order of the book."""
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
    files = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    return [ROOT / f"{file}.py" for file in files if file.startswith("notebooks/")]


def terms() -> list[str]:
    """Every term of the glossary."""
    text = (ROOT / "book" / "glossary.md").read_text()
    body = text[text.index("```{glossary}") : text.rindex("```")].splitlines()[1:]
    heads = [line for line in body if line and not line.startswith(" ")]
    assert len(heads) == len(set(heads)) >= 60
    return heads


def prose(path: Path) -> str:
    """What a chapter says in its own words; a linked or defined term stays as ``{term}`...` or **...**."""
    cells = [cell.source for cell in jupytext.read(path).cells if cell.cell_type == "markdown"]
    text = "\n\n".join(cells)
    text = re.sub(r"\{term\}`([^`<]*?)(?: <([^>]*)>)?`", lambda m: f"«{m[2] or m[1]}»", text)
    return NOT_PROSE.sub(" ", text)


def first(term: str, text: str) -> re.Match[str] | None:
    """The first place where a text uses a term, in the singular or plural, and not as a part of another one."""
    flags = 0 if term.isupper() or "-" in term else re.IGNORECASE
    pattern = rf"{re.escape(term)}(?:e?s)?"
    text = re.sub(rf"«(?!{pattern}»)[^»]*»|\*\*(?!{pattern}\*\*)[^*]*\*\*", " ", text, flags=flags)
    return re.search(rf"(?<![\w-])(\*\*|«)?({pattern})(?![\w-])", text, flags)


def test_glossary_is_in_alphabetical_order():
    entries = re.findall(r"(?:^[^\s`][^\n]*\n)+(?= )", (ROOT / "book" / "glossary.md").read_text(), re.MULTILINE)
    leading = [entry.splitlines()[0].casefold() for entry in entries]
    assert leading == sorted(leading, key=lambda name: name.replace("-", " "))


def test_no_term_is_used_before_its_definition():
    """In the order of the book, the first use of a term is its definition in bold, or a link to the glossary."""
    early = []
    for term in set(terms()) - ORDINARY:
        for chapter in chapters():
            found = first(term, prose(chapter))
            if found:
                if found[1] is None:
                    early.append(f"{chapter.stem}: {term}")
                break
    assert not sorted(early)


GREEK = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta kappa lambda mu nu xi pi rho sigma tau phi psi omega "
    "Delta Theta Lambda Pi Sigma Phi Omega"
).split()
CONSTANTS = {"e", "pi", "T"}  # T is also what transposes a matrix


def symbols(formula: str) -> set[str]:
    """The letters of a formula, each with its accent or alphabet; words and operators are left out."""
    formula = re.sub(r"\\(text|operatorname|mathrm|begin|end)\*?\{[^}]*\}", " ", formula)
    found = set()
    for mark in ("mathcal", "mathbb", "hat", "tilde"):
        pattern = rf"\\{mark}\s*\{{?(\\?[a-zA-Z0-9]+?)\}}?(?![a-zA-Z])"
        found |= {f"{mark} {letter.lstrip(chr(92))}" for letter in re.findall(pattern, formula)}
        formula = re.sub(pattern, " ", formula)
    found |= {name for name in GREEK if re.search(rf"\\{name}(?![a-zA-Z])", formula)}
    return (found | set(re.findall("[A-Za-z]", re.sub(r"\\[a-zA-Z]+", " ", formula)))) - CONSTANTS


def test_every_symbol_of_a_displayed_equation_is_in_the_notation():
    listed = re.findall(r"\$([^$]+)\$", (ROOT / "book" / "notation.md").read_text())
    known = set().union(*map(symbols, listed))
    missing = {}
    for chapter in chapters():
        text = "\n\n".join(cell.source for cell in jupytext.read(chapter).cells if cell.cell_type == "markdown")
        used = set().union(*map(symbols, re.findall(r"\$\$(.*?)\$\$", text, re.DOTALL)), set())
        if used - known:
            missing[chapter.stem] = used - known
    assert not missing
