"""The scenarios: what each is about, and which named differences it shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from compat.run import Run

    Driver = Callable[[Run], None]

SERVICES = Path(__file__).resolve().parent / "services"
SCENARIOS: dict[str, Scenario] = {}


class Scenario(NamedTuple):
    """A service, and what happens to it.

    `differs` has, by the name of an entry in `differences.py`, the lines by which the two results differ: `- ` is
    what 1.3.0 shows, `+ ` what this one shows. In them `…` stands for any text.
    """

    name: str
    title: str
    covers: str
    path: Path
    class_name: str
    service_name: str
    prefix: str
    online: str
    in_order: bool
    statistics: bool
    differs: Mapping[str, tuple[str, ...]]
    drive: Driver


def scenario(
    service: str,
    covers: str,
    *,
    prefix: str | None = None,
    online: str = "online",
    in_order: bool = False,
    statistics: bool = False,
    differs: Mapping[str, str] | None = None,
) -> Callable[[Driver], Driver]:
    """Register a scenario; the name of the function is its name, its docstring the sentence it shows.

    Args:
        service: `file.Class` below `services/`.
        covers: The lines of the contract.
        prefix: The service's prefix, if it is not `service/<SERVICE_NAME>/`.
        online: The end of its will topic, below the prefix.
        in_order: Compare the order of messages over all topics, not only within each.
        statistics: Compare those of the loops too. Otherwise the first are a race with the end of a short scenario.
        differs: The lines of each named difference.
    """
    file, _, class_name = service.partition(".")
    path = SERVICES / f"{file}.py"
    found = re.search(
        rf'^class {class_name}\b.*?^    SERVICE_NAME = "([^"]+)"',
        path.read_text("utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    assert found is not None, f"{path} has no class {class_name} with a SERVICE_NAME"
    name = found[1]

    def register(drive: Driver) -> Driver:
        for other in SCENARIOS.values():
            # Messages are told apart by the name, and all scenarios run at once.
            assert name not in other.service_name, f"{name} is part of {other.service_name}"
            assert other.service_name not in name, f"{other.service_name} is part of {name}"
        assert drive.__name__ not in SCENARIOS
        assert drive.__doc__
        SCENARIOS[drive.__name__] = Scenario(
            drive.__name__,
            " ".join(drive.__doc__.split()),
            covers,
            path,
            class_name,
            name,
            f"service/{name}/" if prefix is None else prefix,
            online,
            in_order,
            statistics,
            {key: _lines(text) for key, text in (differs or {}).items()},
            drive,
        )
        return drive

    return register


def _lines(text: str) -> tuple[str, ...]:
    lines = tuple(line.strip() for line in text.strip().splitlines())
    assert lines, "a difference has lines"
    assert all(line.startswith(("- ", "+ ")) for line in lines), text
    return lines
