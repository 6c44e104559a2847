"""What a service tells systemd: READY, STATUS, STOPPING, WATCHDOG (contract C61, C43)."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import miqro
from harness import FakeBroker, Script
from harness.broker import free_port
from services import DEADLINE, Records, Running, deliver, make

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness import Broker, Peer

#: A service gives three signs in this time, in microseconds.
WATCHDOG = "300000"

SERVICE = """
import miqro

class Unit(miqro.Service):
    SERVICE_NAME = "unit"

    @miqro.handle("hang")
    def hangs_for_ever(self, payload):
        print("hanging", flush=True)
        while True:
            pass

miqro.run(Unit)
"""


class Manager:
    """The end of `NOTIFY_SOCKET` that systemd has."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def close(self) -> None:
        self._socket.close()

    def next(self, timeout: float = DEADLINE) -> list[str]:
        """The next message, line by line.

        Raises:
            TimeoutError: None has come.
        """
        self._socket.settimeout(timeout)
        return self._socket.recv(4096).decode().splitlines()

    def until(self, wanted: str) -> list[str]:
        """All the lines that come, to the first one that begins like this."""
        lines: list[str] = []
        while not any(line.startswith(wanted) for line in lines):
            lines += self.next()
        return lines

    def waiting(self) -> list[str]:
        """The lines that have come, without waiting for more."""
        lines: list[str] = []
        try:
            while True:
                lines += self.next(0.000001)
        except (TimeoutError, BlockingIOError):
            return lines

    def nothing_more(self) -> bool:
        """Whether nothing comes for as long as several signs of life would take."""
        try:
            self.next(4 * int(WATCHDOG) / 1e6)
        except TimeoutError:
            return True
        return False


@pytest.fixture(autouse=True)
def _everything_is_logged() -> Iterator[None]:
    logger = logging.getLogger("unit.main")
    logger.setLevel(logging.DEBUG)
    yield
    logger.setLevel(logging.NOTSET)


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    """systemd, listening on a socket of either kind."""
    name = (
        f"@miqro-test-{os.getpid()}-{id(request)}"
        if request.param == "abstract"
        else str(tmp_path / "notify")
    )
    manager = Manager(name)
    yield manager
    manager.close()


