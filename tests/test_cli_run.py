"""Services run from the command line, against a real broker (contract C61)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

import pytest

from harness import Broker, Observer, Script
from miqro import _service, mqtt
from miqro._cli import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PRODUCTION = """\
import miqro

class Echo(miqro.Service):
    SERVICE_NAME = "echo"

    @miqro.handle("echo")
    def answer(self, payload):
        self.log.debug("at length")
        self.publish("answer", payload)
        self.publish("global/answer", payload, global_=True)

miqro.run(Echo)
"""
# A debug build warns on import; these tests read what the service says.
QUIET = {"PYTHONWARNINGS": "ignore::RuntimeWarning"}


def test_a_service_is_run_with_its_configuration_and_ends_cleanly(
    broker: Broker, observer: Observer, write_config: Callable[..., Path], tmp_path: Path
) -> None:
    """C61, C40: `-c`; SIGTERM ends it with status 0 and without a traceback."""
    with Script(tmp_path, PRODUCTION, "-c", str(write_config(broker.port)), env=QUIET) as service:
        observer.wait_for("service/echo/online", b"1")
        observer.publish("service/echo/echo", "hello")
        observer.wait_for("service/echo/answer", b"hello")
        service.terminate()
        result = service.wait()
        result.check(0)
    assert "at length" not in result.err


@pytest.mark.parametrize(("more", "arguments"), [("", ["-v"]), ("log_level: DEBUG", [])])
def test_it_says_everything_only_when_asked(
    more: str,
    arguments: list[str],
    broker: Broker,
    observer: Observer,
    write_config: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """C58, C61: `-v`, or `log_level` in the file; INFO otherwise (see the test before)."""
    with Script(
        tmp_path, PRODUCTION, "-c", str(write_config(broker.port, more)), *arguments, env=QUIET
    ) as service:
        observer.wait_for("service/echo/online", b"1")
        observer.publish("service/echo/echo", "hello")
        service.wait_err("at length")


def test_a_debug_run_hears_the_same_speaks_apart_and_throws_nobody_out(
    broker: Broker, observer: Observer, write_config: Callable[..., Path], tmp_path: Path
) -> None:
    """C61, bug 28: beside production, on the same broker; the prefix stands before all topics and the will."""
    config = str(write_config(broker.port))
    with Script(tmp_path, PRODUCTION, "-c", config, env=QUIET) as production:
        observer.wait_for("service/echo/online", b"1")
        with Script(tmp_path, PRODUCTION, "-c", config, "--mqtt-debug-prefix", "debug/", env=QUIET) as debug:
            observer.wait_for("debug/service/echo/online", b"1")
            observer.publish("service/echo/echo", "hello")
            for topic in ("service/echo/answer", "global/answer"):
                observer.wait_for(topic, b"hello")
                observer.wait_for(f"debug/{topic}", b"hello")
            debug.kill()
            debug.wait()
            observer.wait_for("debug/service/echo/online", b"0")
        assert production.running
        observer.publish("service/echo/echo", "again")
        observer.wait_for("service/echo/answer", b"again")
    assert (
        observer.payloads("service/echo/online").count("0") <= 1
    )  # the will of the production that was killed


def test_a_wrong_configuration_is_said_in_a_sentence(
    write_config: Callable[..., Path], tmp_path: Path
) -> None:
    """C61, C41: exit status 1, no traceback."""
    with Script(tmp_path, PRODUCTION, "-c", str(write_config(1883, broker="typo: 1")), env=QUIET) as service:
        result = service.wait()
    result.check(1)
    assert result.err.splitlines()[-1].startswith("echo: ")
    assert "typo" in result.err


def test_a_service_is_made_by_position_as_in_1_x(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """C61, C2: for services with a constructor of their own; the level stays open without `-v`."""
    made: list[tuple[object, ...]] = []

    class Service:
        SERVICE_NAME = "own"

        def __init__(self, path: object, level: object, client: object) -> None:
            made.append((path, level, client))

        def run(self) -> None:
            made.append(("run",))

    monkeypatch.setattr(_service, "default_log_level", 10)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yml").touch()
    run(cast("Any", Service), ["-c", "a.yml", "-v"])
    assert made == [("a.yml", logging.DEBUG, mqtt.Client), ("run",)]
    run(cast("Any", Service), [])
    assert made[2:] == [(None, None, mqtt.Client), ("run",)]
    assert _service.default_log_level == logging.INFO
