"""A service ends cleanly: with a goodbye, in time, with the right status, and without noise (C40)."""

from __future__ import annotations

import re
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import miqro
from harness import Observer, Proxy, Running, Script

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness import Broker

WORKER = Path(__file__).parent / "process" / "worker.py"
ONLINE = "service/worker/online"
SECONDS_TO_END = 2.0


def start(folder: Path, **env: str) -> Script:
    """Start the worker in a folder that has a miqro.yml."""
    return Script(folder, WORKER, env=env)


def end_of(script: Script, leave: Callable[[], object], status: int) -> None:
    """Have the script leave; assert that it does so in time, with this status, and in peace."""
    began = time.monotonic()
    leave()
    result = script.wait()
    took = time.monotonic() - began
    result.check(status)
    assert took < SECONDS_TO_END + 0.5, f"it took {took:.2f} s to end"


@pytest.mark.parametrize(
    ("how", "status"),
    [pytest.param(signal.SIGTERM, 0, id="SIGTERM"), pytest.param(signal.SIGINT, 130, id="Ctrl-C")],
)
@pytest.mark.parametrize("tick", ["0", "0.05"], ids=["idle", "ticking"])
def test_a_signal_ends_a_service_with_goodbye_and_the_right_status(
    how: signal.Signals,
    status: int,
    tick: str,
    broker: Broker,
    observer: Observer,
    tmp_path: Path,
    write_config: Callable[..., Path],
) -> None:
    """SIGTERM: 0, Ctrl-C: 130; `0` retained, DISCONNECT, within 2 s, no traceback (C40)."""
    write_config(broker.port)
    with start(tmp_path, TICK=tick) as script:
        observer.wait_for(ONLINE, "1")
        logged = len(broker.log)
        end_of(script, lambda: script.signal(how), status)
    observer.barrier()
    assert observer.payloads(ONLINE)[-1] == "0"
    # mosquitto says "disconnected" after a DISCONNECT, "closed its connection" after anything else.
    broker.wait_log(r"Client worker disconnected\.")
    assert "Client worker closed its connection" not in broker.log[logged:]
    with Observer(broker.port, ONLINE) as late:
        assert late.wait_for(ONLINE, "0").retain


@pytest.mark.parametrize("topic", ["stop", "stop_from_thread"])
def test_stop_from_any_thread_lets_run_return(
    topic: str,
    broker: Broker,
    observer: Observer,
    tmp_path: Path,
    write_config: Callable[..., Path],
) -> None:
    """`service.stop = True` in a handler or on another thread ends run() at once (C40, C54)."""
    write_config(broker.port)
    with start(tmp_path) as script:
        observer.wait_for(ONLINE, "1")
        end_of(script, lambda: observer.publish(f"service/worker/{topic}"), 0)
        assert script.out.all() == ["run() has returned"]
    observer.wait_for(ONLINE, "0")
    if topic == "stop":
        assert observer.payloads("service/worker/last_words") == ["goodbye"]