@pytest.fixture
def notified(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> Manager:
    """systemd, for services of this process."""
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    monkeypatch.setenv("WATCHDOG_USEC", WATCHDOG)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    return manager


class Unit(miqro.Service):
    SERVICE_NAME = "unit"
    well = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gate = threading.Event()

    @miqro.handle("wait")
    def wait(self, payload: str) -> None:
        assert self.gate.wait(DEADLINE)


class Judges(Unit):
    def healthy(self) -> bool:
        if self.well is None:
            raise OSError("the sensor is gone")
        return super().healthy() and self.well


def test_a_service_is_ready_before_there_is_a_broker_and_tells_how_it_goes_on(
    make_broker: Callable[..., Broker], write_config: Callable[..., Path], tmp_path: Path, manager: Manager
) -> None:
    """C61, C43: READY, the status of the connection in words, signs of life all along, STOPPING."""
    port = free_port()
    write_config(port, broker="reconnect_delay_max: 0.05\nreconnect_delay_min: 0.05")
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": WATCHDOG}
    with Script(tmp_path, SERVICE, env=environment) as script:
        assert manager.next()[0] == "READY=1"
        words = manager.until("STATUS=connecting to")
        assert words[-1].startswith(f"STATUS=connecting to 127.0.0.1:{port}: ")
        assert "nothing listens" in words[-1]
        assert "WATCHDOG=1" in manager.until("WATCHDOG=1"), (
            "that the broker is away is no reason for a restart"
        )
        broker = make_broker(port=port).start()
        assert manager.until("STATUS=connected")[-1] == f"STATUS=connected to 127.0.0.1:{port}"
        manager.until("WATCHDOG=1")
        broker.kill()
        manager.until(f"STATUS=connecting to 127.0.0.1:{port}: ")
        script.terminate()
        assert manager.until("STOPPING=1")[-2:] == ["STOPPING=1", "STATUS=stopping"]
        script.wait().check()
    assert not manager.waiting(), "STOPPING is the last word"


def test_a_handler_that_hangs_starves_the_watchdog_and_its_end_shows_where(
    broker: Broker, write_config: Callable[..., Path], tmp_path: Path, manager: Manager
) -> None:
    """C61: systemd sends SIGABRT then; the stacks of all threads are in the journal."""
    write_config(broker.port)
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": WATCHDOG}
    with Script(tmp_path, SERVICE, env=environment) as script:
        manager.until("STATUS=connected")
        manager.until("WATCHDOG=1")
        client = miqro.mqtt.Client("sender")
        client.connect_async("127.0.0.1", broker.port)
        client.loop_start()
        client.publish("service/unit/hang", qos=1, retain=True).wait_for_publish(DEADLINE)
        script.wait_out("hanging")
        manager.waiting()
        assert manager.nothing_more()
        script.signal(signal.SIGABRT)
        result = script.wait()
        client.loop_stop()
    assert result.returncode == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in result.err
    assert "in hangs_for_ever" in result.err


def test_without_systemd_nothing_is_imported(broker: Broker, write_config: Callable[..., Path]) -> None:
    """C61: a service that nobody watches does not even know how."""
    config = write_config(broker.port)
    code = (
        "import sys, threading, miqro\n"
        f"service = miqro.Service({str(config)!r})\n"
        "service._on_connect = lambda *_: setattr(service, 'stop', True)\n"
        "service.mqtt_client.on_connect = service._on_connect\n"
        "service.run()\n"
        "print('miqro._systemd' in sys.modules, 'socket' in sys.modules, 'faulthandler' in sys.modules)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "False False False\n"


def test_without_a_watchdog_the_service_wakes_no_more_often(
    config: Path, notified: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C61, C54: it is ready, and then sleeps until the heartbeat."""
    monkeypatch.delenv("WATCHDOG_USEC")
    service = make(Unit, config)
    with Running(service) as running:
        assert notified.next() == ["READY=1", "STATUS=connected"]
        running.wait(lambda: service._miqro_dispatcher.idle)
        assert service._miqro_due_in() > 100
    assert notified.next()[0] == "STOPPING=1"


@pytest.mark.parametrize(
    ("variable", "value", "warned"),
    [
        ("WATCHDOG_PID", "1", False),
        ("WATCHDOG_USEC", "", False),
        ("WATCHDOG_USEC", "0", True),
        ("WATCHDOG_USEC", "30s", True),
    ],
)
def test_a_watchdog_that_is_for_others_or_for_nobody_gets_nothing(
    config: Path, notified: Manager, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, warned: bool
) -> None:
    """C61: `WATCHDOG_PID` says whom it is for."""
    monkeypatch.setenv(variable, value)
    service = make(Unit, config)
    with Records("unit.main") as records, Running(service) as running:
        assert notified.next()[0] == "READY=1"
        running.wait(lambda: service._miqro_dispatcher.idle)
        assert service._miqro_due_in() > 100
    assert bool([text for text in records.texts(logging.WARNING) if "WATCHDOG_USEC" in text]) == warned
    assert "WATCHDOG=1" not in notified.waiting()


def test_signs_of_life_come_in_time_and_also_while_the_service_is_busy(
    config: Path, notified: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C61: with loops that are always due, and for the process it was set for."""
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))

    class Busy(Unit):
        @miqro.loop(seconds=0)
        def poll(self) -> None:
            """Do nothing."""

    class Steps(Unit):
        def _loop_step(self) -> None:
            self.gate.wait(0.001)

    for cls in (Busy, Steps):
        with Running(make(cls, config)):
            for _ in range(3):
                notified.until("WATCHDOG=1")
        notified.until("STOPPING=1")


def test_a_handler_that_goes_on_with_the_work_itself_is_alive(config: Path, notified: Manager) -> None:
    """C61, C55: it calls `_loop_step()` until something has happened; the same after `run()`, without a sign."""

    class Nested(Unit):
        steps = 0

        @miqro.handle("step")
        def step(self, payload: str) -> None:
            while not self.gate.is_set():
                self._loop_step()
                self.steps += 1

    service = make(Nested, config)
    with Running(service):
        notified.until("WATCHDOG=1")
        deliver(service, "service/unit/step")
        for _ in range(4):
            notified.until("WATCHDOG=1")
        service.gate.set()
        notified.until("WATCHDOG=1")
    assert service.steps < 200, "it waits between two steps"
    notified.until("STOPPING=1")
    service.stop = False
    assert service._miqro_due_in() > 100


def test_a_handler_that_comes_back_feeds_it_again(config: Path, notified: Manager) -> None:
    """C61: a slow one is not a dead one."""
    service = make(Unit, config)
    with Running(service) as running:
        notified.until("WATCHDOG=1")
        deliver(service, "service/unit/wait")
        running.wait(lambda: not service._miqro_dispatcher.idle and not service._miqro_dispatcher._queued)
        notified.waiting()
        assert notified.nothing_more()
        service.gate.set()
        notified.until("WATCHDOG=1")


def test_a_dead_network_thread_starves_it(config: Path, notified: Manager) -> None:
    """C61: the engine has to live; the log says why nothing is told any more."""
    service = make(Unit, config)
    with Records("unit.main") as records, Running(service):
        notified.until("WATCHDOG=1")
        service.mqtt_client.simulate_thread_death()
        records.log.wait_for(
            lambda record: "not healthy: systemd" in record.getMessage(), DEADLINE, "a warning"
        )
        notified.waiting()
        assert notified.nothing_more()
        service.mqtt_client._thread.alive = True
        notified.until("WATCHDOG=1")
        told = [text for text in records.texts() if "ealthy" in text]
        assert told[0].endswith("and restarts the service unless it recovers. The last failure: none")
        assert told[1:] == ["healthy again"]


def test_the_word_of_the_author_counts_while_the_service_is_connected(
    config: Path, notified: Manager
) -> None:
    """C61, C5: `healthy()` may be overridden; one that raises is none."""
    service = make(Judges, config)
    with Records("unit.main") as records, Running(service):
        notified.until("WATCHDOG=1")
        for judgement in (False, None):
            service.well = judgement  # type: ignore[assignment]
            records.log.wait_for(lambda record: "not healthy" in record.getMessage(), DEADLINE, "a warning")
            notified.waiting()
            assert notified.nothing_more()
            service.well = True
            notified.until("WATCHDOG=1")
        assert service.failure_count
        assert service.last_failure == "healthy() failed: OSError: the sensor is gone"
        service.well = False
        service.mqtt_client.simulate_disconnect()
        assert notified.until("WATCHDOG=1")[0].startswith("STATUS=connecting: the connection was lost")


def test_services_of_one_process_share_its_systemd(config: Path, notified: Manager) -> None:
    """C61: it lives while all of them live, and ends with the last."""

    class Other(Unit):
        SERVICE_NAME = "other"

    first, second = make(Unit, config), make(Other, config)
    with Running(first):
        assert notified.next() == ["READY=1", "STATUS=connected"]
        with Running(second) as running:
            words = notified.until("READY=1")
            assert words[-1] == "READY=1" or words[-1] == "STATUS=unit: connected; other: connected"
            notified.until("WATCHDOG=1")
            deliver(second, "service/other/wait")
            running.wait(lambda: not second._miqro_dispatcher.idle and not second._miqro_dispatcher._queued)
            notified.waiting()
            # The second one may have given its sign before, and the first one gives its own.
            assert notified.nothing_more() or notified.nothing_more()
            second.gate.set()
            notified.until("WATCHDOG=1")
        notified.until("STATUS=connected")
        notified.until("WATCHDOG=1")
    assert "STOPPING=1" in notified.until("STATUS=stopping")


def test_a_refusal_is_a_status(
    write_config: Callable[..., Path], notified: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C61, C43: with the reason in words, and on one line."""
    monkeypatch.delenv("WATCHDOG_USEC")

    def refuse(peer: Peer) -> None:
        peer.accept(5)

    with FakeBroker(refuse) as fake, Running(Unit(write_config(fake.port))):
        (line,) = [line for line in notified.until("STATUS=connecting to") if "connecting to" in line]
        assert line.startswith(f"STATUS=connecting to 127.0.0.1:{fake.port}: the broker")


def test_a_socket_on_which_nobody_listens_stops_nothing(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C61: it is said once."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    monkeypatch.setenv("WATCHDOG_USEC", "3000")
    service = make(Unit, config)
    with Records("unit.main") as records, Running(service) as running:
        running.wait(lambda: [text for text in records.texts() if "(WATCHDOG=1, on the socket" in text])
    warnings = [text for text in records.texts(logging.WARNING) if "systemd does not hear" in text]
    assert len(warnings) == 1
    assert "READY=1" in warnings[0]
