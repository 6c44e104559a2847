"""`messages()` and `wait_for()`: ad-hoc subscriptions of asynchronous programs."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

import looping
import miqro
from harness import Proxy
from looping import start, until
from miqro.test.tools import DummyMQTTClient
from services import Records, Running, make, receive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import Broker, Observer

    Config = Callable[..., Path]


@pytest.fixture
def quiet_broker(make_broker: Callable[..., Broker]) -> Broker:
    """A broker of the test's own: its log is short, and is read again and again."""
    return make_broker().start()


class S(miqro.Service):
    SERVICE_NAME = "s"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seen: list[Any] = []
        super().__init__(*args, **kwargs)

    @miqro.handle("own/#")
    def own(self, payload: str, rest: str) -> None:
        self.seen.append((rest, payload))


def subscriptions(broker: Broker, topic_filter: str) -> tuple[int, int]:
    """How often the broker was asked to subscribe to this filter, and to end that."""
    lines = broker.log.splitlines()
    begun = sum(line.strip().endswith(f"\t{topic_filter} (QoS 1)") for line in lines)
    return begun, sum(line.strip().endswith(f"\t{topic_filter}") for line in lines)


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task, and wait until it has ended for that."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_messages_come_as_long_as_the_async_with_lasts(quiet_broker: Broker, write_config: Config) -> None:
    """Below the service's prefix, with topic and text; the subscription ends with it."""
    service = S(write_config(quiet_broker.port))

    async def program() -> None:
        task = await start(service)
        async with service.messages("sensor/#") as messages:
            # The broker takes requests in order: what comes after the subscription arrives.
            for number in range(3):
                service.publish(f"sensor/{number}", number, qos=1)
            came = []
            async for message in messages:
                came.append(message)
                if len(came) == 3:
                    break
        assert [(message.topic, message.payload) for message in came] == [
            (f"service/s/sensor/{number}", str(number)) for number in range(3)
        ]
        await until(lambda: subscriptions(quiet_broker, "service/s/sensor/#") == (1, 1))
        await cancelled(task)
        assert not service.failure_count

    looping.run(program())


def test_wait_for_gives_the_next_message_or_a_timeout(quiet_broker: Broker, write_config: Config) -> None:
    """In words, with the topic; `global_` takes the topic as it is."""
    service = S(write_config(quiet_broker.port))

    async def program() -> None:
        task = await start(service)
        waiting = asyncio.create_task(service.wait_for("elsewhere/+", 30, global_=True))
        await asyncio.sleep(0)
        await service.publish("elsewhere/x", " y ", qos=1, global_=True)
        assert await waiting == ("elsewhere/x", "y")
        with pytest.raises(TimeoutError, match=r"no message on 'service/s/nothing' has come within 0\.05 s"):
            await service.wait_for("nothing", timeout=0.05)
        await until(lambda: subscriptions(quiet_broker, "service/s/nothing")[1] == 1)
        await cancelled(task)

    looping.run(program())


def test_handlers_of_the_same_messages_are_called_and_keep_their_subscription(
    quiet_broker: Broker, write_config: Config
) -> None:
    """One filter is subscribed to once, and as long as anybody needs it."""
    service = S(write_config(quiet_broker.port))

    async def program() -> None:
        task = await start(service)
        async with service.messages("own/#") as first, service.messages("own/#") as second:
            service.publish("own/x", "1", qos=1)
            assert [(await anext(first)).payload, (await anext(second)).payload] == ["1", "1"]
        service.publish("own/x", "2", qos=1)
        await until(lambda: service.seen == [("x", "1"), ("x", "2")])
        await cancelled(task)

    looping.run(program())
    assert subscriptions(quiet_broker, "service/s/own/#")[1] == 0


def test_a_subscription_survives_a_lost_connection(
    broker: Broker, observer: Observer, write_config: Config
) -> None:
    """C43."""

    async def program(proxy: Proxy) -> None:
        service = S(write_config(proxy.port, broker="reconnect_delay_min: 0.05"))
        granted: list[object] = []
        task = await start(service)
        service.mqtt_client.on_subscribe = lambda *_: granted.append(1)
        async with service.messages("sensor/#") as messages:
            await until(lambda: granted)
            granted.clear()
            proxy.cut()
            await until(lambda: granted)
            observer.publish("service/s/sensor/x", "after")
            assert (await anext(messages)).payload == "after"
        await cancelled(task)

    with Proxy(broker.port) as proxy:
        looping.run(program(proxy))


