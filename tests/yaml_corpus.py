"""Texts on which our YAML reader and PyYAML are compared, beside those that hypothesis finds."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent / "golden" / "yaml"

_CONTEXTS = (
    "{}",
    "- {}",
    "k: {}",
    "{}: v",
    "[{}]",
    "[a, {}, b]",
    "{{k: {}}}",
    "{{{}: v, w}}",
    "? {}",
    "--- {}\n...\n",
    "{}\n\n# a comment\n",
    "k:\n  - {} # a comment\n  - x\n",
    "- {}\n  continued",
)


def documents() -> list[str]:
    """Return every text of the corpus: each scalar in each context, and the whole documents.

    In the files a tab is written "\u2192", and a space at the end of a line "\u2423".
    """
    scalars = _read("scalars.txt").split("\n")
    wholes = _read("documents.txt").split("\n====\n")
    placed = [context.format(scalar) for scalar in scalars for context in _CONTEXTS]
    return list(dict.fromkeys([*placed, *wholes, *(whole + "\n" for whole in wholes)]))


def _read(name: str) -> str:
    text = (_FOLDER / name).read_text(encoding="utf-8").removesuffix("\n")
    return text.translate({0x2192: "\t", 0x2423: " "})
