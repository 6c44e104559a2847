"""Services written for miqro 1.3.0 do the same on this miqro, but for the differences that are named."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from compat import scenarios
from compat.compare import Outcome, run_all
from compat.differences import DIFFERENCES
from compat.observation import parse_log
from compat.report import write_report
from compat.run import Side, Stage
from compat.scenario import SCENARIOS
from compat.wire import BrokerLog, Tap
from harness import Broker
from harness.broker import free_port
from harness.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

#: An interpreter with another installation of ours may be named: of a wheel that was installed over 1.3.0, say.
OURS = Path(os.environ.get("MIQRO_COMPAT_PYTHON") or sys.executable)
ROOT = Path(__file__).resolve().parents[2]
ORIGINAL = ROOT / ".cache" / "compat" / "venv" / "bin" / "python"
REPORT = ROOT / ".cache" / "compat" / "report.md"

scenarios.load()


def _version(side: Side) -> str:
    code = (
        "import importlib.metadata as m, sys; sys.path.pop(0); import miqro;"
        "print(m.version('miqro'), 'paho' in sys.modules)"
    )
    return subprocess.run(
        [str(side.python), "-Wignore", "-c", code], capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Both implementations, one broker, and the third client."""
    assert ORIGINAL.exists(), "miqro 1.3.0 is not there to compare with: run `make compat-venv`"
    original, ours = Side("original", ORIGINAL), Side("ours", OURS)
    assert _version(original) == "1.3.0 True\n"
    assert _version(ours).endswith(" False\n")
    folder = tmp_path_factory.mktemp("broker")
    authority, tls_port = Authority(folder), free_port()
    with (
        Broker(folder, options=authority.issue("127.0.0.1").listener(tls_port)) as broker,
        BrokerLog(broker) as log,
        Tap(broker.port) as tap,
    ):
        yield Stage(original, ours, broker, tap, log, tls_port, authority.file)


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, stage: Stage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Outcome]]]:
    """The outcomes of the scenarios that were selected; they run at once, from the first test on."""
    selected = [
        item.callspec.params["name"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == Path(__file__) and hasattr(item, "callspec")
    ]
    pool, futures = run_all(selected, stage, tmp_path_factory.mktemp("compat"))
    yield futures
    pool.shutdown(cancel_futures=True)
    done = [future.result() for future in futures.values() if future.done() and not future.exception()]
    write_report(done, REPORT)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_service_of_1_x_does_the_same(name: str, outcomes: dict[str, Future[Outcome]]) -> None:
    """The wire, the session, the log and the output of a scenario are the same, or differ as named."""
    outcome = outcomes[name].result()
    assert not outcome.unnamed, "differences without a name (see tests/compat/differences.py):\n" + "\n".join(
        outcome.unnamed
    )
    assert not outcome.vanished, "named differences that are gone:\n" + "\n".join(outcome.vanished)


def test_every_difference_that_is_named_is_shown(outcomes: dict[str, Future[Outcome]]) -> None:
    """An entry that no scenario shows any more has to go."""
    if set(outcomes) != set(SCENARIOS):
        pytest.skip("only some of the scenarios were selected")
    shown = set().union(*(future.result().shown for future in outcomes.values()))
    assert shown == set(DIFFERENCES)
    listed = {name for scenario in SCENARIOS.values() for name in scenario.differs}
    assert listed <= set(DIFFERENCES)


def test_every_difference_has_its_line_in_the_migration_notes() -> None:
    """`docs/migration.md` tells of each, and of no other that claims to be shown here."""
    notes = (ROOT / "docs" / "migration.md").read_text(encoding="utf-8")
    assert set(re.findall(r'<a id="([\w-]+)"></a>', notes)) == set(DIFFERENCES)


def test_there_are_scenarios_for_every_section_of_the_contract() -> None:
    """At least forty, over every section that 1.3.0 knows."""
    assert len(SCENARIOS) >= 40
    covered = {int(line) for item in SCENARIOS.values() for line in re.findall(r"C(\d+)", item.covers)}
    # Async (C70 to C72), test tools (C60) and what is told apart by no third client have no counterpart in 1.3.0.
    assert {1, 2, 3, 4, 5, *range(10, 18), 18, 19, *range(30, 38), 40, 41, 42, 43, 44, 45, 46} <= covered
    assert {50, 51, 52, 53, 55, 56, 57, 58, 59, 61} <= covered


def test_what_another_thread_logs_meanwhile_does_not_hide_the_death_of_one() -> None:
    """A traceback is written line by line, and 1.x logs on its main thread while its network thread dies."""
    record = "2026-01-01 00:00:00,000  h_raises.main  INFO \tMQTT disconnected, rc=7"
    lines = [
        "Exception in thread Thread-1:",
        "Traceback (most recent call last):",
        '  File "x.py", line 1, in f',
        record,
        "    1 / 0",
        "ZeroDivisionError: division by zero",
        "Traceback (most recent call last):",
        "ValueError: of the main thread",
    ]
    records, crashes = parse_log(lines)
    assert [item.message for item in records] == ["MQTT disconnected, rc=7"]
    assert crashes == ["crash of a thread: ZeroDivisionError"]
    assert records[0].error == "ValueError: of the main thread"
