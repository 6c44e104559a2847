"""`make bench` measures what it says, of everybody, and only of a release build."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import miqro
from compare import growth, report, wire
from compare.__main__ import measure
from compare.rows import ROWS, chosen
from compare.setup import (
    GMQTT,
    MIQRO,
    MOSQUITTO,
    ORIGINAL,
    PYTHON,
    BenchError,
    Setup,
    prepared,
    refuse_slow_builds,
)
from harness import packets

if TYPE_CHECKING:
    from harness import Broker

ROOT = Path(__file__).resolve().parent.parent
#: These need nothing that only `make bench` makes.
HERE = (MIQRO, ORIGINAL, PYTHON)


@pytest.fixture
def setup(broker: Broker, tmp_path: Path) -> Setup:
    """What is measured here, with very few messages."""
    original = ROOT / ".cache/compat/venv/bin/python"
    pythons = {MIQRO: sys.executable, ORIGINAL: str(original), PYTHON: sys.executable}
    return Setup(broker.port, tmp_path, pythons, Path("unused"), 0.001)


def no_results() -> report.Results:
    """Results without values."""
    return report.Results({**report.machine(), "versions": {}, "rounds": 1, "scale": 1.0, "date": "today"})


@pytest.mark.parametrize(
    ("debug", "profile", "said"),
    [(True, "debug", "a debug build"), (False, "ci", "the profile 'ci'"), (False, "unknown", "'unknown'")],
)
def test_a_build_that_users_do_not_have_is_refused(debug: bool, profile: str, said: str) -> None:
    with pytest.raises(BenchError, match=said) as refusal:
        refuse_slow_builds(SimpleNamespace(DEBUG_BUILD=debug, BUILD_PROFILE=profile))
    assert "Run `make bench`" in str(refusal.value)


def test_the_extension_tells_how_it_was_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release build passes; of this one the benchmarks ask before anything else."""
    refuse_slow_builds(SimpleNamespace(DEBUG_BUILD=False, BUILD_PROFILE="release"))
    assert miqro._native.BUILD_PROFILE in {"debug", "ci", "release"}
    assert (miqro._native.BUILD_PROFILE == "debug") == miqro._native.DEBUG_BUILD
    monkeypatch.setattr(miqro._native, "BUILD_PROFILE", "ci")
    with pytest.raises(BenchError, match="the profile 'ci'"), prepared(1.0):
        pass


