"""Runs scenarios on both implementations, all at once, and compares."""

from __future__ import annotations

import difflib
import re
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from compat.differences import apply_rules
from compat.observation import observe
from compat.run import Run, Side, Stage
from compat.scenario import SCENARIOS, Scenario

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

#: Runs at a time. They mostly wait: for processes, answers, and the reconnect delay of 1.x.
WORKERS = 8


class Outcome(NamedTuple):
    """Both results of a scenario, and how they compare."""

    scenario: Scenario
    original: list[str]
    ours: list[str]
    #: Lines that differ and belong to no named difference of the scenario.
    unnamed: list[str]
    #: Lines that the scenario names and that do not differ (any more).
    vanished: list[str]
    #: The names of the differences that it shows.
    shown: set[str]


def compare(scenario: Scenario, original: list[str], ours: list[str]) -> Outcome:
    """Compare two results."""
    shown = set(scenario.differs)
    before, after = apply_rules(original, "original", shown), apply_rules(ours, "ours", shown)
    unnamed = [
        # `unified_diff` writes the sign without a blank.
        f"{line[0]} {line[1:]}".rstrip()
        for line in difflib.unified_diff(before, after, n=0, lineterm="")
        if not line.startswith(("---", "+++", "@@"))
    ]
    vanished = []
    for lines in scenario.differs.values():
        for line in lines:
            found = next((other for other in unnamed if _fits(line, other)), None)
            if found is None:
                vanished.append(line)
            else:
                unnamed.remove(found)
    return Outcome(scenario, original, ours, unnamed, vanished, shown)


def _fits(named: str, line: str) -> bool:
    """Whether a line is the one that is named, where `…` stands for any text."""
    return re.fullmatch(".*".join(map(re.escape, named.split("…"))), line) is not None


def run_both(scenario: Scenario, stage: Stage, folder: Path) -> Outcome:
    """Run a scenario on 1.3.0, then on ours: the same client id cannot be there twice."""
    results = [_run(scenario, side, stage, folder / side.name) for side in (stage.original, stage.ours)]
    return compare(scenario, *results)


def _run(scenario: Scenario, side: Side, stage: Stage, folder: Path) -> list[str]:
    folder.mkdir(parents=True)
    with Run(scenario, side, stage, folder) as run:
        scenario.drive(run)
        if run.script is not None:
            run.end()
        return observe(run)


def run_all(
    names: Iterable[str], stage: Stage, folder: Path
) -> tuple[ThreadPoolExecutor, dict[str, Future[Outcome]]]:
    """Begin to run scenarios; give their outcomes to be."""
    pool = ThreadPoolExecutor(WORKERS)
    return pool, {name: pool.submit(run_both, SCENARIOS[name], stage, folder / name) for name in names}
