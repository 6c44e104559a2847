"""More than an asynchronous service can handle: the broker has to wait, and nothing waits for ever (C44, C70)."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import looping
import miqro
from looping import start, until
from services import Records

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness import Broker, Observer

    Config = Callable[..., Path]

TASKS = Path("/proc/self/task")


class Gated(miqro.Service):
    """Handles nothing before the gate opens; more than ten messages have to wait elsewhere."""

    SERVICE_NAME = "gated"
    MAX_INCOMING_QUEUE = 10

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.gate = asyncio.Event()
        self.seen: list[str] = []
        super().__init__(*args, **kwargs)

    @miqro.handle("x")
    async def handler(self, payload: str) -> None:
        await self.gate.wait()
        self.seen.append(payload)

    @miqro.loop(milliseconds=10)
    async def tick(self) -> None:
        self.ticks = getattr(self, "ticks", 0) + 1


def test_what_cannot_be_handled_stays_with_the_broker_and_nothing_is_lost(
    broker: Broker, observer: Observer, write_config: Config
) -> None:
    """C70: the number of messages in the process is bounded; loops go on; order is kept; QoS 1 and 2."""
    count = 1000
    service = Gated(write_config(broker.port))

    async def program() -> None:
        task = await start(service)
        tasks = service._miqro_dispatcher.tasks
        assert tasks is not None
        messages = [("service/gated/x", str(number).encode()) for number in range(count)]
        publisher = asyncio.create_task(asyncio.to_thread(observer.publish_many, messages))
        await until(tasks.is_full)
        await publisher
        service.ticks = 0
        await until(lambda: service.ticks > 3)
        taken = tasks.messages + service._miqro_dispatcher.waiting()
        # Its limit and one batch with the tasks, its limit in the engine.
        assert taken < 300, "they are taken from the broker without bound"
        assert not service.seen
        service.gate.set()
        await until(lambda: len(service.seen) == count)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    looping.run(program())
    assert service.seen == [str(number) for number in range(count)]


def test_large_messages_count_by_their_size(broker: Broker, observer: Observer, write_config: Config) -> None:
    """C44: sixteen million characters, whatever the number."""

    class Large(Gated):
        MAX_INCOMING_QUEUE = 10_000

    service = Large(write_config(broker.port, broker="max_queued_bytes: 1000000"))

    async def program() -> None:
        task = await start(service)
        tasks = service._miqro_dispatcher.tasks
        assert tasks is not None
        messages = [("service/gated/x", b"x" * 500_000)] * 60
        await asyncio.to_thread(observer.publish_many, messages)
        await until(tasks.is_full)
        assert tasks.characters < 20_000_000
        service.gate.set()
        await until(lambda: len(service.seen) == 60)
        assert (tasks.messages, tasks.characters) == (0, 0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    looping.run(program())


@pytest.mark.parametrize("qos", [0, 1])
def test_handlers_that_await_acknowledgements_get_through_a_flood(
    qos: int, broker: Broker, observer: Observer, write_config: Config
) -> None:
    """C72, C44: the acknowledgement is behind messages that have no room; QoS 0 may go, QoS 1 may not."""

    class Relay(miqro.Service):
        SERVICE_NAME = "relay"
        MAX_INCOMING_QUEUE = 10
        seen = 0

        @miqro.handle("x")
        async def handler(self, payload: str) -> None:
            await self.publish("y", payload, qos=1)
            self.seen += 1

    service = Relay(write_config(broker.port))
    count = 20_000 if qos == 0 else 2000

    async def program() -> None:
        task = await start(service)
        messages = [("service/relay/x", b"x" * 100)] * count
        await asyncio.to_thread(observer.publish_many, messages, qos)
        observer.publish("service/relay/x", "the last", qos=1)
        await until(lambda: observer.payloads("service/relay/y")[-1:] == ["the last"])
        assert service.seen == count + 1 or qos == 0
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with Records("relay.mqtt") as records:
        looping.run(program())
    dropped = [text for text in records.texts(logging.WARNING) if "were dropped" in text]
    assert len(dropped) <= 1, "it is news once"
    if qos:
        assert not dropped


def test_a_thousand_waits_cost_a_thousand_futures_and_no_thread(
    broker: Broker, observer: Observer, write_config: Config
) -> None:
    """C72."""

    class Plain(miqro.Service):
        SERVICE_NAME = "plain"

    service = Plain(write_config(broker.port))

    def threads() -> int:
        return len(list(TASKS.iterdir())) if TASKS.is_dir() else threading.active_count()

    async def publish(number: int) -> None:
        await service.publish("x", number, qos=1 + number % 2)

    async def program() -> None:
        task = await start(service)
        before = threads()
        publishing = [asyncio.create_task(publish(number)) for number in range(1000)]
        most = before
        while not all(each.done() for each in publishing):
            await asyncio.wait(publishing, timeout=0.001)
            most = max(most, threads())
        await asyncio.gather(*publishing)
        assert most <= before
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    looping.run(program())
    observer.wait_count("service/plain/x", 1000)


def test_a_wait_that_is_given_up_again_and_again_leaves_nothing_behind(write_config: Config) -> None:
    """C72: what retries with a timeout may do so for ever, and the message is sent nevertheless."""
    service = Gated(write_config(1))

    async def program() -> None:
        info = service.publish("x", "y", qos=1)

        async def wait() -> None:
            await info

        for _ in range(500):
            waiting = asyncio.create_task(wait())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
        acknowledgements = miqro._awaiting._loops[asyncio.get_running_loop()]  # type: ignore[attr-defined]
        assert not acknowledgements.waiting
        assert not acknowledgements.settled.take()
        assert service.mqtt_client._session.owed()[0] == 1

    looping.run(program())
    service.mqtt_client.disconnect()
