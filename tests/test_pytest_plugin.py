"""The fixtures `miqro_service`, `miqro_broker` and `miqro_time`, as tests of service authors use them."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

SERVICE = """
import time
from datetime import timedelta
import pytest
import miqro
from miqro.test.tools import eventually, expect_next, run, send


class Echo(miqro.Service):
    SERVICE_NAME = "echo"
    USE_STATE_FILE = True
    ticks = 0

    @miqro.handle("echo")
    def echo(self, payload):
        greeting = (self.service_config or {}).get("greeting", "")
        self.publish("answer", greeting + payload)
        self.state["last"] = payload
        self.state.save()

    @miqro.handle("fail")
    def fail(self, payload):
        raise ValueError("Grüße " + payload)

    @miqro.loop(seconds=10)
    def tick(self):
        self.ticks += 1
        self.publish("tick", self.ticks)
"""


class Session:
    """Somebody's tests, run by a pytest of their own, which finds the plugin by itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, source: str, *arguments: str, path: str | None = None) -> tuple[int, str]:
        """Run tests; return the exit status and what pytest has said."""
        (self._folder / "test_echo.py").write_text(SERVICE + source, encoding="utf-8")
        (self._folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n", encoding="utf-8")
        environment = {"PYTHONWARNINGS": "ignore::RuntimeWarning", "HOME": str(self._folder)}
        environment["PATH"] = "/usr/bin:/bin" if path is None else path
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *arguments],
            cwd=self._folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def passes(self, source: str, count: int) -> None:
        """Run tests that all have to pass."""
        status, said = self.run(source)
        assert status == 0, said
        assert f"{count} passed" in said, said


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path)


def test_pytest_finds_the_plugin_by_its_entry_point() -> None:
    """C60: installed with the package, and imported by pytest alone."""
    (entry,) = [entry for entry in importlib.metadata.entry_points(group="pytest11") if entry.name == "miqro"]
    assert entry.value == "miqro.test.plugin"
    code = "import sys, miqro.test.tools, miqro.mqtt, miqro.ha_sensors; print('pytest' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-Wignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_services_on_doubles(session: Session) -> None:
    """C60: the configuration is given by the test; state does not reach the next one."""
    session.passes(
        """
def test_answers(miqro_service):
    service = miqro_service(Echo, {"services": {"echo": {"greeting": "Grüß Gott, "}}})
    send(service, "service/echo/echo", "Jürgen")
    expect_next(service, {"service/echo/answer": "m == 'Grüß Gott, Jürgen'"})
    again = miqro_service(Echo)
    assert again.state["last"] == "Jürgen"

def test_starts_without_state(miqro_service):
    assert "last" not in miqro_service(Echo).state

def test_an_hour(miqro_service, miqro_time):
    service = miqro_service(Echo)
    begin = time.monotonic()
    run(service, 3600)
    assert service.ticks == 360
    miqro_time.advance(60)
    assert time.monotonic() - begin < 20

def test_an_own_way_to_make_it(miqro_service):
    class Own(Echo):
        def __init__(self, name, path, **doubles):
            self.SERVICE_NAME = name
            super().__init__(path, **doubles)

    service = miqro_service(lambda path, **doubles: Own("mine", path, **doubles))
    send(service, "service/mine/echo", "x")
    expect_next(service, {"service/mine/answer": "m == 'x'"})
""",
        4,
    )


