"""Services that wait for something of their own: a serial line, a step by hand (contract C5, C55)."""

from __future__ import annotations

import os
import select
import threading
from typing import TYPE_CHECKING, Any

import pytest

import miqro
from harness import Script
from services import Running, ends_with, loop_of, make

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness import Broker, Observer
    from worlds import World

    Config = Callable[..., Path]


class S(miqro.Service):
    """Notes what was called."""

    SERVICE_NAME = "s"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seen: list[Any] = []
        super().__init__(*args, **kwargs)


# ---- C55: waiting for something else -----------------------------------------------------------------------------


class Terminal:
    """A serial line: a pseudo-terminal, of which the service has one end."""

    def __init__(self) -> None:
        self.device, self.line = os.openpty()
        import tty

        tty.setraw(self.line)

    def say(self, text: str) -> None:
        """Have the device send this."""
        os.write(self.device, text.encode())

    def close(self) -> None:
        os.close(self.device)
        os.close(self.line)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """A serial line."""
    terminal = Terminal()
    yield terminal
    terminal.close()


@pytest.mark.parametrize("interval", [0.02, 100_000.0])
def test_wait_for_work_may_wait_for_a_serial_line(world: World, terminal: Terminal, interval: float) -> None:
    """C55, C5: messages, loops and the stop come nevertheless, and what the line says at once.

    Where nothing but the line wakes it, the line has to: messages then wait for that.
    """

    class Over(S):
        MAX_LOOP_INTERVAL = interval

        def _wait_for_work(self, timeout: float | None) -> None:
            assert timeout is not None
            assert timeout <= self.MAX_LOOP_INTERVAL
            ready, _, _ = select.select([terminal.line], [], [], timeout)
            if ready:
                self.seen.append(os.read(terminal.line, 1).decode())

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.seen.append("message " + payload)

    service = world.make(Over)
    with Running(service) as running:
        if interval < 1:
            world.ready(running)
            world.send("service/s/a", "1")
            running.wait(lambda: "message 1" in service.seen)
        for character in "xyz":
            terminal.say(character)
            running.wait(ends_with(service.seen, character))
        service.stop = True
        terminal.say("!")


def test_wait_for_work_may_sleep_a_little_and_call_super(world: World) -> None:
    """C55, C5."""

    class Over(S):
        def _wait_for_work(self, timeout: float | None) -> None:
            self.seen.append("waits")
            super()._wait_for_work(timeout)

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.seen.append(payload)

        @miqro.loop(milliseconds=2)
        def tick(self) -> None:
            self.seen.append("tick")

    service = world.make(Over)
    with Running(service) as running:
        world.ready(running)
        world.send("service/s/a", "1")
        running.wait(lambda: "1" in service.seen)
        running.wait(lambda: service.seen.count("tick") > 5)
    assert "waits" in service.seen


def test_wait_for_work_may_wake_the_service_from_a_descriptor_of_its_own(world: World) -> None:
    """C5: what it is given is how long the service has nothing to do."""

    class Over(S):
        MAX_LOOP_INTERVAL = 100.0

        def _wait_for_work(self, timeout: float | None) -> None:
            self.seen.append(timeout)
            super()._wait_for_work(0.0)

        @miqro.loop(seconds=50)
        def tick(self) -> None: ...

    service = world.make(Over)
    with Running(service) as running:
        running.wait(lambda: len(service.seen) > 3)
    assert all(0 < timeout <= 50 for timeout in service.seen)


def test_loop_step_may_read_a_serial_line_that_blocks(world: World, terminal: Terminal) -> None:
    """C55: the deprecated way: the whole step is its own, and it gets its messages nevertheless."""

    class Over(S):
        def _loop_step(self) -> None:
            ready, _, _ = select.select([terminal.line], [], [], 0.01)
            if ready:
                self.publish("line", os.read(terminal.line, 100).decode())

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.publish("echo", payload)

        @miqro.loop(milliseconds=1)
        def tick(self) -> None:
            self.seen.append("tick")

    service = world.make(Over)
    with Running(service) as running:
        world.ready(running)
        world.send("service/s/a", "1")
        world.wait_for("service/s/echo", "1")
        terminal.say("hello")
        world.wait_for("service/s/line", "hello")
    assert service.seen == [], "it is the step that would have called the loops"


