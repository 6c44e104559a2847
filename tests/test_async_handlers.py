"""`async def` handlers: how they are called, in which order, and what becomes of those that fail (C20, C70)."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

import miqro
from harness import wait_until
from miqro import ha_sensors
from miqro.test import tools
from services import DEADLINE, Records, Running, deliver, make, receive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import Broker
    from worlds import World

    Config = Callable[..., Path]


class S(miqro.Service):
    """Notes what was called."""

    SERVICE_NAME = "s"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seen: list[Any] = []
        self.gate = asyncio.Event()
        super().__init__(*args, **kwargs)


# ---- how they are called (C12, C19, C20) -------------------------------------------------------------------------


class Mixed(S):
    @miqro.handle("plain")
    def plain(self, payload: str) -> None:
        self.publish("answer", f"plain {payload}")

    @miqro.handle("own")
    async def own(self, payload: str) -> None:
        await asyncio.sleep(0)
        self.publish("answer", f"own {payload}")

    @miqro.handle("rest/#")
    async def rest(self, payload: str, rest: str) -> None:
        await asyncio.sleep(0)
        self.publish("answer", f"rest {rest} {payload}")

    @miqro.handle("json/#")
    @miqro.accept_json
    async def json(self, rest: str, *, x: int) -> None:
        await asyncio.sleep(0)
        self.publish("answer", f"json {rest} {x}")

    @miqro.accept_json
    @miqro.handle_global("elsewhere")
    async def elsewhere(self, x: int) -> None:
        await asyncio.sleep(0)
        self.publish("answer", f"elsewhere {x}")

    async def added(self, payload: str) -> None:
        await asyncio.sleep(0)
        self.publish("answer", f"added {payload}")

    async def with_more(self, more: str, payload: str) -> None:
        await asyncio.sleep(0)
        self.publish("answer", f"{more} {payload}")

    @staticmethod
    async def static(service: Mixed, payload: str) -> None:
        await asyncio.sleep(0)
        service.publish("answer", f"static {payload}")

    async def handle_message(self, topic: str, payload: str) -> bool:  # type: ignore[override]
        await asyncio.sleep(0)
        self.publish("answer", f"unhandled {topic} {payload}")
        return True


class Awaited:
    """An object whose `__call__` is an `async def`."""

    def __init__(self, service: Mixed) -> None:
        self.service = service

    async def __call__(self, payload: str) -> None:
        await asyncio.sleep(0)
        self.service.publish("answer", f"object {payload}")


def in_every_shape(service: Mixed) -> None:
    """Add the handlers that no decorator makes."""
    service.add_handler("added", service.added)
    service.add_handler("partial", functools.partial(service.with_more, "partial"))
    service.add_handler("static", service.static)
    service.add_handler("object", Awaited(service))
    device = ha_sensors.Device(service, "device")
    ha_sensors.Switch(device, "switch", state_topic_postfix="state", command_callback=service.added)


SHAPES = [
    ("service/s/plain", "1", "plain 1"),
    ("service/s/own", "1", "own 1"),
    ("service/s/rest/a/b", "1", "rest a/b 1"),
    ("service/s/json/a", '{"x": 1}', "json a 1"),
    ("elsewhere", '{"x": 2}', "elsewhere 2"),
    ("service/s/added", "1", "added 1"),
    ("service/s/partial", "1", "partial 1"),
    ("service/s/static", "1", "static 1"),
    ("service/s/object", "1", "object 1"),
]


def test_async_handlers_of_every_shape_are_called_beside_ordinary_ones(world: World) -> None:
    """C12, C19, C20: in a service that is otherwise as it was, run as ever."""
    service = world.make(Mixed)
    in_every_shape(service)
    with Running(service) as running:
        world.ready(running)
        for topic, payload, answer in SHAPES:
            world.send(topic, payload)
            world.wait_for("service/s/answer", answer)
    assert service.failure_count == 0


def test_handle_message_may_be_an_async_def(config: Path) -> None:
    """C17, C20: a true answer says that it was handled, a false one is an error line."""
    service = make(Mixed, config)
    with Running(service) as running:
        deliver(service, "nowhere", "x")
        running.wait(lambda: ("service/s/answer", "unhandled nowhere x") in service.mqtt_client.message_queue)
    assert service.failure_count == 0


class Unhelpful(S):
    @miqro.handle("own")
    async def own(self, payload: str) -> None:
        """Make it an asynchronous service."""

    async def handle_message(self, topic: str, payload: str) -> bool:  # type: ignore[override]
        return False


def test_what_an_async_handle_message_does_not_handle_is_an_error_line(config: Path) -> None:
    """C17."""
    service = make(Unhelpful, config)
    with Records("s.main") as records, Running(service):
        deliver(service, "nowhere", "x")
        records.log.wait_for(
            lambda record: "No handler for topic 'nowhere'" in record.getMessage(), DEADLINE, "an error"
        )


def test_the_callback_of_an_entity_may_be_an_async_def(config: Path) -> None:
    """C20, C59."""
    service = make(Mixed, config)
    device = ha_sensors.Device(service, "device")
    switch = ha_sensors.Switch(device, "switch", state_topic_postfix="state", command_callback=service.added)
    with Running(service) as running:
        deliver(service, f"service/s/{switch.command_topic_postfix}", "1")
        running.wait(lambda: ("service/s/answer", "added 1") in service.mqtt_client.message_queue)


def test_the_tools_step_async_services_by_hand(config: Path) -> None:
    """C60, C20: `send` returns when the handler has ended, `run` calls loops, no event loop is needed."""

    class Stepped(Mixed):
        @miqro.loop(milliseconds=10)
        async def tick(self) -> None:
            await asyncio.sleep(0.001)
            self.publish("tick", "x")

    service = make(Stepped, config)
    tools.send(service, "service/s/own", "1")
    tools.expect_next(service, {"service/s/answer": "m == 'own 1'"})
    tools.expect_next(service, {"service/s/tick": ["m == 'x'", 3]})
    tools.run(service, 0.05)
    tools.send(service, "service/s/own", "2")
    tools.expect_next(service, {"service/s/answer": "m == 'own 2'"})


def test_the_tools_can_be_used_in_an_event_loop(config: Path) -> None:
    """C60, C20: the handler runs as a task of it."""
    service = make(Mixed, config)

    async def test() -> None:
        tools.send(service, "service/s/own", "1")
        queue = service.mqtt_client.message_queue
        while ("service/s/answer", "own 1") not in queue:  # noqa: ASYNC110 - a list tells nobody
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(test(), DEADLINE), debug=True)


def test_async_services_live_in_virtual_time(config: Path) -> None:
    """C60, C20: an hour of loops takes no time; a handler that does not end holds nobody up for long."""

    class Hourly(Mixed):
        @miqro.loop(minutes=1)
        async def tick(self) -> None:
            await asyncio.sleep(0)
            self.seen.append("tick")

        @miqro.handle("endless")
        async def endless(self, payload: str) -> None:
            await asyncio.get_running_loop().create_future()

    service = make(Hourly, config)
    with tools.virtual_time():
        tools.run(service, 3600)
        assert 60 <= service.seen.count("tick") <= 61
        tools.send(service, "service/s/own", "1")
        tools.expect_next(service, {"service/s/answer": "m == 'own 1'"})
        tools.send(service, "service/s/endless", "")
        tools.send(service, "service/s/own", "2")
        tools.expect_next(service, {"service/s/answer": "m == 'own 2'"})


def test_a_service_that_was_stepped_by_hand_can_be_run(config: Path) -> None:
    """C20: what waits in a task that began by hand is cancelled, what was not begun goes on."""

    class Stuck(S):
        MAX_LOOP_INTERVAL = 0.01

        @miqro.handle("own")
        async def own(self, payload: str) -> None:
            self.seen.append(payload)
            if payload == "stuck":
                await asyncio.get_running_loop().create_future()

    service = make(Stuck, config)
    receive(service, "service/s/own", "stuck")
    receive(service, "service/s/own", "next")
    assert service.seen == ["stuck"]
    with Running(service) as running:
        running.wait(lambda: service.seen == ["stuck", "next"])


def test_async_handlers_answer_requests_and_know_the_properties_of_their_message(
    broker: Broker, write_config: Config
) -> None:
    """C20: MQTT 5 in a handler that has to wait first; each sees those of its own message."""

    class Answering(S):
        @miqro.handle("ask", concurrency=4)
        async def ask(self, payload: str) -> str:
            await asyncio.sleep(0.01 if payload == "1" else 0)
            properties = self.message_properties
            assert properties is not None
            return f"{payload} {properties.content_type}"

        @miqro.loop(seconds=100)
        async def asking(self) -> None:
            assert self.message_properties is None
            while not self.is_connected:  # noqa: ASYNC110 - for a test
                await asyncio.sleep(0.01)
            requests = [self.request("service/s/ask", str(number), timeout=DEADLINE) for number in range(4)]
            self.seen = [await request for request in requests]

        def publish(self, *args: Any, **kwargs: Any) -> Any:
            if args[0] == "service/s/ask":
                kwargs["content_type"] = f"type {args[1]}"
            return super().publish(*args, **kwargs)

    service = Answering(write_config(broker.port, broker='protocol: "5"'))
    with Running(service) as running:
        running.wait(lambda: len(service.seen) == 4)
    assert service.seen == [f"{number} type {number}" for number in range(4)]
    assert service.failure_count == 0


# ---- who holds up whom (C70) -------------------------------------------------------------------------------------


class Gates(S):
    MAX_SEEN = 8

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.inside = self.most = 0
        self.threads: set[int] = set()
        super().__init__(*args, **kwargs)

    @miqro.handle("slow/#")
    async def slow(self, payload: str, rest: str) -> None:
        self.threads.add(threading.get_ident())
        self.seen.append(f"begin {payload}")
        if rest == "wait":
            await self.gate.wait()
        self.seen.append(f"end {payload}")

    @miqro.handle("other")
    async def other(self, payload: str) -> None:
        self.threads.add(threading.get_ident())
        self.seen.append(f"other {payload}")
        await asyncio.sleep(0)

    @miqro.handle("open")
    def open_gate(self, payload: str) -> None:
        self.threads.add(threading.get_ident())
        self.seen.append("open")
        self.gate.set()

    @miqro.handle("many/#", concurrency=8)
    async def many(self, payload: str, rest: str) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        await self.gate.wait()
        self.inside -= 1
        self.seen.append(payload)


def test_a_slow_coroutine_holds_up_nobody_but_its_own_filter(config: Path) -> None:
    """C70: messages of its filter wait for it, in order; other handlers, and loops, do not."""
    service = make(Gates, config)
    ticks: list[int] = []
    service.add_loop(miqro.Loop(lambda: ticks.append(1), miqro.timedelta(milliseconds=1)))
    with Running(service) as running:
        deliver(service, "service/s/slow/wait", "1")
        for number in (2, 3):
            deliver(service, "service/s/slow/go", str(number))
        deliver(service, "service/s/other", "x")
        running.wait(lambda: "other x" in service.seen)
        assert service.seen == ["begin 1", "other x"]
        ticks.clear()
        running.wait(lambda: len(ticks) > 2)
        assert service.seen == ["begin 1", "other x"]
        deliver(service, "service/s/open")
        running.wait(lambda: "end 3" in service.seen)
        assert service.threads == {running.thread.ident}
    assert service.seen[2:] == ["open", "end 1", "begin 2", "end 2", "begin 3", "end 3"]


def test_concurrency_lets_so_many_messages_of_a_filter_be_handled_at_once(config: Path) -> None:
    """C70: eight, and not nine."""
    service = make(Gates, config)
    with Running(service) as running:
        for number in range(20):
            deliver(service, f"service/s/many/{number}", str(number))
        deliver(service, "service/s/other", "x")
        running.wait(lambda: service.inside == 8 and "other x" in service.seen)
        deliver(service, "service/s/open")
        running.wait(lambda: len(service.seen) == 22)
    assert service.most == 8
    assert sorted(service.seen[2:], key=int) == [str(number) for number in range(20)]


def test_concurrency_is_for_add_handler_too_and_for_the_filters_of_all_handlers(config: Path) -> None:
    """C70, C5: an override of `_all_handlers` that puts the prefix before the filter keeps it."""

    class Overridden(Gates):
        def _all_handlers(self) -> Any:
            yield from self.mqtt_global_handlers
            for topic, handler in self.mqtt_handlers:
                yield self.data_topic_prefix + topic, handler

    service = make(Overridden, config)

    async def two(payload: str) -> None:
        service.inside += 1
        await service.gate.wait()
        service.inside -= 1
        service.seen.append(payload)

    service.add_global_handler("two", two, concurrency=2)
    with Running(service) as running:
        for number in range(3):
            deliver(service, "two", str(number))
        running.wait(lambda: service.inside == 2)
        deliver(service, "service/s/open")
        running.wait(lambda: service.seen[-1:] == ["2"])


def test_what_cannot_be_concurrent_is_refused_when_it_is_said() -> None:
    """C70: an ordinary method, and numbers that are none."""
    with pytest.raises(TypeError, match="'x'.* no `async def`, and ordinary handlers run one at a time"):
        miqro.handle("x", concurrency=8)(lambda self, payload: None)

    async def handler(self: Any, payload: str) -> None: ...

    for wrong in (0, -1, 1.5, "8"):
        with pytest.raises(ValueError, match="from 1 on"):
            miqro.handle_global("x", concurrency=wrong)(handler)  # type: ignore[arg-type]


# ---- when they fail (C16) ----------------------------------------------------------------------------------------


class Failing(S):
    @miqro.handle("fail")
    async def fail(self, payload: str) -> None:
        await asyncio.sleep(0)
        if payload == "cancel":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)
        if payload == "raise":
            message = "it is broken"
            raise ValueError(message)
        self.seen.append(payload)


class Unfit(S):
    @miqro.handle("end")
    async def end(self, payload: str) -> None:
        self.seen.append(payload)

    @miqro.handle("json")
    @miqro.accept_json
    async def json(self, x: int) -> None: ...

    @miqro.handle("wrong")
    async def wrong(self) -> None: ...


@pytest.mark.parametrize("how", ["raise", "cancel"])
def test_an_exception_is_logged_and_counted_and_the_next_message_is_handled(how: str, config: Path) -> None:
    """C16: with the topic and the traceback; also if the handler cancels itself."""
    service = make(Failing, config)
    with Records("s.main") as records, Running(service) as running:
        deliver(service, "service/s/fail", how)
        deliver(service, "service/s/fail", "next")
        running.wait(lambda: service.seen == ["next"])
        running.wait(lambda: any("service/s/fail" in text for text in records.texts(logging.ERROR)))
    (text,) = records.texts(logging.ERROR)
    assert "the handler Failing.fail" in text
    assert service.failure_count == 1
    assert service.last_failure is not None
    assert {"raise": "it is broken", "cancel": "cancelled"}[how] in service.last_failure
    (record,) = [record for record in records.log.all() if record.levelno == logging.ERROR]
    assert record.exc_info is not None


def test_payloads_that_are_no_json_and_handlers_that_do_not_fit_are_told_with_the_topic(config: Path) -> None:
    """C12, C19."""
    service = make(Unfit, config)
    with Records("s.main") as records, Running(service) as running:
        deliver(service, "service/s/json", "{")
        deliver(service, "service/s/wrong", "x")
        deliver(service, "service/s/end", "end")
        running.wait(lambda: service.seen == ["end"])
    texts = records.texts(logging.ERROR)
    assert any("on 'service/s/json': the payload is not JSON" in text for text in texts)
    assert any("'service/s/wrong'" in text and "cannot be called with" in text for text in texts)


def test_sys_exit_in_an_async_handler_ends_the_service(config: Path) -> None:
    """C16: as in an ordinary one; the farewell is said."""

    class Leaving(S):
        @miqro.handle("leave")
        async def leave(self, payload: str) -> None:
            await asyncio.sleep(0)
            raise SystemExit(int(payload))

    service = make(Leaving, config)
    deliver(service, "service/s/leave", "3")
    with pytest.raises(SystemExit) as caught:
        service.run()
    assert caught.value.code == 3
    assert service.mqtt_client.message_queue[-1] == ("service/s/online", "0")


# ---- services that become asynchronous while they run -------------------------------------------------------------


def test_an_async_handler_may_be_added_to_a_service_that_runs(world: World) -> None:
    """C20, C53: the service goes on in an event loop."""

    class Ordinary(S):
        @miqro.handle("plain")
        def plain(self, payload: str) -> None:
            self.publish("answer", f"plain {payload}")

        async def late(self, payload: str) -> None:
            await asyncio.sleep(0)
            self.publish("answer", f"late {payload}")

    service = world.make(Ordinary)
    with Running(service) as running:
        world.ready(running)
        world.send("service/s/plain", "1")
        world.wait_for("service/s/answer", "plain 1")
        assert service._miqro_dispatcher.tasks is None
        service.add_handler("late", service.late)
        if world.kind == "engine":
            running.subscribed(2)
        world.send("service/s/late", "1")
        world.wait_for("service/s/answer", "late 1")
        world.send("service/s/plain", "2")
        world.wait_for("service/s/answer", "plain 2")


def test_handlers_that_come_and_go_do_not_change_the_order_of_a_filter(config: Path) -> None:
    """C53, C70: messages that wait are handled, before those that come after the change."""
    service = make(Gates, config)
    with Running(service) as running:
        deliver(service, "service/s/slow/wait", "1")
        deliver(service, "service/s/slow/go", "2")
        running.wait(lambda: service.seen)
        # It comes before the service's own: all of them are registered anew.
        service.add_global_handler("first", lambda payload: None)
        deliver(service, "service/s/slow/go", "3")
        deliver(service, "service/s/other", "x")
        running.wait(lambda: "other x" in service.seen)
        service.mqtt_handlers[:] = [
            entry for entry in service.mqtt_handlers if not str(entry[0]).startswith("slow")
        ]
        deliver(service, "service/s/open")
        running.wait(lambda: "end 3" in service.seen)
    assert [item for item in service.seen if item.startswith("begin")] == ["begin 1", "begin 2", "begin 3"]


def test_the_doubles_of_unittest_are_handlers_as_they_were(config: Path) -> None:
    """C20: a Mock has every attribute one asks for, and is no coroutine function for that; an AsyncMock is one."""
    from unittest.mock import AsyncMock, MagicMock

    service = make(S, config)
    plain, awaited = MagicMock(), AsyncMock()
    service.add_handler("plain", lambda payload: plain(payload))
    service.add_handler("mock", plain)
    service.add_handler("awaited", awaited)
    with Running(service) as running:
        for topic in ("plain", "mock", "awaited"):
            deliver(service, f"service/s/{topic}", "x")
        running.wait(lambda: plain.call_count == 2 and awaited.await_count == 1)


def test_an_ordinary_service_does_not_import_asyncio(config: Path) -> None:
    """C20: one that has handlers and loops, ran and ended. In an interpreter of its own."""
    import subprocess
    import sys

    code = f"""
