"""A real broker for a test: mosquitto, in a process of its own, and a client that sees and says everything."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time

from miqro import mqtt

from ._client import Published
from ._expect import meet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

#: Seconds that the broker has to start or end, and the client to connect: far more than either takes.
PATIENCE = 15.0
#: Where Debian and others keep it, which is not on every user's PATH.
_MORE_PLACES = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")


class BrokerError(Exception):
    """There is no broker, or it does not do what it should; the text says what to do."""


class Broker:
    """A mosquitto process on a free port of this machine, and a client of it.

    Attributes:
        host: Where it listens.
        port: Its port; the same over stops and starts.
        messages: What the client has seen and the test has not yet looked at, of all topics: pairs of topic and
            text, in order. Each also has `qos`, `retain` and `payload`.

    Args:
        folder: Where its configuration and its log go.
    """

    def __init__(self, folder: Path) -> None:
        self.host = "127.0.0.1"
        self.port = 0
        self.messages: list[Published] = []
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._came = threading.Condition()
        self._client: mqtt.Client | None = None
        #: The client has its subscription; it has lost its connection.
        self._granted, self._lost = threading.Event(), threading.Event()

    @property
    def log(self) -> str:
        """What it has logged."""
        path = self._folder / "mosquitto.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start it, again on the same port if it was stopped; return when it answers.

        Raises:
            BrokerError: It is not installed, or does not start; with what it has logged.
        """
        program = shutil.which("mosquitto", path=os.pathsep.join([os.environ.get("PATH", ""), *_MORE_PLACES]))
        if program is None:
            raise BrokerError(
                "a test asks for a broker, and mosquitto is not installed: apt install mosquitto, "
                "brew install mosquitto, or have it on the PATH"
            )
        again = self.port != 0
        for _ in range(1 if again else 5):
            if not again:
                self.port = _free_port()
            if self._spawn(program):
                break
        else:
            raise BrokerError(f"mosquitto does not start; it says:\n{self.log}")
        self._connect()

    def stop(self) -> None:
        """End it, as a restart of the machine would: services lose their connection, and look for it again."""
        if not self._end():
            return
        if self._client is not None:
            # All that came before is among the messages now. The client comes back as soon as it can.
            self._lost.wait(PATIENCE)
            self._lost.clear()
            self._granted.clear()

    def close(self) -> None:
        """End the client and the broker."""
        client, self._client = self._client, None
        if client is not None:
            client.loop_stop()
        self._end()

    def publish(self, topic: str, payload: object = "", retain: bool = False, qos: int = 1) -> None:
        """Publish a message as another client; return when the broker has it.

        Args:
            topic: The topic, in full.
            payload: Text, bytes, a number, or `None` for an empty payload.
            retain: Whether the broker shall keep it.
            qos: 0, 1 or 2.

        Raises:
            BrokerError: It was never started, or is closed.
        """
        if self._client is None:
            raise BrokerError("the broker is not started")
        self._client.publish(topic, payload, qos, retain).wait_for_publish(PATIENCE)

    def expect_next(
        self, expected: Mapping[str, object], timeout: float | None = None
    ) -> dict[str, list[str]]:
        """Wait until messages have come that are expected, as `miqro.test.tools.expect_next` does.

        What the test publishes itself comes too. Messages from before the call count, unless they were looked at.

        Args:
            expected: What is expected, by topic, in full.
            timeout: Seconds to wait; by default `miqro.test.tools.DEFAULT_TIMEOUT`.

        Returns:
            The messages that met the expectations, by topic.

        Raises:
            AssertionError: Something else came, or too little in time.
        """
        __tracebackhide__ = True
        from . import tools

        return meet(
            expected,
            self.messages,
            tools.DEFAULT_TIMEOUT if timeout is None else timeout,
            wait=self._wait,
            ended=lambda: None,
        )

    def wait_for(self, message: tuple[str, str], times: int, timeout: float) -> bool:
        """Wait until so many of a message are among those that came; leave them there; whether they have come."""
        deadline = time.monotonic() + timeout
        with self._came:
            while self.messages.count(message) < times:  # type: ignore[arg-type]
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._came.wait(left)
        return True

    def _wait(self, seconds: float) -> None:
        with self._came:
            self._came.wait(seconds)

    def _on_message(self, _client: object, _userdata: object, message: Any) -> None:
        with self._came:
            self.messages.append(Published(message.topic, message.payload, message.qos, message.retain))
            self._came.notify_all()

    def _spawn(self, program: str) -> bool:
        """Start the process; whether it came up."""
        lines = [f"listener {self.port} {self.host}", "allow_anonymous true", "persistence false"]
        # A burst must not be thinned out.
        lines += ["max_queued_messages 0", "set_tcp_nodelay true", "log_dest stderr", "log_type all"]
        if os.getuid() == 0:
            lines.append("user root")  # else it gives up root, and may not read its own files here
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "mosquitto.conf"
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        with (self._folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "-c", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection((self.host, self.port), 1.0).close()
            except OSError:
                time.sleep(0.005)
            else:
                # Another process may have been quicker to take the port.
                return self._process.poll() is None
        self._end()
        return False

    def _end(self) -> bool:
        """End the process; whether there was one."""
        process, self._process = self._process, None
        if process is None:
            return False
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return True

    def _connect(self) -> None:
        """Have the client see everything. It comes back by itself."""
        if self._client is None:
            self._client = client = mqtt.Client(f"miqro-test-{os.getpid()}-{self.port}")
            client.on_message = self._on_message
            client.on_subscribe = lambda *_: self._granted.set()
            client.on_disconnect = lambda *_: self._lost.set()
            client.reconnect_delay_set(0.02, 0.1)
            client.connect_async(self.host, self.port)
            client.subscribe("#", 2)
            client.loop_start()
        if not self._granted.wait(PATIENCE):
            raise BrokerError(f"mosquitto on port {self.port} does not answer; it says:\n{self.log}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
