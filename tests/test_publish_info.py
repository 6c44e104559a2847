"""What `publish` returns: `rc`, `mid`, `is_published()`, `wait_for_publish()`, `await` (C36, C72)."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import miqro
from harness import FakeBroker, Peer, Running, Script, packets, wait_until
from miqro.test.tools import DummyMQTTClient
from recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness import Broker, Observer

_DESCRIPTORS = Path("/proc/self/fd")
SOON = 10.0
"""Seconds that something may take that should take none."""


class Plain(miqro.Service):
    SERVICE_NAME = "plain"


class Withholding:
    """A script for the fake broker: acknowledges nothing before it is told to.

    Attributes:
        held: The PUBLISH packets of the test's own topics that came so far.
    """

    def __init__(self) -> None:
        self.held: list[packets.Packet] = []
        self._changed = threading.Condition()
        self._allowed = threading.Event()

    def __call__(self, peer: Peer) -> None:
        peer.accept()
        while (request := peer.read()) is not None and request.kind != packets.DISCONNECT:
            if request.kind == packets.PUBLISH and request.qos:
                with self._changed:
                    self.held.append(request)
                    self._changed.notify_all()
                self._allowed.wait(SOON)
            peer.answer(request)

    def wait_held(self) -> None:
        """Return when the broker has a message that it does not acknowledge."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.held, SOON)

    def allow(self) -> None:
        """Acknowledge from now on."""
        self._allowed.set()


# ---- accepted and acknowledged ---------------------------------------------------------------------------


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_published_message_is_done_when_the_broker_has_it(
    broker: Broker, write_config: Callable[..., Path], qos: int
) -> None:
    """C36: `rc` 0, a `mid`, `wait_for_publish` returns None, `is_published`."""
    service = Plain(write_config(broker.port))
    with Running(service):
        info = service.publish("x", "y", qos=qos)
        assert info.rc == 0
        assert 1 <= info.mid <= 65_535
        assert info.wait_for_publish() is None
        assert info.is_published()
        # More of the same changes nothing.
        info.wait_for_publish(0)


def test_each_message_has_a_number_of_its_own(write_config: Callable[..., Path]) -> None:
    """C36: `mid` tells them apart."""
    service = Plain(write_config(1))
    mids = [service.publish("x", number).mid for number in range(100)]
    assert len(set(mids)) == 100


def test_publish_json_returns_it_too(broker: Broker, write_config: Callable[..., Path]) -> None:
    """C36: `publish_json`, `publish` of a dict, and each of `publish_json_keys`."""
    service = Plain(write_config(broker.port))
    with Running(service):
        infos = [service.publish_json("x", {"a": 1}), service.publish("x", {"a": 1})]
        infos += service.publish_json_keys({"a": 1, "b": {"c": 2}}, qos=1)
        for info in infos:
            info.wait_for_publish(SOON)
            assert info.is_published()


@pytest.mark.parametrize("qos", [1, 2])
def test_only_the_acknowledgement_settles_it(write_config: Callable[..., Path], qos: int) -> None:
    """C36: done when the broker has acknowledged, not when it was sent."""
    script = Withholding()
    with FakeBroker(script) as fake:
        service = Plain(write_config(fake.port))
        with Running(service):
            info = service.publish("x", "y", qos=qos)
            script.wait_held()
            assert not info.is_published()
            assert info.wait_for_publish(0.01) is None
            assert not info.is_published()
            script.allow()
            info.wait_for_publish(SOON)
            assert info.is_published()


def test_pubrec_alone_is_no_acknowledgement(write_config: Callable[..., Path]) -> None:
    """C36: QoS 2 is acknowledged by PUBCOMP."""
    released, finish = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.accept()
        while (request := peer.read()) is not None and request.kind != packets.DISCONNECT:
            if request.kind == packets.PUBREL:
                released.set()
                finish.wait(SOON)
            peer.answer(request)

    with FakeBroker(script) as fake:
        service = Plain(write_config(fake.port))
        with Running(service):
            info = service.publish("x", "y", qos=2)
            assert released.wait(SOON)
            assert not info.is_published()
            finish.set()
            info.wait_for_publish(SOON)
            assert info.is_published()