def test_the_command_line_says_which_rows_there_are() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "compare", "--rows", "publish-7"],
        env={"PYTHONPATH": f"{ROOT / 'benches'}:{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "there is no row 'publish-7'" in done.stderr
    assert "publish-0, publish-1" in done.stderr


def test_each_kind_of_row_is_measured_and_is_in_the_table(setup: Setup) -> None:
    """Ours and 1.3.0, each in its own process, with real messages: nothing is lost, everything has a figure."""
    names = [
        "publish-1",
        "receive-0-100",
        "log-in",
        "json",
        "unchanged",
        "burst",
        "round-trip",
        "memory",
        "idle",
    ]
    rows = [
        replace(row, clients=tuple(who for who in row.clients if who in HERE))
        for row in chosen([*names, "import", "loop-10", "save"])
    ]
    results = no_results()
    told: list[str] = []
    measure(setup, rows, 1, results, told.append)
    assert results.failures == []
    assert [text for text in told if text.startswith("publish-1")] == ["publish-1: round 1 of 1"]
    shown = report.table(results).splitlines()
    for row in rows:
        for line in row.lines:
            cells = next(found for found in shown if f"| {line.title} | {line.unit} |" in found).split(" | ")
            for who in row.clients:
                for figure in line.figures:
                    values = results.of(row.name, who, figure)
                    assert len(values) == 1, (row.name, who)
                    # A process that sleeps has used nothing; of two short imports the difference may be noise.
                    assert values[0] > 0 or row.name in {"idle", "import", "loop-10"}, (row.name, who)
            assert all(cells[2:4]), line.name


def test_services_in_processes_threads_and_one_event_loop_are_measured(setup: Setup) -> None:
    results = no_results()
    for how in ("processes", "threads", "asyncio"):
        for figure, value in growth._services(MIQRO, how, 2)(setup).items():
            results.add(f"services{figure}", f"{MIQRO}, {how}", {"2": value})
    table = growth.table(results)
    assert "| memory of each, MB (proportional set size) | 2 services |" in table
    assert table.count("| miqro, asyncio |") == 2


def test_growth_has_a_step_for_each_size_and_number() -> None:
    steps = {(series, much) for series, _, much, _ in growth._steps()}
    assert {much for series, much in steps if series == "receive"} == {10, 100, 1_000, 10_000}
    assert {much for series, much in steps if series == "publish-size"} == set(growth.SIZES)
    assert {much for series, much in steps if series == "services"} == {1, 5, 20}


def test_lost_messages_are_counted(broker: Broker) -> None:
    """A client that is quick because it loses some gets no figure."""
    size = len(packets.publish("counted/a", wire.PAYLOAD))
    with wire.Counter(broker.port, "counted/#", size) as counter, wire.Peer(broker.port) as peer:
        counter.socket.settimeout(0.5)
        for _ in range(2):
            peer.publish("counted/a", wire.PAYLOAD)
        with pytest.raises(BenchError, match="1 of 3 messages did not come"):
            counter.wait_for(3)


def test_a_client_that_fails_is_told_and_the_others_are_measured(setup: Setup) -> None:
    broken = replace(setup, pythons={**setup.pythons, ORIGINAL: sys.executable})
    row = replace(chosen(["json"])[0], clients=(ORIGINAL, PYTHON))

    def work(setup: Setup, who: str) -> dict[str, float]:
        if who == ORIGINAL:
            raise BenchError("the client has ended; the last of its stderr: no such module")
        return row.measure(setup, who)

    results = no_results()
    measure(broken, [replace(row, measure=work)], 2, results, lambda _text: None)
    assert len(results.of("json", PYTHON, "cpu")) == 2
    assert [text.partition(",")[0] for text in results.failures] == ["json", "json"]
    assert "- Not measured: json, miqro 1.3.0, round 2: the client has ended" in report.whole(results)


def verdict(ours: float, original: float, gmqtt: float | None) -> str:
    """What the table says in its last column of a publish at QoS 0."""
    results = no_results()
    for who, value in ((MIQRO, ours), (ORIGINAL, original), (GMQTT, gmqtt), (MOSQUITTO, 1.5)):
        if value is not None:
            results.add("publish-0", who, {"cpu": value})
    return report.table(results).splitlines()[-1].split("|")[-2].strip()


def test_a_goal_is_reached_only_if_all_of_it_is() -> None:
    assert verdict(0.9, 20.0, 4.0) == "yes"
    assert verdict(0.9, 20.0, None) == "yes, as far as it was measured"
    assert verdict(0.9, 9.0, 4.0) == "**no**: ≤ 1/15 of miqro 1.3.0"
    assert verdict(1.2, 20.0, 4.0) == "**no**: ≤ 1; ≤ 1/4 of gmqtt"


def test_goals_name_figures_and_lines_that_exist() -> None:
    lines: dict[str, Any] = {line.name: line for row in ROWS for line in row.lines}
    assert len(lines) == sum(len(row.lines) for row in ROWS)
    for line in lines.values():
        for goal in line.goals:
            assert not goal.figure or goal.figure in line.figures
            assert not goal.line or goal.line in lines


def test_the_table_is_written_into_the_document_between_its_marks(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", encoding="utf-8")
    results = no_results()
    results.add("json", MIQRO, {"cpu": 2.0})
    kept = tmp_path / "results.json"
    results.write(kept)
    report.write_into(document, report.Results.read(kept))
    text = document.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{report.BEGIN}\n")
    assert text.endswith(f"{report.END}\nafter\n")
    assert "| 2.00 | " in text
    assert "old" not in text
    document.write_text("no marks", encoding="utf-8")
    with pytest.raises(ValueError, match="has no place for the table"):
        report.write_into(document, results)