import sys
import miqro
from miqro.test.tools import DummyMQTTClient, DummyState, DummyMessage

class S(miqro.Service):
    SERVICE_NAME = "s"

    @miqro.handle("x")
    def x(self, payload):
        info = self.publish("y", payload, qos=1)
        self.stop = True

    @miqro.loop(seconds=1)
    def tick(self):
        pass

service = S({str(config)!r}, mqtt_client_cls=DummyMQTTClient, state_cls=DummyState)
service.mqtt_client.ensure_connected()
service.mqtt_client.deliver(DummyMessage("service/s/x", "1"))
service.run()
assert ("service/s/y", "1") in service.mqtt_client.message_queue
assert "asyncio" not in sys.modules, "asyncio was imported"
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == 0, done.stderr


def test_what_waits_is_there_for_the_next_run(config: Path) -> None:
    """C70: messages that a stop has left are handled when the service is run again."""
    service = make(Gates, config)
    with Running(service) as running:
        deliver(service, "service/s/slow/wait", "1")
        deliver(service, "service/s/slow/go", "2")
        running.wait(lambda: service.seen)
        wait_until(lambda: service._miqro_dispatcher.tasks.messages == 2, DEADLINE, "both are taken")
    assert service.seen == ["begin 1"]
    service.stop = False
    with Running(service) as running:
        running.wait(lambda: service.seen == ["begin 1", "begin 2", "end 2"])
