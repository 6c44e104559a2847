"""Asynchronous services in interpreters of their own, in development mode: signals, exits, and nothing left behind."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from harness import Observer, Script

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import Broker
    from harness.process import Result

    Start = Callable[..., Script]

#: Two seconds, on a machine that does ten other things.
IN_TIME = 4.0
#: What Python and asyncio say when somebody has not cleaned up, or has blocked the event loop.
COMPLAINTS = ("was destroyed", "ResourceWarning", "never awaited", "never retrieved", "unclosed", "Traceback")

SERVICE = """
import asyncio, sys, time
import miqro

class S(miqro.Service):
    SERVICE_NAME = "s"

    @miqro.handle("echo")
    async def echo(self, payload):
        await self.publish("answer", payload, qos=1)

    @miqro.handle("endless")
    async def endless(self, payload):
        self.publish("answer", "endless")
        async with self.messages("nothing") as messages:
            await asyncio.get_running_loop().create_future()

    @miqro.handle("block")
    def block(self, payload):
        self.publish("answer", "blocks").wait_for_publish()
        time.sleep(60)

    @miqro.handle("block_async")
    async def block_async(self, payload):
        await self.publish("answer", "blocks")
        time.sleep(60)

    @miqro.loop(milliseconds=20)
    async def tick(self):
        await asyncio.sleep(0.01)

"""
RUN = "S(log_level='INFO').run()\n"
RUN_ASYNC = """
async def main():
    await asyncio.gather(S(log_level='INFO').run_async(), asyncio.sleep(0))

asyncio.run(main())
"""


@pytest.fixture
def start(broker: Broker, observer: Observer, tmp_path: Path, write_config: Callable[..., Path]) -> Start:
    """A starter of a program: returns when the service is online."""

    def started(program: str) -> Script:
        write_config(broker.port)
        options = ("-X", "dev", "-W", "error::ResourceWarning")
        script = Script(tmp_path, program, options=options, env={"PYTHONASYNCIODEBUG": "1"})
        observer.wait_for("service/s/online", "1")
        return script

    return started


def end(script: Script, observer: Observer) -> Result:
    """Wait for the end, which has to be in time, with a goodbye and without complaints."""
    began = time.monotonic()
    result = script.wait()
    assert time.monotonic() - began < IN_TIME
    observer.wait_for("service/s/online", "0")
    for complaint in COMPLAINTS:
        assert complaint not in result.err, result.err
    return result


@pytest.mark.parametrize("busy", ["idle", "endless"])
@pytest.mark.parametrize(
    ("program", "signal", "status"),
    [(RUN, "SIGTERM", 0), (RUN, "SIGINT", 130), (RUN_ASYNC, "SIGINT", None)],
    ids=["run SIGTERM", "run Ctrl-C", "run_async Ctrl-C"],
)
def test_a_signal_ends_it_cleanly(
    program: str, signal: str, status: int | None, busy: str, start: Start, observer: Observer
) -> None:
    """C40, C71: `0` is published, tasks are ended, nothing is left behind; the exit status is right."""
    with start(SERVICE + program) as script:
        observer.publish("service/s/echo", "x")
        observer.wait_for("service/s/answer", "x")
        if busy == "endless":
            observer.publish("service/s/endless", "")
            observer.wait_for("service/s/answer", "endless")
        script.interrupt() if signal == "SIGINT" else script.terminate()
        if status is None:
            # An application's Ctrl-C is its own affair: `asyncio.run` raises KeyboardInterrupt in the end.
            result = script.wait()
            observer.wait_for("service/s/online", "0")
            assert "KeyboardInterrupt" in result.err.splitlines()[-1]
            for complaint in COMPLAINTS[:-1]:
                assert complaint not in result.err, result.err
        else:
            assert end(script, observer).returncode == status


@pytest.mark.parametrize("how", ["block", "block_async"])
@pytest.mark.parametrize(("signal", "status"), [("SIGTERM", 0), ("SIGINT", 130)])
def test_what_blocks_the_loop_is_interrupted(
    how: str, signal: str, status: int, start: Start, observer: Observer
) -> None:
    """C40: an ordinary handler, or an `async def` that does not await, cannot keep the service from ending."""
    with start(SERVICE + RUN) as script:
        observer.publish(f"service/s/{how}", "")
        observer.wait_for("service/s/answer", "blocks")
        script.interrupt() if signal == "SIGINT" else script.terminate()
        assert end(script, observer).returncode == status


def test_a_second_ctrl_c_ends_it_at_once(start: Start, observer: Observer) -> None:
    """C40: for somebody impatient, while a handler has its time to end."""
    with start(SERVICE + RUN) as script:
        observer.publish("service/s/block", "")
        observer.wait_for("service/s/answer", "blocks")
        script.interrupt()
        time.sleep(0.1)
        script.interrupt()
        assert end(script, observer).returncode == 130


def test_stop_from_a_handler_ends_it(start: Start, observer: Observer) -> None:
    """C54."""
    program = """
class Stopping(S):
    @miqro.handle("stop")
    async def stop_it(self, payload):
        self.stop = True

Stopping(log_level='INFO').run()
"""
    with start(SERVICE + program) as script:
        observer.publish("service/s/stop", "")
        assert end(script, observer).returncode == 0


def test_a_program_may_end_without_stopping_its_services(start: Start, observer: Observer) -> None:
    """C71: `asyncio.run` cancels what is left."""
    program = """
async def main():
    service = S(log_level='INFO')
    task = asyncio.create_task(service.run_async())
    await service.wait_for("end")

asyncio.run(main())
"""
    with start(SERVICE + program) as script:
        # The subscription of `wait_for` follows the others; what comes before it is lost, so it is said until it works.
        while script.running:
            observer.publish("service/s/end", "")
            time.sleep(0.05)
        assert end(script, observer).returncode == 0


def test_it_runs_with_uvloop_too(start: Start, observer: Observer) -> None:
    """C71: an application that has set uvloop up has `run()` use it."""
    program = """
import uvloop
asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

class Telling(S):
    @miqro.handle("loop")
    async def tell(self, payload):
        await self.publish("answer", type(asyncio.get_running_loop()).__module__, qos=1)

Telling(log_level='INFO').run()
"""
    with start(SERVICE + program) as script:
        observer.publish("service/s/loop", "")
        observer.wait_for("service/s/answer", "uvloop")
        script.interrupt()
        assert end(script, observer).returncode == 130
