"""The table of the scenarios with both results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat.differences import DIFFERENCES, RULES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from compat.compare import Outcome

_KINDS = ("wire", "session", "log", "out")


def write_report(outcomes: Iterable[Outcome], path: Path) -> None:
    """Write the table, the differences, and where they were seen."""
    everywhere = {rule.name for rule in RULES}
    rows, details = [], []
    for outcome in sorted(outcomes, key=lambda outcome: outcome.scenario.name):
        named = sorted(outcome.shown - everywhere)
        verdict = "FAILED" if outcome.unnamed or outcome.vanished else ", ".join(named) or "the same"
        scenario = outcome.scenario
        rows.append(
            f"| {scenario.name.replace('_', ' ')} | {scenario.covers} | {_counts(outcome.original)} "
            f"| {_counts(outcome.ours)} | {verdict} |"
        )
        lines = [line for lines in scenario.differs.values() for line in lines] + outcome.unnamed
        if lines:
            details += ["", f"### {scenario.name.replace('_', ' ')}", "", "```diff", *lines, "```"]
    path.parent.mkdir(parents=True, exist_ok=True)
    text = [
        "# Services of miqro 1.3.0, on 1.3.0 and on this miqro",
        "",
        "Messages on the wire / facts of the session / records of the log / lines of output.",
        "",
        "| scenario | contract | 1.3.0 | this one | compared |",
        "|---|---|---|---|---|",
        *rows,
        "",
        "## Intended differences",
        "",
        *(
            f"- `{name}`{' (everywhere)' if name in everywhere else ''}: {why}"
            for name, why in DIFFERENCES.items()
        ),
        "",
        "## Where they differ",
        *details,
    ]
    path.write_text("\n".join(text) + "\n", encoding="utf-8")


def _counts(lines: list[str]) -> str:
    return " / ".join(str(sum(line.startswith(kind + " ") for line in lines)) for kind in _KINDS)
