"""A service whose own parts misbehave, or get more than they can take: it says so, and the rest of it goes on."""

from __future__ import annotations

import contextlib
import functools
import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import miqro
from harness import Observer, Proxy, Running, Script, wait_until
from harness.bridge import Bridge
from harness.broker import free_port
from harness.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness import Broker

WORKER = Path(__file__).parent / "process" / "worker.py"
ONLINE = "service/worker/online"


@pytest.fixture
def worker(
    broker: Broker, observer: Observer, tmp_path: Path, write_config: Callable[..., Path]
) -> Callable[..., Script]:
    """A starter of the worker on the shared broker: returns when it is online."""

    def start(
        *,
        through: Proxy | None = None,
        port: int = 0,
        broker_section: str = "",
        more: str = "",
        observer: Observer = observer,
        **env: str,
    ) -> Script:
        write_config(port or (through or broker).port, more, broker=broker_section)
        script = Script(tmp_path, WORKER, env=env)
        observer.wait_for(ONLINE, "1")
        return script

    return start


def end(script: Script) -> str:
    """End it in peace, tracebacks of its own handlers aside; return its log."""
    script.terminate()
    result = script.wait()
    assert result.returncode == 0, result.err
    assert "panicked" not in result.err
    return result.err


def test_a_handler_that_raises_is_told_and_the_next_message_is_handled(
    worker: Callable[..., Script], observer: Observer
) -> None:
    """Logged with its traceback, counted, and that is all (C16)."""
    with worker() as script:
        observer.publish("service/worker/fail", "the first")
        observer.publish("service/worker/fail", "the second")
        observer.publish("service/worker/echo", "alive")
        observer.wait_for("service/worker/echo_response", "alive")
        observer.publish("service/worker/health")
        record = observer.wait_for("service/worker/health_record")
        log = end(script)
    assert record.text == '{"failures": 2, "healthy": true}'
    assert log.count("Traceback") == 2
    assert "this handler fails on the first" in log
    assert "on_fail" in log