def test_a_message_of_qos_0_is_done_when_it_is_written_not_when_it_is_queued(
    broker: Broker, write_config: Callable[..., Path]
) -> None:
    """C36: accepted while offline: `rc` 0, and done after the connect."""
    service = Plain(write_config(broker.port))
    infos = [service.publish("x", qos, qos=qos) for qos in (0, 1, 2)]
    assert [info.rc for info in infos] == [0, 0, 0]
    assert not any(info.is_published() for info in infos)
    for info in infos:
        assert info.wait_for_publish(0) is None
    with Running(service):
        for info in infos:
            info.wait_for_publish(SOON)
            assert info.is_published()


def test_a_wait_with_a_timeout_returns_after_it(write_config: Callable[..., Path]) -> None:
    """C36: without an exception, as paho's; never before the time is up, and below zero at once."""
    service = Plain(write_config(1))
    info = service.publish("x", "y", qos=1)
    for timeout in (-1.0, 0, 0.05, 0.25):
        start = time.monotonic()
        info.wait_for_publish(timeout)
        assert time.monotonic() - start >= timeout
        assert not info.is_published()


def test_a_wait_on_one_thread_holds_up_no_other(broker: Broker, write_config: Callable[..., Path]) -> None:
    """C36: the interpreter is free while one waits, and the wait ends by the acknowledgement."""
    service = Plain(write_config(broker.port))
    info = service.publish("x", "y", qos=1)
    waiter = threading.Thread(target=info.wait_for_publish, args=(60,))
    waiter.start()
    with Running(service):
        waiter.join(SOON)
        assert not waiter.is_alive()
        assert info.is_published()


