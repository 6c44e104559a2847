"""`run_async`: services in an event loop of the application's, and how they end (C70, C71)."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import looping
import miqro
from harness import FakeBroker, Observer, packets
from looping import start, until
from miqro.test.tools import DummyMQTTClient, DummyState
from services import DEADLINE, Records, Running, make, receive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import Broker
    from harness.fake_broker import Peer

    Config = Callable[..., Path]

#: Of an end that waits for nobody, on a machine that does ten other things.
SOON = 1.5


@pytest.fixture(params=list(looping.LOOPS))
def loop(request: pytest.FixtureRequest) -> str:
    """The name of a kind of event loop."""
    kind: str = request.param
    return kind


class S(miqro.Service):
    SERVICE_NAME = "s"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seen: list[Any] = []
        super().__init__(*args, **kwargs)

    @miqro.handle("echo")
    async def echo(self, payload: str) -> None:
        await self.publish("answer", payload, qos=1)
        self.seen.append(payload)

    @miqro.handle("plain")
    def plain(self, payload: str) -> None:
        self.publish("answer", f"plain {payload}")


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task, and wait until it has ended for that."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_service_runs_in_an_application_s_event_loop(
    loop: str, broker: Broker, observer: Observer, write_config: Config
) -> None:
    """C71: messages in and out, beside other tasks; cancelling it says goodbye, then raises CancelledError."""
    service = S(write_config(broker.port))
    beside: list[int] = []

    async def others() -> None:
        while True:
            await asyncio.sleep(0.001)
            beside.append(1)

    async def program() -> None:
        other = asyncio.create_task(others())
        task = await start(service)
        observer.publish("service/s/echo", "1")
        observer.publish("service/s/plain", "2")
        await until(lambda: {"1", "plain 2"} <= set(observer.payloads("service/s/answer")))
        before = len(beside)
        await until(lambda: len(beside) > before + 3)
        await cancelled(task)
        await cancelled(other)
        assert not service.is_connected
        assert not service.mqtt_thread_alive()

    looping.run(program(), loop)
    observer.barrier()
    assert observer.payloads("service/s/online")[-1] == "0"
    assert f"Client {service.SERVICE_NAME} disconnected" in broker.log, "it said DISCONNECT"


def test_stop_ends_it_at_once_from_any_thread(loop: str, broker: Broker, write_config: Config) -> None:
    """C54, C71: `run_async` returns."""
    service = S(write_config(broker.port))

    async def program() -> float:
        task = await start(service)
        began = time.monotonic()
        await asyncio.to_thread(setattr, service, "stop", True)
        await task
        return time.monotonic() - began

    assert looping.run(program(), loop) < SOON


def test_it_can_be_run_again_in_another_loop_and_by_run(
    loop: str, broker: Broker, write_config: Config
) -> None:
    """C71."""
    service = S(write_config(broker.port))

    async def program(payload: str) -> None:
        service.stop = False
        task = await start(service)
        await service.publish("echo", payload, qos=1)
        await until(lambda: payload in service.seen)
        await cancelled(task)

    looping.run(program("1"), loop)
    looping.run(program("2"), loop)
    with Running(service) as running:
        running.connected()
        service.publish("echo", "3", qos=1)
        running.wait(lambda: "3" in service.seen)


def test_many_services_run_in_one_loop(
    loop: str, broker: Broker, write_config: Config, tmp_path: Path
) -> None:
    """C71: on one thread; the end of one is nothing to the others, and all of them end together."""
    config = write_config(broker.port)
    threads: set[int] = set()

    class Numbered(S):
        @miqro.loop(milliseconds=20)
        async def tick(self) -> None:
            threads.add(threading.get_ident())
            await asyncio.sleep(0.001)
            self.seen.append("tick")

    def numbered(number: int) -> S:
        return type(f"Numbered{number}", (Numbered,), {"SERVICE_NAME": f"many{number}"})(config)

    async def program() -> None:
        services = [numbered(number) for number in range(20)]
        tasks = await asyncio.gather(*map(start, services))
        await until(lambda: all(service.seen.count("tick") > 2 for service in services))
        services[0].stop = True
        await tasks[0]
        for service in services[1:]:
            service.publish("echo", "x", qos=1)
        await until(lambda: all("x" in service.seen for service in services[1:]))
        assert "x" not in services[0].seen
        began = time.monotonic()
        for task in tasks[1:]:
            task.cancel()
        ends = await asyncio.gather(*tasks[1:], return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends)
        assert time.monotonic() - began < 2 * SOON, "they end side by side"

    looping.run(program(), loop)
    assert len(threads) == 1


def test_the_farewell_of_one_service_does_not_hold_up_the_loop(loop: str, write_config: Config) -> None:
    """C71, C40: a broker that acknowledges nothing costs a second of waiting, and others go on meanwhile."""
    held = threading.Event()

    def mute(peer: Peer) -> None:
        peer.accept()
        while (request := peer.read()) is not None and request.kind != packets.DISCONNECT:
            if request.kind == packets.PUBLISH and request.qos:
                held.set()
            else:
                peer.answer(request)

    async def program() -> None:
        task = await start(service)
        owed = service.publish("x", "y", qos=1)
        await until(held.is_set)
        task.cancel()
        longest, last = 0.0, time.monotonic()
        while not task.done():
            await asyncio.sleep(0.001)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        assert task.cancelled()
        assert longest < 0.5, f"the loop stood still for {longest} s"
        with pytest.raises(miqro.PublishError, match="closed"):
            await owed

    with FakeBroker(mute) as fake, Records("s.mqtt") as records:
        service = S(write_config(fake.port))
        looping.run(program(), loop)
    assert any("1 messages could not be delivered" in text for text in records.texts(logging.WARNING))


def test_no_broker_is_no_reason_not_to_run_nor_to_end_late(loop: str, write_config: Config) -> None:
    """C43, C71."""
    service = S(write_config(1))

    async def program() -> float:
        task = asyncio.create_task(service.run_async())
        await asyncio.sleep(0.05)
        began = time.monotonic()
        await cancelled(task)
        return time.monotonic() - began

    assert looping.run(program(), loop) < SOON


@pytest.mark.parametrize("client", [DummyMQTTClient, "engine"])
def test_a_timeout_around_it_is_a_clean_stop(client: Any, broker: Broker, write_config: Config) -> None:
    """C71: cancelled by `wait_for`; the wait ends after the farewell."""
    service = S(write_config(broker.port)) if client == "engine" else make(S, write_config(1))

    async def program() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(service.run_async(), 0.2)
        assert not service.mqtt_client.is_connected()

    looping.run(program())
    assert service._miqro_dispatcher.thread is None


def test_it_runs_once_at_a_time(config: Path) -> None:
    """C71."""
    service = make(S, config)

    async def program() -> None:
        task = asyncio.create_task(service.run_async())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="s is running already"):
            await service.run_async()
        await cancelled(task)

    looping.run(program())


def test_run_in_a_running_loop_says_what_to_do(config: Path) -> None:
    """C71: it would hold up the application."""
    service = make(S, config)

    async def program() -> None:
        with pytest.raises(RuntimeError, match=r"await service\.run_async\(\)"):
            service.run()

    looping.run(program())


# ---- handlers at the end ------------------------------------------------------------------------------------------


class Slow(miqro.Service):
    """Handlers that take their time."""

    SERVICE_NAME = "slow"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seen: list[str] = []
        super().__init__(*args, **kwargs)

    @miqro.handle("short")
    async def short(self, payload: str) -> None:
        self.seen.append("begin")
        await until(lambda: self._miqro_dispatcher.leaving)
        await self.publish("short", "end", qos=1)
        self.seen.append("end")

    @miqro.handle("endless")
    async def endless(self, payload: str) -> None:
        self.seen.append("begin")
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await self.publish("endless", "cancelled", qos=1)
            self.seen.append("cancelled")

    @miqro.handle("stubborn")
    async def stubborn(self, payload: str) -> None:
        self.seen.append("begin")
        for _ in range(2):
            try:
                await asyncio.sleep(3)
            except asyncio.CancelledError:
                self.seen.append("no")

    @miqro.loop(seconds=100)
    async def forever(self) -> None:
        await asyncio.get_running_loop().create_future()


def end_while_it_handles(service: Slow, how: str, observer: Observer) -> float:
    """Stop a service that handles a message on this topic; return how long that took."""

    async def program() -> float:
        task = await start(service)
        observer.publish(f"service/slow/{how}", "x")
        await until(lambda: service.seen)
        began = time.monotonic()
        service.stop = True
        await task
        return time.monotonic() - began

    return looping.run(program())


def test_a_handler_that_ends_in_time_is_waited_for(
    broker: Broker, observer: Observer, write_config: Config
) -> None:
    """C40, C70: what it publishes goes out before the farewell."""
    service = Slow(write_config(broker.port))
    assert end_while_it_handles(service, "short", observer) < 2 + SOON
    assert service.seen == ["begin", "end"]
    observer.wait_for("service/slow/online", "0")
    topics = [message.topic for message in observer.received.all()]
    assert topics.index("service/slow/short", topics.index("service/slow/short") + 1) < len(topics)
    assert service.failure_count == 0


def test_handlers_and_loops_that_do_not_end_are_cancelled(
    broker: Broker, observer: Observer, write_config: Config
) -> None:
    """C40, C70: within the two seconds; they may say something themselves."""
    service = Slow(write_config(broker.port))
    assert end_while_it_handles(service, "endless", observer) < 2 + SOON
    assert service.seen == ["begin", "cancelled"]
    observer.wait_for("service/slow/endless", "cancelled")
    observer.wait_for("service/slow/online", "0")
    assert service.failure_count == 0, "that is no failure"


def test_a_handler_that_does_not_let_itself_be_cancelled_is_named(
    broker: Broker, observer: Observer, write_config: Config
) -> None:
    """C40, C70: and left behind."""
    service = Slow(write_config(broker.port))
    with Records("slow.main") as records:
        assert end_while_it_handles(service, "stubborn", observer) < 2 + SOON
    (text,) = records.texts(logging.ERROR)
    assert "Slow.stubborn does not end although it was cancelled" in text


def test_who_is_in_a_hurry_may_cancel_it_twice(
    broker: Broker, observer: Observer, write_config: Config
) -> None:
    """C71: handlers are cancelled at once, the farewell is said nevertheless."""
    service = Slow(write_config(broker.port))

    async def program() -> float:
        task = await start(service)
        observer.publish("service/slow/endless", "x")
        await until(lambda: service.seen)
        began = time.monotonic()
        task.cancel()
        await asyncio.sleep(0)
        await cancelled(task)
        return time.monotonic() - began

    assert looping.run(program()) < 0.6
    assert service.seen == ["begin", "cancelled"]
    observer.wait_for("service/slow/online", "0")


def test_cancelling_all_tasks_at_once_is_a_clean_stop_without_complaints(
    broker: Broker, observer: Observer, write_config: Config
) -> None:
    """C71: as `asyncio.run` does when the program ends and has not stopped its services."""
    service = Slow(write_config(broker.port))

    async def program() -> None:
        service.task = await start(service)  # type: ignore[attr-defined]
        observer.publish("service/slow/endless", "x")
        await until(lambda: service.seen)

    with Records("slow.main") as records:
        asyncio.run(asyncio.wait_for(program(), DEADLINE), debug=True)
        assert not records.texts(logging.ERROR)
    assert service.seen == ["begin", "cancelled"]
    observer.wait_for("service/slow/online", "0")
    assert service.failure_count == 0


def test_an_exit_of_a_handler_ends_the_application_after_the_farewell(
    broker: Broker, observer: Observer, write_config: Config
) -> None:
    """C16, C71: of an ordinary one and of an `async def`."""

    class Leaving(miqro.Service):
        SERVICE_NAME = "leaving"

        @miqro.handle("plain")
        def plain(self, payload: str) -> None:
            raise SystemExit(3)

        @miqro.handle("async")
        async def later(self, payload: str) -> None:
            await asyncio.sleep(0)
            raise SystemExit(4)

    config = write_config(broker.port)
    for topic, status in (("plain", 3), ("async", 4)):
        service = Leaving(config)

        async def program(service: Leaving = service, topic: str = topic) -> None:
            await asyncio.gather(service.run_async(), service.publish(topic, "x", qos=1))

        with pytest.raises(SystemExit) as caught:
            asyncio.run(program(), debug=True)
        assert caught.value.code == status
        observer.wait_for("service/leaving/online", "0")


def test_a_defect_of_the_engine_is_raised(write_config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """C71: nobody waits for a service whose network thread has died."""
    service = S(write_config(1))

    class Terminated:
        """A session that has come to this end."""

        def __getattr__(self, name: str) -> Any:
            return lambda *args: 0

        def has_events(self) -> bool:
            return True

        def take_routed(self, limit: int, router: Any) -> list[Any]:
            return [miqro._native.Event.Terminated(reason="it is broken")]

        def take(self, limit: int) -> list[Any]:
            return []

    service.mqtt_client._session = Terminated()
    with pytest.raises(miqro.InternalError, match="it is broken"):
        looping.run(service.run_async())


def test_what_a_service_saves_at_its_end_is_saved(config: Path) -> None:
    """C56, C71: with `STATE_AUTOSAVE`."""

    class Saving(S):
        USE_STATE_FILE = True
        STATE_AUTOSAVE = 1000.0

    service = Saving(config, mqtt_client_cls=DummyMQTTClient, state_cls=DummyState)
    saved: list[int] = []
    service.state.save = lambda: saved.append(1)

    async def program() -> None:
        task = asyncio.create_task(service.run_async())
        await asyncio.sleep(0.01)
        service.state["x"] = 1
        await cancelled(task)

    looping.run(program())
    assert saved


def test_ways_to_wait_that_an_event_loop_has_no_use_for_are_named(config: Path) -> None:
    """C55: messages come nevertheless."""

    class Waiting(S):
        def _wait_for_work(self, timeout: float | None) -> None:
            self.seen.append("waits")

    service = make(Waiting, config)

    async def program() -> None:
        task = asyncio.create_task(service.run_async())
        await until(lambda: service.mqtt_client.connected)
        receive(service, "service/s/echo", "x", dispatch=False)
        await until(lambda: service.seen)
        await cancelled(task)

    with Records("s.main") as records:
        looping.run(program())
    assert service.seen == ["x"]
    assert any("Waiting._wait_for_work is not called" in text for text in records.texts(logging.WARNING))
