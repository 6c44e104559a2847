"""Run examples/echo.py against a broker and show what happens on the wire, until Ctrl-C.

Without a terminal it ends by itself after a few ticks of the loop. Exit status 0: everything that was to be
seen was seen. The observer is another MQTT library than the one on show.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as paho

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "echo.py"
PREFIX = "service/echo/"
TICKS = 3
SECONDS = 20.0
CONFIG = """\
broker:
  host: 127.0.0.1
  port: {port}
log_level: INFO
services:
  echo:
    custom_value: "from the miqro.yml of the demo"
"""


class DemoError(Exception):
    """The demo cannot go on; the text is for the person at the terminal."""


def say(text: str) -> None:
    """Print a line with the time before it."""
    now = time.time()
    clock = time.strftime("%H:%M:%S", time.localtime(now))
    # In one piece: several threads speak.
    sys.stdout.write(f"{clock}.{int(now % 1 * 1000):03} {text}\n")
    sys.stdout.flush()


class Wire:
    """Watches the topics of the service, prints what comes, and lets the demo wait for it.

    Args:
        port: The broker's.
    """

    def __init__(self, port: int) -> None:
        self._seen: list[tuple[str, str]] = []
        self._changed = threading.Condition()
        self._ready = threading.Event()
        self._silent = True
        self._hopeless = ""
        self._client = paho.Client(client_id=f"miqro-demo-{os.getpid()}")
        self._client.on_connect = lambda client, *_: client.subscribe(PREFIX + "#", 1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        if not self._ready.wait(SECONDS):
            raise DemoError("The broker did not accept a subscription.")

    def __len__(self) -> int:
        """Return how many messages came so far."""
        return len(self._seen)

    def show(self) -> None:
        """Print messages from now on."""
        self._silent = False

    def publish(self, topic: str, payload: str, *, retain: bool = False) -> None:
        """Publish, and return when the broker has it."""
        self._client.publish(PREFIX + topic, payload, 1, retain).wait_for_publish(SECONDS)

    def wait(
        self, what: str, topic: str, payload: str | None = None, *, count: int = 1, start: int = 0
    ) -> None:
        """Wait until ``count`` such messages came since the record was ``start`` long.

        Raises:
            DemoError: They did not come in time.
        """

        def fits() -> bool:
            found = [p for t, p in self._seen[start:] if t == PREFIX + topic and payload in {None, p}]
            return len(found) >= count

        with self._changed:
            self._changed.wait_for(lambda: self._hopeless or fits(), SECONDS)
            if not fits():
                raise DemoError(f"{self._hopeless or f'For {SECONDS:.0f} s'} this did not happen: {what}.")

    def give_up(self, why: str) -> None:
        """Let nobody wait any longer; ``why`` begins the sentence that tells what did not happen."""
        with self._changed:
            self._hopeless = why
            self._changed.notify_all()

    def has(self, topic: str, payload: str) -> bool:
        """Return whether such a message came."""
        return (PREFIX + topic, payload) in self._seen

    def settle(self) -> None:
        """Return when everything that the broker had so far has come."""
        marker = f"demo-{time.monotonic_ns()}"
        self._client.publish(f"{PREFIX}{marker}", b"", 1)
        self.wait("the broker passes on a message", marker)

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        text = message.payload.decode(errors="replace")
        if not self._silent:
            kind = "retained" if message.retain else ""
            say(f"  mqtt  {message.topic:<27} {text}  {kind}".rstrip())
        with self._changed:
            self._seen.append((message.topic, text))
            self._changed.notify_all()


def answers(port: int) -> bool:
    """Return whether a broker on this machine accepts an anonymous client on this port."""
    hello = b"\x10\x16\x00\x04MQTT\x04\x02\x00\x0a\x00\x0amiqro-demo"
    try:
        with socket.create_connection(("127.0.0.1", port), 2.0) as stream:
            stream.settimeout(2.0)
            stream.sendall(hello)
            answer = stream.recv(4)
            stream.sendall(b"\xe0\x00")
    except OSError:
        return False
    return answer == b"\x20\x02\x00\x00"


@contextlib.contextmanager
def own_broker(folder: Path) -> Iterator[int]:
    """Run a mosquitto on a free port; yield the port."""
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        raise DemoError("mosquitto is not installed. `make demo` installs it where apt-get can.")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nlog_type error\n", encoding="utf-8")
    log = folder / "mosquitto.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [program, "-c", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + SECONDS
        while not answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise DemoError(f"mosquitto did not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.01)
        yield port
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def some_broker(wanted: int, folder: Path) -> Iterator[tuple[Wire, bool]]:
    """Connect to the broker on the wanted port if one answers, else to one of our own.

    Yields the watched connection, and whether the broker is somebody else's.
    """
    if answers(wanted):
        wire = Wire(wanted)
        try:
            wire.settle()
            if not wire.has("online", "1"):
                say(f"A broker answers on localhost:{wanted}; the demo uses it.")
                wire.show()
                yield wire, True
                return
            say(f"An echo service is online already at the broker on localhost:{wanted}; it is left alone.")
        finally:
            wire.close()
    else:
        say(f"No broker answers on localhost:{wanted}.")
    with own_broker(folder) as port:
        say(f"Started a mosquitto for the demo, on localhost:{port}.")
        wire = Wire(port)
        wire.show()
        try:
            yield wire, False
        finally:
            wire.close()


class EchoService:
    """examples/echo.py in a process of its own; its log is shown.

    Args:
        folder: Where it finds its ``miqro.yml``.
        wire: Told when it has ended without having been asked to.
    """

    def __init__(self, folder: Path, wire: Wire) -> None:
        self._wire = wire
        self._stopping = False
        self._process = subprocess.Popen(
            [sys.executable, "-u", str(EXAMPLE)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            # Ctrl-C is for the demo, which then stops the service the way a system does.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._show_log, daemon=True)
        self._reader.start()

    def stop(self) -> int:
        """Send SIGTERM and return the exit status, or kill it after 10 s."""
        self._stopping = True
        self._process.terminate()
        try:
            status = self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            say("! The service did not end within 10 s.")
            self._process.kill()
            status = self._process.wait()
        self._reader.join(SECONDS)
        if self._process.stderr is not None:
            self._process.stderr.close()
        return status

    def _show_log(self) -> None:
        for line in self._process.stderr or ():
            say(f"  log   {line.rstrip()}")
        if not self._stopping:
            self._wire.give_up("The service has ended;")


def watch(wire: Wire, *, until_interrupted: bool) -> None:
    """Let the service come online, answer, and tick."""
    wire.wait("the service comes online", "online", "1")
    say("The service is online. Sending it a message:")
    wire.publish("echo", "hello, miqro")
    wire.wait("the service answers", "echo_response", "hello, miqro")
    say("It answered. Its loop ticks every two seconds:")
    wire.wait(f"the loop ticks {TICKS} times", "foofoo", count=TICKS)
    if until_interrupted:
        say("It goes on until you press Ctrl-C.")
        number = 1
        while True:
            time.sleep(10)
            start = len(wire)
            wire.publish("echo", f"hello again, number {number}")
            wire.wait("the service answers", "echo_response", f"hello again, number {number}", start=start)
            number += 1


def demo(port: int, *, until_interrupted: bool) -> int:
    """Show everything; return the exit status."""
    with tempfile.TemporaryDirectory(prefix="miqro-demo-") as name:
        folder = Path(name)
        with some_broker(port, folder) as (wire, foreign):
            address = wire._client._port  # noqa: SLF001 - paho has no public name for it
            (folder / "miqro.yml").write_text(CONFIG.format(port=address), encoding="utf-8")
            say("Starting examples/echo.py.")
            service = EchoService(folder, wire)
            start = 0
            try:
                watch(wire, until_interrupted=until_interrupted)
            except KeyboardInterrupt:
                print()
            finally:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                say("Stopping the service (SIGTERM).")
                start = len(wire)
                status = service.stop()
            wire.wait("the service goes offline", "online", "0", start=start)
            say(f"The service is offline; its exit status was {status}.")
            if foreign:
                # Leave nothing behind at somebody's broker.
                wire.publish("online", "", retain=True)
            return 0 if status == 0 else 1


@contextlib.contextmanager
def foreground() -> Iterator[bool]:
    """Take the terminal, so that Ctrl-C reaches the demo and not also the make around it.

    Yields whether there is a terminal. Without this, make would add a line about an interrupt to a clean end.
    """
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        before = os.tcgetpgrp(terminal)
        if not sys.stdout.isatty() or before != os.getpgrp():
            yield False
            return
        if before != os.getpid():
            os.setpgid(0, 0)
        # From the background, as we are until this is done, asking would stop us.
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        os.tcsetpgrp(terminal, os.getpgrp())
        try:
            yield True
        finally:
            with contextlib.suppress(OSError):
                os.tcsetpgrp(terminal, before)
    finally:
        os.close(terminal)


def main(command: Callable[..., int] = demo) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=1883, help="where to look for a broker on this machine")
    arguments = parser.parse_args()
    # In the background of a shell, interrupts are ignored until somebody wants them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # However the demo is stopped, it takes its service and its broker with it.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)
    try:
        with foreground() as terminal:
            return command(arguments.port, until_interrupted=terminal)
    except DemoError as error:
        say(f"! {error}")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