def test_a_handler_may_wait_for_its_own_message(
    broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """C36: on the service's thread too: the acknowledgement does not need it."""

    class Careful(Plain):
        @miqro.handle("in")
        def on_in(self, payload: str) -> None:
            info = self.publish("out", payload, qos=2)
            info.wait_for_publish(SOON)
            self.publish("known", info.is_published(), qos=1)

    with Running(Careful(write_config(broker.port))):
        observer.wait_for("service/plain/online", "1")
        observer.publish("service/plain/in", "x")
        observer.wait_for("service/plain/known", "1")


# ---- not sent --------------------------------------------------------------------------------------------


def assert_failed(info: Any, rc: int, text: str) -> None:
    """It never was published, and every way of asking for it says why."""
    assert info.rc == rc
    assert not info.is_published()
    with pytest.raises(miqro.PublishError, match=text):
        info.wait_for_publish()
    # Code that was written for paho catches these.
    for kind in (ValueError, RuntimeError):
        with pytest.raises(kind):
            info.wait_for_publish(0)

    async def wait() -> None:
        await info

    with pytest.raises(miqro.PublishError, match=text):
        asyncio.run(wait())


def test_an_unchanged_message_is_done_and_has_no_number(write_config: Callable[..., Path]) -> None:
    """C36: not sent because unchanged: `rc` 0, `mid` 0, done."""
    service = Plain(write_config(1))
    service.publish("x", "y", only_if_changed=True)
    info = service.publish("x", "y", only_if_changed=True)
    assert (info.rc, info.mid, info.is_published()) == (0, 0, True)
    assert info.wait_for_publish() is None

    async def wait() -> Any:
        return await info

    assert asyncio.run(wait()) is info


def test_an_invalid_message_says_so_when_waited_for(write_config: Callable[..., Path]) -> None:
    """C36: not sent because invalid: paho's error code as `rc`; waiting on it raises."""
    service = Plain(write_config(1))
    for info in (
        service.publish("a/#", "x"),
        service.publish("x", object()),
        service.publish("x", "y", qos=3),
        service.publish_json("a/+", {}),
        service.publish_json_keys({"#": 1})[0],
    ):
        assert info.mid == 0
        assert_failed(info, miqro.mqtt.MQTT_ERR_INVAL, "not accepted")


def test_a_message_refused_by_a_full_queue_says_so(write_config: Callable[..., Path]) -> None:
    """C36: refused because full: 15."""
    service = Plain(write_config(1, broker="max_queued_messages: 2"))
    for _ in range(2):
        assert service.publish("x", "y", qos=1).rc == 0
    for qos in (0, 1, 2):
        info = service.publish("x", "y", qos=qos)
        assert info.mid == 0
        assert_failed(info, miqro.mqtt.MQTT_ERR_QUEUE_SIZE, "full")


def test_a_message_dropped_later_says_so(write_config: Callable[..., Path]) -> None:
    """C36, C44: accepted, and dropped for newer ones."""
    service = Plain(write_config(1, broker="max_queued_messages: 1"))
    info = service.publish("x", "old")
    assert info.rc == 0
    service.publish("x", "new")
    assert_failed(info, 0, "dropped")


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_message_still_owed_at_the_end_says_so(write_config: Callable[..., Path], qos: int) -> None:
    """C36: the session ended first: waiting raises instead of lasting for ever."""
    service = Plain(write_config(1))
    info = service.publish("x", "y", qos=qos)
    waiter: list[BaseException] = []

    def wait() -> None:
        try:
            info.wait_for_publish()
        except miqro.PublishError as error:
            waiter.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    with Running(service):
        pass
    thread.join(SOON)
    assert len(waiter) == 1
    assert_failed(info, 0, "closed")


def test_a_session_that_ends_without_an_acknowledgement_says_so(write_config: Callable[..., Path]) -> None:
    """C36, C40: the broker has the message but never acknowledges: the end is bounded, and the info knows."""
    script = Withholding()
    with FakeBroker(script) as fake:
        service = Plain(write_config(fake.port))
        with Running(service):
            info = service.publish("x", "y", qos=1)
            script.wait_held()
        script.allow()
        assert_failed(info, 0, "closed")


# ---- waiting and signals ---------------------------------------------------------------------------------

WAITING = """
    import miqro, sys

    class Waiter(miqro.Service):
        SERVICE_NAME = "waiter"

        @miqro.loop(seconds=1000)
        def wait(self):
            info = self.publish("x", "y", qos=1)
            try:
                print("waiting")
                info.wait_for_publish()
            finally:
                print("woken, published:", info.is_published())

    Waiter().run()
    print("run() has returned")
"""


@pytest.mark.parametrize("mode", ["offline", "no acknowledgement"])
def test_ctrl_c_ends_a_wait_that_has_no_end(
    tmp_path: Path, write_config: Callable[..., Path], mode: str
) -> None:
    """C36, C40: Ctrl-C during `wait_for_publish()`, in a loop of the service: 130, no traceback."""
    script = Withholding()
    with FakeBroker(script) as fake:
        write_config(1 if mode == "offline" else fake.port)
        with Script(tmp_path, WAITING) as process:
            process.wait_out("waiting")
            if mode != "offline":
                script.wait_held()
            process.interrupt()
            result = process.wait()
        script.allow()
    result.check(130)
    assert "woken, published: False" in result.out


def test_sigterm_ends_a_wait_that_has_no_end(tmp_path: Path, write_config: Callable[..., Path]) -> None:
    """C36, C40: SIGTERM likewise, with status 0."""
    write_config(1)
    with Script(tmp_path, WAITING) as process:
        process.wait_out("waiting")
        process.terminate()
        result = process.wait()
    result.check(0)
    assert "woken, published: False" in result.out


def test_ctrl_c_ends_a_wait_outside_of_a_service(tmp_path: Path, write_config: Callable[..., Path]) -> None:
    """C36: a KeyboardInterrupt like any other, also where another thread got the signal."""
    source = """
        import miqro
        service = miqro.Service()
        info = service.publish("x", "y", qos=1)
        try:
            print("waiting")
            info.wait_for_publish(3600)
        except KeyboardInterrupt:
            print("interrupted")
    """
    write_config(1)
    with Script(tmp_path, source) as process:
        process.wait_out("waiting")
        process.interrupt()
        result = process.wait()
    result.check(0)
    assert result.out.splitlines()[-1] == "interrupted"


# ---- asyncio (C72) ---------------------------------------------------------------------------------------


def test_awaiting_a_publish_completes_on_the_acknowledgement(write_config: Callable[..., Path]) -> None:
    """C72: `await service.publish(...)` in an asyncio program; the loop runs on meanwhile."""
    script = Withholding()

    async def program(service: miqro.Service) -> list[str]:
        story: list[str] = []

        async def publisher() -> None:
            info = await service.publish("x", "y", qos=1)
            assert info.is_published()
            story.append("published")

        task = asyncio.create_task(publisher())
        await asyncio.to_thread(script.wait_held)
        assert not task.done()
        story.append("allowed")
        script.allow()
        await asyncio.wait_for(task, SOON)
        return story

    with FakeBroker(script) as fake:
        service = Plain(write_config(fake.port))
        with Running(service):
            assert asyncio.run(program(service)) == ["allowed", "published"]


def test_hundreds_of_tasks_may_wait_at_once(broker: Broker, write_config: Callable[..., Path]) -> None:
    """C72: with `gather`, for every QoS, and again in another event loop."""
    service = Plain(write_config(broker.port))

    async def program() -> None:
        infos = await asyncio.gather(*(_wait(service.publish("x", n, qos=n % 3)) for n in range(300)))
        assert all(info.is_published() for info in infos)
        for info in infos:
            assert await info is info

    with Running(service):
        for _ in range(3):
            asyncio.run(asyncio.wait_for(program(), 60))


async def _wait(info: Any) -> Any:
    return await info


def test_a_cancelled_wait_leaves_the_message_and_the_others_alone(
    broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """C72: a timeout of the waiter is its own affair."""
    service = Plain(write_config(broker.port))

    async def program() -> None:
        first, second = service.publish("x", "first", qos=1), service.publish("x", "second", qos=1)
        other = asyncio.create_task(_wait(second))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(_wait(first), 0.01)
        with Running(service):
            await asyncio.wait_for(_wait(first), SOON)
            await asyncio.wait_for(other, SOON)

    asyncio.run(program())
    assert [observer.wait_for("service/plain/x", text).text for text in ("first", "second")] == [
        "first",
        "second",
    ]


def test_a_task_learns_of_a_drop_and_of_the_end(write_config: Callable[..., Path]) -> None:
    """C72, C36: what `wait_for_publish` would raise is raised in the task."""
    service = Plain(write_config(1, broker="max_queued_messages: 2"))

    async def program() -> None:
        dropped = asyncio.create_task(_wait(service.publish("x", "dropped")))
        owed = asyncio.create_task(_wait(service.publish("x", "owed", qos=1)))
        await asyncio.sleep(0)
        service.publish("x", "newer", qos=1)
        with pytest.raises(miqro.PublishError, match="dropped"):
            await asyncio.wait_for(dropped, SOON)
        with Running(service):
            pass
        with pytest.raises(miqro.PublishError, match="closed"):
            await asyncio.wait_for(owed, SOON)

    asyncio.run(program())


@pytest.mark.skipif(not _DESCRIPTORS.is_dir(), reason="counts descriptors by /proc")
def test_an_event_loop_that_has_ended_leaves_no_descriptor(
    broker: Broker, write_config: Callable[..., Path]
) -> None:
    """C72: a program may call `asyncio.run` as often as it likes."""
    service = Plain(write_config(broker.port))

    async def program() -> None:
        await service.publish("x", "y", qos=1)

    with Running(service):
        asyncio.run(program())
        gc.collect()
        before = len(list(_DESCRIPTORS.iterdir()))
        for _ in range(20):
            asyncio.run(program())
        gc.collect()
        assert len(list(_DESCRIPTORS.iterdir())) < before + 10


# ---- other clients ---------------------------------------------------------------------------------------


def test_on_another_client_it_is_what_that_returned(write_config: Callable[..., Path]) -> None:
    """C36: the very object."""
    service = Plain(write_config(1), mqtt_client_cls=Recorder)
    for answer in (object(), None, (0, 7)):
        service.mqtt_client.answer = answer
        assert service.publish("x", "y") is answer
        assert service.publish_json("x", {"a": 1}) is answer
        assert service.publish_json_keys({"a": 1}) == [answer]


def test_the_double_of_the_test_tools_can_be_awaited(write_config: Callable[..., Path]) -> None:
    """C36, C60: code that awaits works in tests without a broker."""
    service = Plain(write_config(1), mqtt_client_cls=DummyMQTTClient)

    async def program() -> Any:
        return await service.publish("x", "y", qos=1)

    info = asyncio.run(program())
    assert info.is_published()
    assert info.wait_for_publish() is None


def test_a_message_that_a_newer_one_replaced_is_settled_and_no_error(
    broker: Broker, write_config: Callable[..., Path]
) -> None:
    """C36, C44: of retained QoS 0 messages of one topic the newest is sent; nobody waits for ever for an older one."""
    service = Plain(write_config(broker.port))
    infos = [service.publish("x", number, retain=True) for number in range(3)]
    with Running(service):
        for info in infos:
            info.wait_for_publish(SOON)
            wait_until(info.is_published, SOON, "it is settled")


def test_the_signal_module_is_as_it_was(broker: Broker, write_config: Callable[..., Path]) -> None:
    """C40: a service on a thread of its own touches no signal handler."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Running(Plain(write_config(broker.port))) as running:
        running.service.publish("x", "y", qos=1).wait_for_publish(SOON)  # type: ignore[attr-defined]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
