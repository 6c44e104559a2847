"""`async def` loops: the grid, no overlap, failures, statistics (C20, C51, C52, C70)."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import miqro
from miqro import Loop
from services import Records, Running, deliver, loop_of, make

if TYPE_CHECKING:
    from pathlib import Path


class S(miqro.Service):
    """Notes what was called."""

    SERVICE_NAME = "s"
    MQTT_ONLINE_UPDATE_INTERVAL: float = 100_000

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seen: list[Any] = []
        self.inside = self.most = 0
        super().__init__(*args, **kwargs)


class Overlong(S):
    @miqro.loop(milliseconds=1)
    async def overlong(self) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(0.02)
        self.inside -= 1
        self.seen.append("end")

    @miqro.loop(milliseconds=5)
    async def quick(self) -> None:
        self.seen.append("quick")

    @miqro.loop(milliseconds=5)
    def plain(self) -> None:
        self.seen.append("plain")


def test_a_loop_never_overlaps_itself_and_holds_up_no_other(config: Path) -> None:
    """C70: however long it takes, and however short its interval is."""
    service = make(Overlong, config)
    with Running(service) as running:
        running.wait(lambda: service.seen.count("end") >= 5)
    assert service.most == 1
    assert service.seen.count("quick") > service.seen.count("end")
    assert service.seen.count("plain") > service.seen.count("end")
    calls, mean, load, overloaded = loop_of(service, "overlong").stat_get()
    assert calls >= 5
    assert mean >= 0.02
    assert load > 1
    assert overloaded


def test_while_a_loop_is_at_work_nothing_runs_for_it(config: Path) -> None:
    """C54: one that is late because it goes on does not keep the service busy."""

    class Waiting(S):
        @miqro.loop(milliseconds=1)
        async def wait(self) -> None:
            self.gate = asyncio.Event()
            self.seen.append("begin")
            await self.gate.wait()

        @miqro.handle("open")
        def open_gate(self, payload: str) -> None:
            self.gate.set()

    service = make(Waiting, config)
    with Running(service) as running:
        for number in range(1, 4):
            running.wait(lambda number=number: len(service.seen) == number)
            turns: list[int] = []
            counted = service._miqro_run_loops

            def count(turns: list[int] = turns, counted: Any = counted) -> float:
                turns.append(1)
                return counted()

            service._miqro_run_loops = count
            # Long enough for thirty intervals.
            threading.Event().wait(0.03)
            assert len(turns) < 5, "it spins"
            del service._miqro_run_loops
            deliver(service, "service/s/open")


def test_a_loop_whose_call_took_long_is_called_once_and_back_on_its_grid(config: Path) -> None:
    """C51: as an ordinary one."""
    times: list[float] = []

    class Late(S):
        @miqro.loop(milliseconds=50)
        async def late(self) -> None:
            times.append(asyncio.get_running_loop().time())
            if len(times) == 1:
                await asyncio.sleep(0.12)

    service = make(Late, config)
    with Running(service) as running:
        running.wait(lambda: len(times) >= 4)
    # Due at 0, 50, 100, 150 …: the call of 0 ends at 120, that of 100 comes late, and the next one is on time.
    first, second, third, fourth = times[:4]
    assert second - first >= 0.119
    assert third - second < 0.049
    assert abs((fourth - third) - 0.05) < 0.04


def test_an_async_loop_that_returns_false_is_not_called_again(config: Path) -> None:
    """C51: and can be started again."""

    class Once(S):
        @miqro.loop(milliseconds=1)
        async def once(self) -> bool:
            await asyncio.sleep(0)
            self.seen.append("once")
            return False

        @miqro.loop(milliseconds=1)
        async def tick(self) -> None:
            self.seen.append("tick")

    service = make(Once, config)
    with Running(service) as running:
        running.wait(lambda: service.seen.count("tick") > 10)
        assert service.seen.count("once") == 1
        assert not loop_of(service, "once").is_running()
        loop_of(service, "once").start()
        running.wait(lambda: service.seen.count("once") == 2)


def test_a_failing_async_loop_waits_a_second_and_the_others_go_on(config: Path) -> None:
    """C16: logged with its traceback, counted."""

    class Failing(S):
        @miqro.loop(milliseconds=1)
        async def fail(self) -> None:
            await asyncio.sleep(0)
            message = "it is broken"
            raise ValueError(message)

        @miqro.loop(milliseconds=1)
        async def tick(self) -> None:
            self.seen.append("tick")

    service = make(Failing, config)
    with Records("s.main") as records, Running(service) as running:
        running.wait(lambda: service.failure_count == 1)
        service.seen.clear()
        running.wait(lambda: service.seen.count("tick") > 10)
        remaining = loop_of(service, "fail").get_remaining()
    assert remaining is not None
    assert timedelta(seconds=0.3) < remaining <= timedelta(seconds=1.001)
    assert records.texts(logging.ERROR) == ["Loop(fail) failed: it is broken"]
    assert service.last_failure == "Loop(fail) failed: ValueError: it is broken"
    assert loop_of(service, "fail").stat_error_count == 1


def test_interval_zero_is_called_again_and_again_with_messages_in_between(config: Path) -> None:
    """C51."""

    class Always(S):
        @miqro.loop(seconds=0)
        async def always(self) -> None:
            self.seen.append("loop")
            await asyncio.sleep(0)

        @miqro.handle("x")
        def handler(self, payload: str) -> None:
            self.seen.append("message")

    service = make(Always, config)
    with Running(service) as running:
        running.wait(lambda: service.seen.count("loop") > 10)
        deliver(service, "service/s/x")
        running.wait(lambda: "message" in service.seen)
        count = service.seen.count("loop")
        running.wait(lambda: service.seen.count("loop") > count + 10)


def test_async_loops_are_added_stopped_and_retimed_while_they_run(config: Path) -> None:
    """C53: from another thread, and to a service that had nothing asynchronous before."""

    async def tick(service: S) -> None:
        service.seen.append(threading.get_ident())

    service = make(S, config)
    with Running(service) as running:
        loop = service.add_loop(Loop(tick, timedelta(milliseconds=1)))
        running.wait(lambda: len(service.seen) > 3)
        loop.stop()
        count = len(service.seen)
        loop.interval = timedelta(milliseconds=2)
        partial = service.add_loop(Loop(functools.partial(tick, service), timedelta(milliseconds=1)))
        running.wait(lambda: len(service.seen) > count + 3)
        partial.stop()
        loop.start()
        count = len(service.seen)
        running.wait(lambda: len(service.seen) > count + 3)
        assert set(service.seen) == {running.thread.ident}


def test_a_loop_that_is_cancelled_from_within_is_a_failure(config: Path) -> None:
    """C16."""

    class Cancelling(S):
        @miqro.loop(milliseconds=1)
        async def cancel(self) -> None:
            self.seen.append("called")
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

    service = make(Cancelling, config)
    with Running(service) as running:
        running.wait(lambda: service.failure_count == 1)
    assert service.last_failure is not None
    assert "Loop(cancel) was cancelled" in service.last_failure