def test_services_on_a_broker(session: Session) -> None:
    """C60: they run in a thread, are online when the test goes on, survive the broker, and are stopped."""
    session.passes(
        """
made = []

def test_answers(miqro_service, miqro_broker):
    service = miqro_service(Echo, broker=miqro_broker)
    made.append(service)
    miqro_broker.publish("service/echo/echo", "hello")
    miqro_broker.expect_next({"service/echo/answer": "m == 'hello'", "service/echo/tick": "m == '1'"}, timeout=20)
    assert service.state["last"] == "hello"
    assert service.healthy()
    miqro_broker.stop()
    miqro_broker.messages.clear()
    miqro_broker.start()
    miqro_broker.expect_next({"service/echo/online": eventually("m == '1'")}, timeout=20)
    miqro_broker.publish("service/echo/echo", "again")
    miqro_broker.expect_next({"service/echo/answer": "m == 'again'"}, timeout=20)

def test_the_last_one_has_ended(miqro_broker, miqro_service):
    assert made[0].stop
    assert not made[0].is_connected
    first = miqro_service(Echo, broker=miqro_broker)
    first.stop = True
    miqro_broker.expect_next({"service/echo/online": eventually("m == '0'")}, timeout=20)
    second = miqro_service(Echo, broker=miqro_broker)
    assert second.is_connected

def test_each_test_has_a_broker_of_its_own(miqro_broker):
    with pytest.raises(AssertionError, match="Came, in order:\\n  nothing"):
        miqro_broker.expect_next({"service/echo/online": "True"}, timeout=0.1)

def test_virtual_time_and_brokers_do_not_go_together(miqro_service, miqro_broker, miqro_time):
    with pytest.raises(RuntimeError, match="virtual time is for services on doubles"):
        miqro_service(Echo, broker=miqro_broker)
""",
        4,
    )


def test_what_went_wrong_in_a_service_fails_the_test(session: Session) -> None:
    """C60, C16: a service survives the exception of a handler; its test does not, unless it says so."""
    status, said = session.run(
        """
def test_on_doubles(miqro_service):
    send(miqro_service(Echo), "service/echo/fail", "1")

def test_on_a_broker(miqro_service, miqro_broker):
    service = miqro_service(Echo, broker=miqro_broker)
    miqro_broker.publish("service/echo/fail", "2")
    miqro_broker.publish("service/echo/echo", "x")
    miqro_broker.expect_next({"service/echo/answer": "m == 'x'"}, timeout=20)

def test_that_is_meant(miqro_service):
    service = miqro_service(Echo, may_fail=True)
    send(service, "service/echo/fail", "3")
    assert service.failure_count == 1

def test_that_raises_from_run(miqro_service, miqro_broker):
    class Ends(Echo):
        @miqro.handle("end")
        def end(self, payload):
            raise SystemExit("no more")

    service = miqro_service(Ends, broker=miqro_broker)
    miqro_broker.publish("service/echo/end", "x")
    miqro_broker.expect_next({"service/echo/online": eventually("m == '0'")}, timeout=20)

def test_that_does_not_come_online(miqro_service, miqro_broker):
    class Silent(Echo):
        def run(self):
            raise OSError("no device")

    with pytest.raises(AssertionError, match="echo has ended at once"):
        miqro_service(Silent, broker=miqro_broker)
"""
    )
    assert status == 1
    assert "5 passed, 4 errors" in said, said
    for number in "12":
        assert f"ValueError: Grüße {number}. If that is what is tested, make it with may_fail=True" in said
    assert "echo: run() has raised SystemExit: no more" in said
    assert "echo: run() has raised OSError: no device" in said


def test_without_mosquitto_the_test_fails_with_a_sentence(session: Session, tmp_path: Path) -> None:
    """C60: it is not skipped: nobody would know that nothing was tested."""
    source = (
        "def test_it(miqro_broker):\n    pass\n\ndef test_other(miqro_service):\n    miqro_service(Echo)\n"
    )
    source += "from miqro.test import _broker\n_broker._MORE_PLACES = ()\n"
    status, said = session.run(source, path=str(tmp_path))
    assert status == 1
    assert "mosquitto is not installed: apt install mosquitto" in said
    assert "Traceback" not in said
    assert "1 passed, 1 error" in said


def test_the_documented_tests_pass(tmp_path: Path) -> None:
    """C60: docs/testing.md, typed in as it stands."""
    page = (Path(__file__).parent.parent / "docs" / "testing.md").read_text(encoding="utf-8")
    service, tests, script, *_ = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "echo.py").write_text(service, encoding="utf-8")
    (tmp_path / "test_echo.py").write_text(tests, encoding="utf-8")
    (tmp_path / "miqro.yml").write_text('services: {echo: {greeting: "Hello, "}}', encoding="utf-8")
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    for command, wanted in (
        (["-m", "pytest", "-q", "-p", "no:cacheprovider"], "3 passed"),
        (["script.py"], ""),
    ):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert wanted in done.stdout