def test_a_loop_that_raises_waits_a_second_and_keeps_nobody_up(
    broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """A failing loop is logged, counted, called again after at least 1 s; the others go on (C16)."""

    class Failing(miqro.Service):
        SERVICE_NAME = "failing"
        calls: list[float]

        @miqro.loop(milliseconds=20)
        def fail(self) -> None:
            self.calls.append(time.monotonic())
            raise RuntimeError("this loop fails")

        @miqro.loop(milliseconds=20)
        def work(self) -> None:
            self.publish("work", "done")

    service = Failing(write_config(broker.port))
    service.calls = []
    with Running(service):
        wait_until(lambda: len(service.calls) >= 3, 10.0, "the failing loop is called three times")
    gaps = [later - earlier for earlier, later in zip(service.calls, service.calls[1:], strict=False)]
    assert min(gaps) >= 1.0
    assert max(gaps) < 1.5
    assert service.failure_count == len(service.calls)
    assert len(observer.on("service/failing/work")) > 50


def test_a_loop_that_returns_false_is_not_called_again(
    broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """Returning False stops the loop, and nothing else (C51)."""

    class Once(miqro.Service):
        SERVICE_NAME = "once"
        count = 0

        @miqro.loop(milliseconds=5)
        def three_times(self) -> bool | None:
            self.count += 1
            self.publish("count", self.count)
            return False if self.count == 3 else None

        @miqro.loop(milliseconds=5)
        def beat(self) -> None:
            self.publish("beat", "")

    with Running(Once(write_config(broker.port))):
        observer.wait_for("service/once/count", "3")
        seen = len(observer.on("service/once/beat"))
        observer.wait_count("service/once/beat", seen + 50)
    assert observer.payloads("service/once/count") == ["1", "2", "3"]


def test_blocking_for_five_seconds_costs_neither_connection_nor_messages(
    worker: Callable[..., Script], observer: Observer, broker: Broker
) -> None:
    """Pings go on while Python is busy; what came meanwhile is handled afterwards, in order (C15)."""
    with Proxy(broker.port) as proxy, worker(through=proxy, broker_section="keepalive: 2") as script:
        observer.publish("service/worker/sleep", "5")
        observer.wait_for("service/worker/sleeping")
        observer.publish_many([("service/worker/echo", str(number).encode()) for number in range(100)])
        observer.wait_count("service/worker/echo_response", 100)
        assert observer.payloads("service/worker/echo_response") == [str(number) for number in range(100)]
        topics = [message.topic for message in observer.received.all()]
        assert topics.index("service/worker/slept") < topics.index("service/worker/echo_response")
        assert proxy.connections == 1
        end(script)
    observer.wait_for(ONLINE, "0")
    observer.barrier()
    assert observer.payloads(ONLINE) == ["1", "0"], "only the goodbye, no will"


@pytest.mark.parametrize("payload", [b"caf\xe9", b"\xff\xfe\x00", b"\xf0\x9f\x98"])
def test_malformed_text_reaches_the_handler_with_replacements(
    payload: bytes, worker: Callable[..., Script], observer: Observer
) -> None:
    """UTF-8, malformed bytes replaced (C14)."""
    with worker() as script:
        observer.publish("service/worker/echo", payload)
        found = observer.wait_for("service/worker/echo_response")
        assert found.text == payload.decode(errors="replace").strip()
        end(script)


def test_a_payload_of_300_kb_goes_both_ways(worker: Callable[..., Script], observer: Observer) -> None:
    """Large messages are messages."""
    payload = "".join(chr(33 + number % 90) for number in range(300_000))
    with worker() as script:
        observer.publish("service/worker/echo", payload)
        assert observer.wait_for("service/worker/echo_response").text == payload
        end(script)


@pytest.mark.parametrize("topic", ["bad/+", "bad/#", "", "bad\0", "x" * 70_000])
def test_an_invalid_topic_is_an_error_line_and_nothing_else(
    topic: str, broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """Nothing is sent, the failure is counted, and the session lives on (C37)."""

    class Sloppy(miqro.Service):
        SERVICE_NAME = "sloppy"

        @miqro.handle("go")
        def go(self, _payload: str) -> None:
            results.append(self.publish(topic, "x", qos=1, global_=True))
            self.publish("went", "on")

    results: list[miqro.mqtt.MQTTMessageInfo] = []
    with Proxy(broker.port) as proxy:
        service = Sloppy(write_config(proxy.port))
        with Running(service):
            observer.wait_for("service/sloppy/online", "1")
            observer.publish("service/sloppy/go")
            observer.wait_for("service/sloppy/went", "on")
            assert results[0].rc != 0
            assert not results[0].is_published()
            with pytest.raises((RuntimeError, ValueError)):
                results[0].wait_for_publish(1.0)
            assert service.failure_count == 1
            assert proxy.connections == 1


def test_ten_thousand_messages_wait_for_a_sleeping_handler_in_bounded_memory(
    worker: Callable[..., Script], observer: Observer
) -> None:
    """Nothing is lost at QoS 1, the order is kept, and the process does not grow with what waits (C15, C44)."""
    with worker(OVERRIDES="MAX_INCOMING_QUEUE=500") as script:
        observer.publish("service/worker/echo", "warm")
        observer.wait_for("service/worker/echo_response", "warm")
        before = _resident_kb(script.pid)
        observer.publish("service/worker/sleep", "4")
        observer.wait_for("service/worker/sleeping")
        filler = "x" * 2_000
        observer.publish_many(
            [("service/worker/echo", f"{number} {filler}".encode()) for number in range(10_000)]
        )
        grown = _resident_kb(script.pid) - before
        # 10,000 messages are 20 MB; 500 may wait in the process, the rest waits at the broker.
        assert grown < 12_000, f"the process grew by {grown} kB"
        found = observer.wait_count("service/worker/echo_response", 10_001, timeout=60.0)
        end(script)
    numbers = [int(message.text.partition(" ")[0]) for message in found[1:]]
    assert numbers == list(range(10_000))


def _resident_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmRSS:\s*(\d+) kB", status)
    assert found is not None
    return int(found[1])


def test_two_services_in_two_threads_of_one_process_do_not_disturb_each_other(
    broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """Each has its own session, handlers and end (C2, C15)."""

    class Base(miqro.Service):
        @miqro.handle("echo")
        def echo(self, payload: str) -> None:
            threads.add((self.SERVICE_NAME, threading.get_ident()))
            self.publish("echo_response", payload)

    class Left(Base):
        SERVICE_NAME = "left"

    class Right(Base):
        SERVICE_NAME = "right"

    threads: set[tuple[str, int]] = set()
    path = write_config(broker.port)
    with Running(Left(path)) as left:
        with Running(Right(path)) as right:
            for name in ("left", "right"):
                observer.wait_for(f"service/{name}/online", "1")
            for number in range(50):
                observer.publish("service/left/echo", f"l{number}")
                observer.publish("service/right/echo", f"r{number}")
            observer.wait_count("service/left/echo_response", 50)
            observer.wait_count("service/right/echo_response", 50)
        observer.wait_for("service/right/online", "0")
        observer.publish("service/left/echo", "alone")
        observer.wait_for("service/left/echo_response", "alone")
    observer.wait_for("service/left/online", "0")
    assert observer.payloads("service/left/echo_response") == [*(f"l{n}" for n in range(50)), "alone"]
    assert observer.payloads("service/right/echo_response") == [f"r{n}" for n in range(50)]
    assert threads == {("left", left.thread.ident), ("right", right.thread.ident)}


def test_a_class_inherited_twice_gives_each_heir_its_own_handlers_and_loops(
    broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """Heirs add to what they inherit; neither parent nor sibling sees it (C10)."""

    class Parent(miqro.Service):
        SERVICE_NAME = "parent"

        @miqro.handle("who")
        def who(self, _payload: str) -> None:
            self.publish("i_am", type(self).__name__)

        @miqro.loop(milliseconds=50)
        def beat(self) -> None:
            self.publish("beat", type(self).__name__)

    class First(Parent):
        SERVICE_NAME = "first"

        @miqro.handle("only_first")
        def only_first(self, payload: str) -> None:
            self.publish("heard", payload)

    class Second(Parent):
        SERVICE_NAME = "second"

        def who(self, _payload: str) -> None:
            self.publish("i_am", "the second of its name")

        @miqro.loop(milliseconds=50)
        def beat(self) -> None:
            self.publish("beat", "another beat")

    path = write_config(broker.port)
    with Running(Parent(path)), Running(First(path)), Running(Second(path)):
        names = ("parent", "first", "second")
        for name in names:
            observer.wait_for(f"service/{name}/online", "1")
            observer.publish(f"service/{name}/who")
            observer.publish(f"service/{name}/only_first", "x")
        answers = [observer.wait_for(f"service/{name}/i_am").text for name in names]
        beats = [observer.wait_for(f"service/{name}/beat").text for name in names]
        observer.wait_for("service/first/heard", "x")
        observer.barrier()
    assert answers == ["Parent", "First", "the second of its name"]
    assert beats == ["Parent", "First", "another beat"]
    assert not observer.on("service/parent/heard")
    assert not observer.on("service/second/heard")


# One at a time: mosquitto itself lets messages of different QoS overtake each other on the way to the observer.
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_ten_threads_publish_at_once_and_nothing_is_lost_or_out_of_order(
    qos: int, broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """`publish` may be called from any thread; each thread's messages keep their order (C36)."""

    class Busy(miqro.Service):
        SERVICE_NAME = "busy"

    service = Busy(write_config(broker.port))
    infos: list[miqro.mqtt.MQTTMessageInfo] = []
    errors: list[BaseException] = []
    gate = threading.Barrier(10)

    def publish(number: int) -> None:
        try:
            gate.wait(10.0)
            mine = [service.publish(f"thread/{number}", str(i), qos=qos) for i in range(300)]
            infos.extend(mine)
            for info in mine:
                info.wait_for_publish(30.0)
        except BaseException as error:
            errors.append(error)

    with Running(service):
        observer.wait_for("service/busy/online", "1")
        threads = [threading.Thread(target=publish, args=(number,)) for number in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60.0)
        assert not errors
        assert len(infos) == 3000
        assert all(info.is_published() for info in infos)
        observer.barrier()
        for number in range(10):
            found = observer.wait_count(f"service/busy/thread/{number}", 300)
            assert [message.text for message in found] == [str(i) for i in range(300)]


def test_a_burst_is_a_few_writes(
    broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """What waits to be sent goes out together, not message by message."""

    class Bursting(miqro.Service):
        SERVICE_NAME = "bursting"

    with Proxy(broker.port) as proxy:
        service = Bursting(write_config(proxy.port))
        for number in range(2000):
            service.publish("number", number)
        with Running(service):
            observer.wait_count("service/bursting/number", 2000)
            assert observer.payloads("service/bursting/number") == [str(number) for number in range(2000)]
            # CONNECT, SUBSCRIBE and the greeting, then 70 kB in 2000 messages.
            assert proxy.segments_up < 20


@pytest.mark.parametrize("transport", ["tcp", "tls", "websockets"])
def test_an_idle_service_does_not_wake_up(
    worker: Callable[..., Script],
    broker: Broker,
    observer: Observer,
    make_broker: Callable[..., Broker],
    tmp_path: Path,
    transport: str,
) -> None:
    """Between keepalives and due loops no thread of the process is scheduled at all (C54)."""
    with contextlib.ExitStack() as stack:
        if transport == "tls":
            authority, port = Authority(tmp_path), free_port()
            broker = make_broker(options=authority.issue("127.0.0.1").listener(port)).start()
            observer = stack.enter_context(Observer(broker.port))
            starter = functools.partial(
                worker, more=f"tls: {{ca_certs: {authority.file}}}", observer=observer
            )
        elif transport == "websockets":
            port = stack.enter_context(Bridge(broker.port)).port
            starter = functools.partial(worker, broker_section="transport: websockets")
        else:
            port, starter = broker.port, worker
        script = stack.enter_context(starter(port=port))
        observer.publish("service/worker/echo", "settled")
        observer.wait_for("service/worker/echo_response", "settled")
        wait_until(lambda: _is_still(script.pid), 10.0, "the process comes to rest for a second")
        before = _switches(script.pid)
        # That nothing happens can only be seen in a window of time.
        time.sleep(3.0)
        assert _switches(script.pid) == before
        end(script)


def _switches(pid: int) -> dict[str, tuple[int, ...]]:
    """Return how often each thread has given up the processor, or was made to."""
    return {
        task.name: tuple(
            int(number)
            for number in re.findall(r"ctxt_switches:\s*(\d+)", (task / "status").read_text(encoding="utf-8"))
        )
        for task in Path(f"/proc/{pid}/task").iterdir()
    }


def _is_still(pid: int) -> bool:
    before = _switches(pid)
    time.sleep(1.0)
    return _switches(pid) == before