def test_a_slow_consumer_loses_the_oldest_and_is_told(config: Path) -> None:
    """The buffer is bounded; the first loss is logged and counted, the others are in `dropped`."""
    service = make(S, config)

    async def program() -> None:
        async with service.messages("sensor/#", max_messages=3) as messages:
            for number in range(10):
                receive(service, "service/s/sensor/x", str(number))
            assert [(await anext(messages)).payload for _ in range(3)] == ["7", "8", "9"]
            assert messages.dropped == 7

    with Records("s.main") as records:
        looping.run(program())
    (text,) = [text for text in records.texts(logging.WARNING) if "async for" in text]
    assert "more than 3 messages of 'service/s/sensor/#' wait" in text
    assert service.failure_count == 1


def test_the_end_of_the_service_ends_the_iteration_and_the_waiting(config: Path) -> None:
    """Cleanly: `async for` is over, `wait_for` raises what says why."""
    service = make(S, config)
    story: list[str] = []

    async def listener() -> None:
        async with service.messages("sensor/#") as messages:
            story.extend([message.payload async for message in messages])
        story.append("over")

    async def waiter() -> None:
        with pytest.raises(miqro.StoppedError, match="'service/s/answer'"):
            await service.wait_for("answer")
        story.append("stopped")

    async def program() -> None:
        task = asyncio.create_task(service.run_async())
        others = [asyncio.create_task(listener()), asyncio.create_task(waiter())]
        await until(lambda: "service/s/answer" in service.mqtt_client.subscribed)
        receive(service, "service/s/sensor/x", "1", dispatch=False)
        await until(lambda: service._miqro_dispatcher.waiting() == 0)
        service.stop = True
        await asyncio.gather(task, *others)

    looping.run(program())
    assert story[0] == "1"
    assert sorted(story[1:]) == ["over", "stopped"]


def test_handlers_and_loops_may_wait_for_messages(config: Path) -> None:
    """A handler that waits is no failure when the service stops."""

    class Asking(S):
        @miqro.handle("ask")
        async def ask(self, payload: str) -> None:
            answer = await self.wait_for("answer")
            self.seen.append(answer.payload)

        @miqro.loop(seconds=100)
        async def listen(self) -> None:
            async with self.messages("sensor/+") as messages:
                async for message in messages:
                    self.seen.append(message.payload)

    service = make(Asking, config)
    with Running(service) as running:
        for _ in range(2):
            receive(service, "service/s/ask", dispatch=False)
        running.wait(lambda: "service/s/answer" in service.mqtt_client.subscribed)
        receive(service, "service/s/answer", "42", dispatch=False)
        receive(service, "service/s/sensor/x", "1", dispatch=False)
        running.wait(lambda: sorted(service.seen) == ["1", "42"])
        running.wait(lambda: "service/s/answer" in service.mqtt_client.subscribed)
    assert service.failure_count == 0


def test_a_program_may_listen_to_a_service_that_runs_on_another_thread(
    broker: Broker, observer: Observer, write_config: Config
) -> None:
    """`run()` there, `async for` here; nothing is lost on the way."""
    service = S(write_config(broker.port))

    async def program(running: Running) -> list[str]:
        async with service.messages("sensor/#", max_messages=5000) as messages:
            await until(lambda: running.granted >= 2)
            observer.publish_many([("service/s/sensor/x", str(number).encode()) for number in range(2000)])
            return [(await anext(messages)).payload for _ in range(2000)]

    with Running(service) as running:
        running.subscribed()
        assert looping.run(program(running)) == [str(number) for number in range(2000)]


def test_a_message_that_only_a_listener_wants_is_not_complained_about_and_enabled_counts(
    config: Path,
) -> None:
    """C17, C18."""
    service = make(S, config)

    async def program() -> None:
        async with service.messages("sensor") as messages:
            receive(service, "service/s/sensor", "1")
            receive(service, "service/s/enabled", "0")
            receive(service, "service/s/sensor", "2")
            receive(service, "service/s/enabled", "1")
            receive(service, "service/s/sensor", "3")
            assert [(await anext(messages)).payload for _ in range(2)] == ["1", "3"]

    with Records("s.main") as records:
        looping.run(program())
    assert not [text for text in records.texts(logging.ERROR) if "No handler" in text]


def test_misuse_is_told_in_a_sentence(config: Path) -> None:
    """What was done, and what to do."""
    service = make(S, config, DummyMQTTClient)
    with pytest.raises(ValueError, match="a/#/b"):
        service.messages("a/#/b")
    with pytest.raises(ValueError, match="from 1 on"):
        service.messages("a", max_messages=0)

    async def program() -> None:
        messages = service.messages("a")
        with pytest.raises(RuntimeError, match="put it around the `async for`"):
            async for _ in messages:
                pass
        async with messages:
            with pytest.raises(RuntimeError, match="make others with messages"):
                await messages.__aenter__()
            other = asyncio.create_task(anext(messages))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="let each have messages"):
                await anext(messages)
            await cancelled(other)

    looping.run(program())
