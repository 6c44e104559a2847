"""What asynchronous services cost, beside aiomqtt and gmqtt, in turns on one broker.

    make PROFILE=release bench-async BENCH_ARGS="--messages 20000 --rounds 5 --idle 60"

CPU is that of the client's process, user and system, all its threads, per message. The last part is one process with
a hundred services in one event loop, that have nothing to do.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import miqro
from compare.setup import BROKER_OPTIONS
from harness import Broker

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".cache/bench/venv"
PAYLOAD = "x" * 32
#: How many publishes at QoS 1 are under way at once.
WINDOW = 100
DEADLINE = 300.0

# Each defines `receive(count, qos)` and `publish(count, qos)`: coroutines that call `begin()` when they are ready and
# `end()` when everything has come, or is on its way (QoS 0) or acknowledged (QoS 1).
COMMON = """
import asyncio, os, resource, sys, time

def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime

def begin():
    global began
    print("ready", flush=True)
    began = cpu()

def end(count):
    print((cpu() - began) / count * 1e6, flush=True)
    os._exit(0)

what, payload = sys.argv[1:3]
port, count, qos, window = map(int, sys.argv[3:])
"""
MIQRO = (
    COMMON
    + """
import miqro

class Service(miqro.Service):
    SERVICE_NAME = "bench"
    SUBSCRIBE_QOS = qos
    seen = 0

    @miqro.handle("in")
    async def handler(self, payload):
        self.seen += 1
        if self.seen == count:
            end(count)

    @miqro.loop(seconds=1000)
    async def work(self):
        while not self.is_connected:
            await asyncio.sleep(0.01)
        # The greeting is over, and what it says acknowledged.
        await asyncio.sleep(0.2)
        if what == "receive":
            begin()
        else:
            await self.send()

    async def send(self):
        begin()
        if qos == 0:
            for number in range(1, count + 1):
                info = self.publish("out", payload)
                if number % window == 0:
                    await asyncio.sleep(0)
            await info
        else:
            for _ in range(count // window):
                await asyncio.gather(*(self.one() for _ in range(window)))
        end(count)

    async def one(self):
        await self.publish("out", payload, qos=1)

open("miqro.yml", "w").write(f"broker: {{host: 127.0.0.1, port: {port}}}")
Service(log_level="ERROR").run()
"""
)
#: As gmqtt, which has nothing to await: acknowledgements come in order, so the last of a window stands for all.
MIQRO_LAST = MIQRO.replace(
    "await asyncio.gather(*(self.one() for _ in range(window)))",
    'await [self.publish("out", payload, qos=1) for _ in range(window)][-1]',
)
AIOMQTT = (
    COMMON
    + """
import aiomqtt

async def main():
    async with aiomqtt.Client("127.0.0.1", port) as client:
        if what == "receive":
            await client.subscribe("service/bench/in", qos=qos)
            begin()
            seen = 0
            async for message in client.messages:
                text = message.payload.decode()
                seen += 1
                if seen == count:
                    end(count)
        begin()
        for _ in range(count // window):
            if qos == 0:
                for _ in range(window):
                    await client.publish("service/bench/out", payload, qos=0)
            else:
                await asyncio.gather(*(client.publish("service/bench/out", payload, qos=1) for _ in range(window)))
        end(count)

asyncio.run(main())
"""
)
GMQTT = (
    COMMON
    + """
import gmqtt

async def main():
    client = gmqtt.Client("bench")
    seen = 0

    def on_message(client, topic, payload, qos, properties):
        nonlocal seen
        text = payload.decode()
        seen += 1
        if seen == count:
            end(count)

    client.on_message = on_message
    await client.connect("127.0.0.1", port, version=gmqtt.constants.MQTTv311)
    if what == "receive":
        client.subscribe("service/bench/in", qos=qos)
        await asyncio.sleep(0.2)
        begin()
        await asyncio.sleep(1000)
    begin()
    for number in range(1, count + 1):
        client.publish("service/bench/out", payload, qos=qos)
        if number % window == 0:
            # It has nothing to await: until its store is empty, everything is not acknowledged.
            await asyncio.sleep(0)
            while qos and not client._persistent_storage.is_empty:
                await asyncio.sleep(0)
    await asyncio.sleep(0)
    end(count)

asyncio.run(main())
"""
)
IDLE = """
import asyncio, gc, os, resource, sys, time
import miqro

number, seconds, port = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
open("miqro.yml", "w").write(f"broker: {{host: 127.0.0.1, port: {port}}}")

def rss():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE") / 1024

class Service(miqro.Service):
    @miqro.handle("x")
    async def x(self, payload):
        await self.publish("y", payload)

    @miqro.loop(minutes=10)
    async def tick(self):
        pass

async def main():
    before = rss()
    services = [
        type(f"S{index}", (Service,), {"SERVICE_NAME": f"s{index}"})(log_level="ERROR") for index in range(number)
    ]
    tasks = [asyncio.create_task(service.run_async()) for service in services]
    while not all(service.is_connected for service in services):
        await asyncio.sleep(0.05)
    await asyncio.sleep(1)
    gc.collect()
    began, memory = resource.getrusage(resource.RUSAGE_SELF), rss()
    await asyncio.sleep(seconds)
    ended = resource.getrusage(resource.RUSAGE_SELF)
    cpu = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
    print(before, memory, cpu * 1000, ended.ru_nvcsw - began.ru_nvcsw, len(os.listdir("/proc/self/task")), flush=True)
    began = time.monotonic()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(time.monotonic() - began)

asyncio.run(main())
"""


def peers() -> Path:
    """The interpreter of the peers' environment."""
    python = VENV / "bin/python"
    if not python.exists():
        sys.exit(f"{python} is missing: `make bench-async` makes it")
    return python


def installed() -> str:
    """The versions of the peers."""
    program = "import importlib.metadata as m; print(*(f'{n} {m.version(n)}' for n in ('aiomqtt', 'gmqtt')), sep=', ')"
    return subprocess.check_output([str(peers()), "-c", program], text=True).strip()


def flood(port: int, count: int, qos: int) -> None:
    """Publishes as fast as the broker takes it: a client with just enough MQTT 3.1.1."""

    def text(value: str) -> bytes:
        return len(value).to_bytes(2, "big") + value.encode()

    def packet(kind: int, body: bytes) -> bytes:
        assert len(body) < 128
        return bytes([kind, len(body)]) + body

    topic, payload = text("service/bench/in"), PAYLOAD.encode()
    connect = packet(0x10, text("MQTT") + b"\x04\x02\x00\x00" + text("bench-flood"))
    ids = (number.to_bytes(2, "big") if qos else b"" for number in range(1, count + 1))
    packets = b"".join(packet(0x30 | qos << 1, topic + number + payload) for number in ids)
    with socket.create_connection(("127.0.0.1", port), DEADLINE) as connection:
        connection.sendall(connect)
        acknowledged = threading.Thread(target=read_to_the_end, args=(connection,))
        acknowledged.start()
        connection.sendall(packets + b"\xe0\x00")
        acknowledged.join(DEADLINE)


def read_to_the_end(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def measure(folder: Path, python: str, source: str, port: int, what: str, count: int, qos: int) -> float:
    """Microseconds of CPU per message."""
    (folder / "client.py").write_text(source)
    command = [python, "client.py", what, PAYLOAD, *map(str, (port, count, qos, WINDOW))]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n", "the client has failed"
        if what == "receive":
            flood(port, count, qos)
        return float(client.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=20_000, help="up to 65,535")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--idle", type=float, default=60.0, help="seconds")
    arguments = parser.parse_args()
    clients = {
        "miqro": (sys.executable, MIQRO),
        "aiomqtt": (str(peers()), AIOMQTT),
        "gmqtt": (str(peers()), GMQTT),
    }
    print(f"miqro {miqro.__version__}, {installed()}, Python {sys.version.split()[0]}; µs of CPU per message")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "broker").mkdir()
        with Broker(folder / "broker", quiet=True, options=BROKER_OPTIONS) as broker:
            for what, qos in (("receive", 0), ("receive", 1), ("publish", 0), ("publish", 1)):
                if (what, qos) == ("publish", 1):
                    clients["miqro, the last awaited"] = (sys.executable, MIQRO_LAST)
                results: dict[str, list[float]] = {client: [] for client in clients}
                for _ in range(arguments.rounds):
                    for client, (python, source) in clients.items():
                        results[client].append(
                            measure(folder, python, source, broker.port, what, arguments.messages, qos)
                        )
                own = statistics.median(results["miqro"])
                print(f"{what}, QoS {qos}")
                for client, costs in results.items():
                    median = statistics.median(costs)
                    print(
                        f"  {client:8} {median:7.2f} ({min(costs):.2f} to {max(costs):.2f}), {median / own:.1f} x miqro"
                    )
            if arguments.idle:
                idle(folder, broker.port, arguments.idle)


def idle(folder: Path, port: int, seconds: float) -> None:
    (folder / "idle.py").write_text(IDLE)
    for number in (1, 100):
        done = subprocess.run(
            [sys.executable, "idle.py", str(number), str(seconds), str(port)],
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        before, memory, cpu, switches, threads, end = map(float, done.stdout.split())
        print(
            f"{number} idle services for {seconds:.0f} s: {memory / 1024:.1f} MiB, "
            f"{(memory - before) / number:.0f} KiB for each; {cpu:.1f} ms of CPU, {switches:.0f} context switches, "
            f"{threads:.0f} threads; they end in {end:.2f} s"
        )


if __name__ == "__main__":
    main()
