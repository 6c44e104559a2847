"""How each kind of row is measured: every function here measures one client once, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import random
import statistics
import subprocess
import tempfile
import threading
import time
from itertools import count as numbers
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compare import wire
from compare.client import DEADLINE, Client, command, started
from compare.setup import CLIENTS, MOSQUITTO, PYTHON, RUMQTTC, BenchError, Setup, mosquitto_client
from harness import packets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Figures = dict[str, float]
    Measure = Callable[[Setup, str], Figures]

#: How long a client may still write acknowledgements after the last message has been counted.
SETTLE = 0.05
_numbers = numbers()
#: What any service needs of the standard library, and miqro 1.3.0 as well.
MODULES = "logging, threading, datetime"


def payload_of(spec: dict[str, Any]) -> bytes:
    size = spec.get("size", len(wire.PAYLOAD))
    return (wire.PAYLOAD * (size // len(wire.PAYLOAD) + 1))[:size]


def topics_of(spec: dict[str, Any], who: str) -> list[str]:
    """Where the messages go: as many topics as handlers, with those of wildcards one level deeper."""
    if who in {RUMQTTC, MOSQUITTO}:
        return [f"{wire.PREFIX}/in"]
    number, wild = spec.get("handlers", 1), spec.get("wild", 0)
    return [
        f"{wire.PREFIX}/in/{index:05}" + ("/x" if index >= number - wild else "") for index in range(number)
    ]


def publish(spec: dict[str, Any]) -> Measure:
    """CPU of the client per message, until all have come to a subscriber and are acknowledged."""

    def work(setup: Setup, who: str) -> Figures:
        here = {**spec, "count": setup.count(spec["count"])}
        out = f"{wire.PREFIX}/out" + ("" if who in {RUMQTTC, MOSQUITTO} else "/00000")
        size = len(packets.publish(out, payload_of(spec)))
        with wire.Counter(setup.port, f"{wire.PREFIX}/out/#", size) as counter:
            if who == MOSQUITTO:
                return _mosquitto_pub(setup, here, out, counter)
            with started(setup, who, here) as client:
                client.wait_for("ready")
                before, began = client.cpu(), time.perf_counter()
                client.tell("go")
                counter.wait_for(here["count"])
                took = time.perf_counter() - began
                time.sleep(SETTLE)
                return _per_message(client.cpu() - before, took, here["count"])

    return work


def receive(spec: dict[str, Any]) -> Measure:
    """CPU of the client per message, until its handlers have been called for all."""

    def work(setup: Setup, who: str) -> Figures:
        here = {**spec, "count": setup.count(spec["count"])}
        count, qos, topics = here["count"], here.get("qos", 0), topics_of(spec, who)
        # It comes to the client when it has subscribed, and only then.
        wire.retain(setup.port, topics[0], b"subscribed")
        try:
            if who == MOSQUITTO:
                return _mosquitto_sub(setup, topics[0], count, qos)
            with started(setup, who, here) as client:
                client.wait_for("ready")
                if len(topics) > 1:
                    # The other subscriptions of 1.3.0 are packets of their own, which may be under way.
                    time.sleep(0.2 + len(topics) / 5000)
                before, began = client.cpu(), time.perf_counter()
                wire.flood(setup.port, topics, payload_of(spec), count, qos)
                client.wait_for("done")
                return _per_message(client.cpu() - before, time.perf_counter() - began, count)
        finally:
            wire.retain(setup.port, topics[0], b"")

    return work


def _per_message(cpu: float, took: float, count: int) -> Figures:
    return {"cpu": cpu / count * 1e6, "messages per second": count / took}


def _cpu_of_ended(process: subprocess.Popen[bytes]) -> float:
    """Wait for a process, and tell how many seconds of processor it has used in all."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchError(f"{process.args!r} ended with status {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def _mosquitto(setup: Setup, name: str, *arguments: str) -> list[str]:
    path = mosquitto_client(name)
    if path is None:
        raise BenchError(f"{name} is not installed (apt-get install mosquitto-clients)")
    return [path, "-h", "127.0.0.1", "-p", str(setup.port), *arguments]


def _mosquitto_pub(setup: Setup, spec: dict[str, Any], topic: str, counter: wire.Counter) -> Figures:
    """With its start, which is 2 ms."""
    line = _mosquitto(setup, "mosquitto_pub", "-l", "-t", topic, "-q", str(spec.get("qos", 0)))
    with tempfile.TemporaryFile() as lines:
        lines.write((payload_of(spec) + b"\n") * spec["count"])
        lines.seek(0)
        began = time.perf_counter()
        process = subprocess.Popen(line, stdin=lines)
        counter.wait_for(spec["count"])
        took = time.perf_counter() - began
        return _per_message(_cpu_of_ended(process), took, spec["count"])


def _mosquitto_sub(setup: Setup, topic: str, count: int, qos: int) -> Figures:
    """With its start, which is 2 ms, and with writing to a file, which it does message by message."""
    line = _mosquitto(setup, "mosquitto_sub", "-t", topic, "-q", str(qos), "-C", str(count + 1))
    with tempfile.TemporaryFile(dir=setup.folder) as out, subprocess.Popen(line, stdout=out) as process:
        ended = threading.Timer(DEADLINE, process.kill)
        ended.start()
        try:
            while ended.is_alive() and not os.fstat(out.fileno()).st_size:
                time.sleep(0.01)
            began = time.perf_counter()
            wire.flood(setup.port, [topic], wire.PAYLOAD, count, qos)
            return _per_message(_cpu_of_ended(process), time.perf_counter() - began, count)
        finally:
            ended.cancel()


def alone(spec: dict[str, Any], factor: float) -> Measure:
    """CPU of a call, without a broker; see clients/alone.py."""

    def work(setup: Setup, who: str) -> Figures:
        here = {**spec, "bare": who == PYTHON}
        for name in ("count", "repeats"):
            if name in spec:
                here[name] = setup.count(spec[name], 5)
        with started(setup, who, here, "alone.py") as client:
            cpu = client.wait_for("cpu")
        return {"cpu": cpu * factor}

    return work


def round_trip(count: int) -> Measure:
    """A message to a handler, which publishes it, and back; one at a time."""

    def work(setup: Setup, who: str) -> Figures:
        trips = setup.count(count)
        with started(setup, who, {"what": "echo"}) as client, wire.Driver(setup.port) as driver:
            for _ in range(trips // 10):
                driver.round_trip()
            before = client.cpu()
            times = sorted(driver.round_trip() for _ in range(trips))
            cpu = client.cpu() - before
        return {
            "cpu": cpu / trips * 1e6,
            "p50": statistics.median(times) * 1e6,
            "p99": times[trips * 99 // 100] * 1e6,
        }

    return work


def burst(count: int, answers: int) -> Measure:
    """A message to a handler, which publishes several at once; the time until the last is back."""

    def work(setup: Setup, who: str) -> Figures:
        pause = random.Random(1)
        times = []
        with (
            started(setup, who, {"what": "echo", "answers": answers}) as client,
            wire.Driver(setup.port, answers) as driver,
        ):
            assert client.pid
            for _ in range(setup.count(count)):
                # Pings are apart, as people press buttons; a fixed distance would fall in step with timers.
                time.sleep(pause.uniform(0.01, 0.03))
                times.append(driver.round_trip())
        return {"p50": statistics.median(times) * 1e3, "max": max(times) * 1e3}

    return work


def importing(pairs: int) -> Measure:
    """Import miqro and import nothing, in turn; the medians' difference."""

    def work(setup: Setup, who: str) -> Figures:
        costs: dict[str, list[tuple[float, float]]] = {"pass": [], "import miqro": []}
        for _ in range(setup.count(pairs, 3)):
            for source, found in costs.items():
                began = time.perf_counter()
                cpu = _cpu_of_ended(subprocess.Popen([setup.pythons[who], "-c", source]))
                found.append((time.perf_counter() - began, cpu))
        (bare_wall, bare_cpu), (wall, cpu) = (
            map(statistics.median, zip(*found, strict=True)) for found in costs.values()
        )
        return {"wall": (wall - bare_wall) * 1e3, "cpu": (cpu - bare_cpu) * 1e3}

    return work


def resident(pid: int) -> float:
    """Megabytes of memory that a process has now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


def _bare_memory(setup: Setup, who: str) -> float:
    source = f"import {MODULES}\nprint('{{\"ready\": 1}}', flush=True)\ninput()"
    with Client([setup.pythons[who], "-c", source], setup.own_folder()) as bare:
        bare.wait_for("ready")
        return resident(bare.pid)


def idle_service(setup: Setup, who: str) -> Client:
    """A running one, which the broker has said to be there."""
    if who == RUMQTTC:
        client = Client(command(setup, RUMQTTC, {"what": "echo"}), setup.own_folder())
        client.wait_for("ready")
        return client
    # The broker remembers the word of whoever had a name before.
    name = f"quiet{next(_numbers)}"
    with wire.Peer(setup.port) as watcher:
        watcher.subscribe(f"service/{name}/online")
        client = Client([setup.pythons[who], str(CLIENTS / "idle.py"), name], setup.own_folder(name))
        while watcher.message().payload != b"1":
            pass
    return client


def memory(setup: Setup, who: str) -> Figures:
    """Of a service that is connected and has nothing to do."""
    bare = _bare_memory(setup, who)
    if who == PYTHON:
        return {"cpu": bare}
    with idle_service(setup, who) as client:
        time.sleep(setup.seconds(1.0))
        return {"cpu": resident(client.pid) - bare}


def nothing(setup: Setup, who: str) -> Figures:
    """For rows that measure all clients together."""
    raise NotImplementedError


def used(pid: int) -> tuple[int, float]:
    """How often all threads of a process have gone to sleep, and their seconds on a processor, so far."""
    switches, seconds = 0, 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text(encoding="utf-8").splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                switches += int(line.split()[1])
        seconds += int((task / "schedstat").read_text(encoding="ascii").split()[0]) / 1e9
    return switches, seconds


def idle(usual: float) -> Callable[[Setup, tuple[str, ...]], dict[str, Figures]]:
    """All at once: what sleeps is in nobody's way."""

    def work(setup: Setup, everybody: tuple[str, ...]) -> dict[str, Figures]:
        seconds = setup.seconds(usual)
        with contextlib.ExitStack() as running:
            clients = {who: running.enter_context(idle_service(setup, who)) for who in everybody}
            # What follows a connect is not idle.
            time.sleep(setup.seconds(2.0))
            before = {who: used(client.pid) for who, client in clients.items()}
            time.sleep(seconds)
            after = {who: used(client.pid) for who, client in clients.items()}
        return {
            who: {
                "switches": (after[who][0] - before[who][0]) / seconds,
                "cpu": (after[who][1] - before[who][1]) / seconds * 60e3,
            }
            for who in everybody
        }

    return work


def loops(intervals: Sequence[float]) -> Measure:
    """How many calls of each loop there are too few, how late the last one is, and how far the gaps are off."""

    def work(setup: Setup, who: str) -> Figures:
        spec = {"what": "loops", "intervals": intervals, "seconds": setup.seconds(10.0)}
        with started(setup, who, spec, "grid.py" if who == PYTHON else "loops.py") as client:
            calls = client.wait_for("calls")
        figures: Figures = {}
        for interval in intervals:
            times = calls[str(interval)]
            lasted = times[-1] - times[0]
            due = round(lasted / interval) + 1
            errors = sorted(abs(later - earlier - interval) for earlier, later in pairwise(times))
            name = f"{interval * 1000:.0f}"
            figures |= {
                f"{name} missed": due - len(times),
                f"{name} behind ms": (lasted - (len(times) - 1) * interval) * 1e3,
                f"{name} p99 ms": errors[len(errors) * 99 // 100] * 1e3,
            }
        return figures

    return work
