"""What `make instructions` says of counts that have changed (scripts/instructions.py)."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
RECORDED = {"publish/qos0": 1000.0, "router/exact": 200.0}


@pytest.fixture
def script() -> ModuleType:
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("instructions", ROOT / "scripts" / "instructions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def recorded_with(script: ModuleType, path: Path, monkeypatch: pytest.MonkeyPatch, **kind: str) -> None:
    """Has the script find a file that was recorded with this toolchain, and count what is in it."""
    path.write_text(
        json.dumps({"toolchain": {**script.toolchain(), **kind}, "rows": RECORDED}), encoding="utf-8"
    )
    monkeypatch.setattr(script, "RECORD", path)
    monkeypatch.setattr(script, "build", lambda: path)
    monkeypatch.setattr(script, "count", lambda _: {**RECORDED, "router/exact": 190.1})


def test_what_costs_six_per_cent_more_fails_and_says_what_to_do(script: ModuleType) -> None:
    failures, notes = script.compare(RECORDED, {**RECORDED, "publish/qos0": 1060.0})
    (failure,) = failures
    assert failure == (
        "publish/qos0: 1000.0 instructions before, 1060.0 now (+6.0%); if it is worth that: make instructions-accept, "
        "and say why in the commit"
    )
    assert not notes


@pytest.mark.parametrize("now", [950.1, 960.0, 1000.0, 1040.0, 1049.9])
def test_what_changes_by_less_than_five_per_cent_passes(script: ModuleType, now: float) -> None:
    assert script.compare(RECORDED, {**RECORDED, "publish/qos0": now}) == ([], [])


def test_what_costs_six_per_cent_less_passes_with_a_note(script: ModuleType) -> None:
    failures, notes = script.compare(RECORDED, {**RECORDED, "publish/qos0": 940.0})
    assert not failures
    assert notes == [
        "publish/qos0: 1000.0 instructions before, 940.0 now (-6.0%); keep the gain: make instructions-accept"
    ]


def test_a_row_that_is_no_longer_counted_fails(script: ModuleType) -> None:
    failures, _ = script.compare(RECORDED, {"router/exact": 200.0})
    assert failures == [
        "publish/qos0 is recorded and no longer counted; if it was taken out on purpose: make instructions-accept"
    ]


def test_a_row_that_is_not_recorded_fails(script: ModuleType) -> None:
    failures, _ = script.compare(RECORDED, {**RECORDED, "json/text": 7.0})
    assert failures == ["json/text is new (7.0 instructions); record it: make instructions-accept"]


def test_the_check_passes_where_counts_are_as_recorded(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded_with(script, tmp_path / "record.json", monkeypatch)
    assert script.check(strict=True) == 0
    assert "2 rows need no more instructions than recorded" in capsys.readouterr().out


@pytest.mark.parametrize("kind", [{"rustc": "1.0.0"}, {"arch": "pdp11"}, {"libc": "glibc 1.0"}])
@pytest.mark.parametrize(("strict", "status", "word"), [(False, 0, "note: "), (True, 1, "error: ")])
def test_another_toolchain_is_not_compared_with_and_never_passes_silently(
    script: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: dict[str, Any],
    strict: bool,
    status: int,
    word: str,
) -> None:
    recorded_with(script, tmp_path / "record.json", monkeypatch, **kind)
    assert script.check(strict) == status
    said = capsys.readouterr().err
    assert said.startswith(f"{word}the instructions cannot be compared: they were recorded with rustc ")
    assert next(iter(kind.values())) in said
    assert "make instructions-accept" in said


def test_continuous_integration_insists_on_the_comparison() -> None:
    """It is green only where something was compared."""
    assert "export INSTRUCTIONS_ARGS=--strict" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "scripts/instructions.py $(INSTRUCTIONS_ARGS)" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_every_row_that_is_counted_is_recorded() -> None:
    """And for every subject there is one."""
    source = (ROOT / "benches" / "core" / "work.rs").read_text(encoding="utf-8")
    record = json.loads((ROOT / "benches" / "instructions.json").read_text(encoding="utf-8"))
    rows = set(re.findall(r'"([a-z]+/[a-z0-9_]+)"', source))
    assert rows == set(record["rows"])
    subjects = {name.partition("/")[0] for name in rows}
    assert subjects >= {"publish", "receive", "codec", "router", "dedup", "payload", "json", "schedule"}


def test_a_part_without_a_count_is_an_error(script: ModuleType, tmp_path: Path) -> None:
    """A function that the compiler has renamed or inlined would count as nothing."""
    part = tmp_path / "callgrind.out.1"
    with pytest.raises(script.CountError, match="has not seen a call of instructions::counted"):
        script.total(part)
    part.write_text("version: 1\nsummary: 0\n", encoding="utf-8")
    with pytest.raises(script.CountError, match="has seen no instruction"):
        script.total(part)
    part.write_text("version: 1\nsummary: 1234\n", encoding="utf-8")
    assert script.total(part) == 1234
