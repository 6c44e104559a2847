"""What was built is what was meant: the version, the kind of build, and examples that work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import miqro
from harness import Observer, Script

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness import Broker

ROOT = Path(__file__).resolve().parent.parent
#: `async_bridge` wants a server, and has a test of its own.
EXAMPLES = sorted(path for path in (ROOT / "examples").glob("*.py") if path.stem != "async_bridge")


def test_the_version_is_that_of_the_crate() -> None:
    """One place says it: Cargo.toml (C1)."""
    cargo = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
    found = re.search(r'^version = "(.+)"$', cargo, re.MULTILINE)
    assert found is not None
    assert miqro.__version__ == found[1]


def test_a_debug_build_warns_on_import_and_another_does_not(tmp_path: Path) -> None:
    """Nobody measures a debug build by mistake. The tests run on an optimised one."""
    source = """
        import importlib
        import miqro
        print("imported in peace")
        miqro._native.DEBUG_BUILD = True
        importlib.reload(miqro)
    """
    with Script(tmp_path, source, options=("-W", "error")) as script:
        result = script.wait()
    assert result.out == "imported in peace"
    assert "RuntimeWarning: this is a debug build of miqro" in result.err


def test_there_are_examples() -> None:
    """The parametrised test below would pass on an empty folder."""
    assert {path.name for path in EXAMPLES} >= {"echo.py", "minimal.py", "sensor.py"}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_comes_online_works_and_ends(
    example: Path, broker: Broker, observer: Observer, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """Every example runs with the miqro.yml beside it (here: with another port)."""
    text = (ROOT / "examples" / "miqro.yml").read_text(encoding="utf-8")
    write_config(broker.port).write_text(text.replace("port: 1883", f"port: {broker.port}"), encoding="utf-8")
    prefix = f"service/{example.stem}"
    with Script(tmp_path, example) as script:
        observer.wait_for(f"{prefix}/online", "1")
        if example.stem == "sensor":
            load = float(observer.wait_for(f"{prefix}/load").text)
            observer.wait_for(f"{prefix}/busy", where=lambda message: message.text in {"0", "1"})
            if load > 0:
                observer.wait_for(f"{prefix}/highest")
                assert f"highest: {load}"[:12] in (tmp_path / "sensor.yaml").read_text(encoding="utf-8")
        if example.stem == "echo":
            observer.publish(f"{prefix}/echo", "hello")
            observer.wait_for(f"{prefix}/echo_response", "hello")
        script.terminate()
        observer.wait_for(f"{prefix}/online", "0")
        script.wait().check()
        assert not re.search(r"\b(?:WARNING|ERROR)\b", "\n".join(script.err.all()))