def test_what_was_published_before_the_end_is_delivered(
    broker: Broker, observer: Observer, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """A clean stop delivers what is queued (C40)."""
    write_config(broker.port)
    with start(tmp_path) as script:
        observer.wait_for(ONLINE, "1")
        observer.publish("service/worker/burst/1", "300")
        observer.publish("service/worker/stop")
        script.wait().check()
    observer.wait_for(ONLINE, "0")
    observer.barrier()
    # Not in order with the goodbye: mosquitto itself lets QoS 0 overtake what waits at QoS 1.
    assert observer.payloads("service/worker/number") == [str(number) for number in range(300)]


def test_a_service_that_never_met_a_broker_ends_like_any_other(
    tmp_path: Path, write_config: Callable[..., Path], make_broker: Callable[..., Broker]
) -> None:
    """`run()` needs no broker, nor does its end (C40, C43)."""
    write_config(make_broker().port)
    with start(tmp_path, TICK="0.05") as script:
        script.wait_err("WARNING.*no connection")
        end_of(script, script.terminate, 0)
    with start(tmp_path) as script:
        script.wait_err("WARNING.*no connection")
        end_of(script, script.interrupt, 130)


def test_a_dead_connection_does_not_hold_up_the_end(
    broker: Broker, observer: Observer, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """All within 2 s, also when nobody answers any more (C40)."""
    with Proxy(broker.port) as proxy:
        write_config(proxy.port)
        with start(tmp_path, TICK="0.05") as script:
            observer.wait_count("service/worker/tick", 2)
            proxy.swallow()
            end_of(script, script.terminate, 0)


def test_a_blocked_service_ends_as_soon_as_it_is_free(
    broker: Broker, observer: Observer, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """A handler is not torn down in the middle; after it, the end comes at once (C40)."""
    write_config(broker.port)
    with start(tmp_path) as script:
        observer.wait_for(ONLINE, "1")
        observer.publish("service/worker/sleep", "1.5")
        observer.wait_for("service/worker/sleeping")
        end_of(script, script.terminate, 0)
    observer.wait_for(ONLINE, "0")


def test_kill_9_makes_the_broker_publish_the_will(
    broker: Broker, observer: Observer, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """The will is `0`, retained (C40)."""
    write_config(broker.port)
    with start(tmp_path) as script:
        observer.wait_for(ONLINE, "1")
        script.kill()
        assert script.wait().returncode == -signal.SIGKILL
    observer.wait_for(ONLINE, "0")
    with Observer(broker.port, ONLINE) as late:
        assert late.wait_for(ONLINE, "0").retain


def test_an_exception_that_leaves_the_program_is_not_hidden(
    broker: Broker, observer: Observer, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """SystemExit in a handler is no failure of it: the program ends with that status (C16, C40)."""
    write_config(broker.port)
    source = """
        import sys
        import miqro

        class Leaver(miqro.Service):
            SERVICE_NAME = "worker"

            @miqro.handle("leave")
            def leave(self, payload):
                sys.exit(3)

        Leaver().run()
    """
    with Script(tmp_path, source) as script:
        observer.wait_for(ONLINE, "1")
        end_of(script, lambda: observer.publish("service/worker/leave"), 3)
    observer.wait_for(ONLINE, "0")


def test_a_service_that_has_said_goodbye_does_not_come_back(
    broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """After its DISCONNECT a session opens no further connection (C40)."""

    class Short(miqro.Service):
        SERVICE_NAME = "short"

    with Proxy(broker.port) as proxy:
        path = write_config(proxy.port)
        for number in range(1, 21):
            start = len(observer.received)
            with Running(Short(path)):
                observer.wait_for("service/short/online", "1", start=start)
            # Its connections come in order: one more, of our own, comes after whatever it has opened.
            socket.create_connection(("127.0.0.1", proxy.port)).close()
            proxy.wait_connections(2 * number)
            assert proxy.connections == 2 * number


def test_a_service_can_be_run_again_after_its_end(
    broker: Broker, observer: Observer, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """The end of one service leaves nothing behind that hinders the next in the same process (C40)."""
    write_config(broker.port)
    source = """
        import miqro

        class Short(miqro.Service):
            SERVICE_NAME = "short"

            @miqro.loop(milliseconds=10)
            def leave(self):
                if self.is_connected:
                    self.publish("ran", "yes", qos=1)
                    self.stop = True

        for _ in range(3):
            Short().run()
    """
    with Script(tmp_path, source) as script:
        script.wait().check()
    observer.barrier()
    assert observer.payloads("service/short/ran") == ["yes"] * 3
    assert observer.payloads("service/short/online") == ["1", "0"] * 3


def test_an_interpreter_that_ends_with_a_live_service_ends(
    broker: Broker, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """A service made but never run, or run on a daemon thread, does not keep the process alive."""
    write_config(broker.port)
    source = """
        import threading
        import miqro

        class Forgotten(miqro.Service):
            SERVICE_NAME = "forgotten"
            started = threading.Event()

            @miqro.loop(seconds=60)
            def once(self):
                self.started.set()

        idle = Forgotten()
        service = Forgotten()
        threading.Thread(target=service.run, daemon=True).start()
        service.started.wait(10)
        print("leaving")
    """
    with Script(tmp_path, source) as script:
        script.wait_out("leaving")
        result = script.wait(5.0)
    assert result.returncode == 0, result.err
    assert not re.search("panicked|Fatal Python error|Segmentation", result.err)