def test_loop_step_may_run_the_loops_as_1x_did(world: World) -> None:
    """C55: by hand, over `LOOPS`, with `run_if_needed` and `get_remaining`."""

    class Over(S):
        def _loop_step(self) -> None:
            assert self.LOOPS is not None
            for loop in self.LOOPS:
                loop.run_if_needed(self)
            threading.Event().wait(0.002)

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.publish("echo", payload)

        @miqro.loop(milliseconds=4)
        def tick(self) -> None:
            self.seen.append("tick")

    service = world.make(Over)
    with Running(service) as running:
        world.ready(running)
        world.send("service/s/a", "1")
        world.wait_for("service/s/echo", "1")
        running.wait(lambda: len(service.seen) > 5)


def test_loop_step_may_call_super(world: World) -> None:
    """C55: all of a service goes on, and it ends when it is told to."""

    class Over(S):
        def _loop_step(self) -> None:
            super()._loop_step()
            self.steps = getattr(self, "steps", 0) + 1

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.publish("echo", payload)

        @miqro.loop(milliseconds=4)
        def tick(self) -> None:
            self.seen.append("tick")

    service = world.make(Over)
    with Running(service) as running:
        world.ready(running)
        world.send("service/s/a", "1")
        world.wait_for("service/s/echo", "1")
        running.wait(lambda: len(service.seen) > 5)
    assert service.steps > 1


def test_an_exception_of_an_overridden_step_ends_run_and_the_service_says_goodbye(world: World) -> None:
    """C55: as in 1.x, where the supervisor started it again; nobody thinks that it is online."""

    class Over(S):
        def _loop_step(self) -> None:
            if self.is_connected:
                raise OSError("the line is cut")

    service = world.make(Over)
    running = Running(service)
    running.thread.start()
    with pytest.raises(OSError, match="the line is cut"):
        running.join()
    world.wait_for("service/s/online", "0")


# ---- in a process of its own --------------------------------------------------------------------------------------

BLOCKING = """
    import os, signal, sys, threading, time
    import warnings
    warnings.simplefilter("ignore")
    import miqro

    line, device = os.openpty()

    class Reader(miqro.Service):
        SERVICE_NAME = "reader"

        def {method}(self, *timeout):
            try:
                text = os.read(line, 100)
            except InterruptedError:
                return
            print("read", text.decode(), flush=True)

        @miqro.handle("say")
        def say(self, payload):
            os.write(device, payload.encode())

    service = Reader("miqro.yml")
    threading.Timer(0.01, os.write, (device, b"first")).start()
    service.run()
"""


@pytest.mark.parametrize("method", ["_wait_for_work", "_loop_step"])
@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_a_service_that_blocks_in_a_read_of_its_own_ends_on_a_signal(
    broker: Broker, observer: Observer, write_config: Config, tmp_path: Path, method: str, number: str
) -> None:
    """C55, C40: with 0 on its will topic, by itself, and within the time that is given to it."""
    import signal

    write_config(broker.port)
    with Script(tmp_path, BLOCKING.format(method=method)) as script:
        script.wait_out("read first")
        script.signal(getattr(signal, number))
        result = script.wait()
    assert result.returncode == (0 if number == "SIGTERM" else 130)
    assert "panicked" not in result.err


def test_a_loop_of_a_service_may_be_found_by_its_function(config: Path) -> None:
    """C4, C5: how services of 1.x restarted a loop."""

    class Over(S):
        @miqro.loop(seconds=1000)
        def tick(self) -> None:
            self.seen.append("tick")

        def again(self) -> None:
            for loop in self.LOOPS or ():
                if loop.fn is vars(type(self))["tick"].fn:
                    loop.restart()

    service = make(Over, config)
    service.MAX_LOOP_INTERVAL = 0.0
    service._loop_step()
    service._loop_step()
    service.again()
    service._loop_step()
    assert service.seen == ["tick", "tick"]
    assert loop_of(service, "tick").fn is vars(Over)["tick"].fn
