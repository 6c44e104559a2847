"""One scenario on one implementation: the service in its own process, and what the driver does to it."""

from __future__ import annotations

import contextlib
import re
import signal
from typing import TYPE_CHECKING, NamedTuple

from compat.wire import TIMEOUT, BrokerLog, Message, Session, Tap
from harness import Broker, Proxy, Script, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

    from compat.scenario import Scenario
    from harness import Result


class Side(NamedTuple):
    """An implementation: its name, and an interpreter that has it and not the other."""

    name: str
    python: Path


class Stage(NamedTuple):
    """What all runs share."""

    original: Side
    ours: Side
    broker: Broker
    tap: Tap
    log: BrokerLog
    #: Where the broker speaks TLS, and the file with the certificate of its authority.
    tls_port: int
    authority: Path


class Run:
    """Drives one scenario on one implementation.

    Topics are relative to the service's prefix; one that begins with `/` is absolute after it. Nothing here waits
    for some time to pass: 1.x loses what is published before it is connected, so that scenarios act when
    the broker has granted the last subscription, and go on when an answer was seen.
    """

    def __init__(self, scenario: Scenario, side: Side, stage: Stage, folder: Path) -> None:
        self.name = scenario.service_name
        self.prefix = scenario.prefix
        self.side = side
        self.stage = stage
        self.folder = folder
        self.script: Script | None = None
        #: The processes that have ended, and whose implementation each ran.
        self.ended: list[tuple[Result, Side]] = []
        self._scenario = scenario
        self._first_message = len(stage.tap.received)
        self._first_event = len(stage.log.events)
        #: How far the messages of a topic were waited for.
        self._seen: dict[str, int] = {}
        self._cleanup = contextlib.ExitStack()
        self._proxy: Proxy | None = None
        #: The parts of the broker's log that are about a process of another side.
        self._others: list[range] = []
        self._other_from: int | None = None
        self._by = side

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End what runs, and leave the broker as it was."""
        if self.script is not None:
            with contextlib.suppress(ProcessLookupError):
                self.script.kill()
        self._cleanup.close()
        self.stage.tap.barrier()
        for topic in {message.topic for message in self.messages() if message.retain}:
            self.stage.tap.publish(topic, b"", retain=True)

    # ---- the service ---------------------------------------------------------------------------------

    @property
    def original(self) -> bool:
        """Whether this is 1.3.0."""
        return self.side is self.stage.original

    @property
    def proxy(self) -> Proxy:
        """A proxy before the broker; used before `configure`, it is what the service connects to."""
        if self._proxy is None:
            self._proxy = self._cleanup.enter_context(Proxy(self.stage.broker.port))
        return self._proxy

    def configure(
        self, more: str = "", *, service: str = "known: true", broker: str = "", port: int = 0
    ) -> Path:
        """Write the `miqro.yml` of the service.

        Args:
            more: Lines at its end.
            service: The lines of the service's section; empty: there is no section.
            broker: More lines of the section `broker`.
            port: Another port than the usual one.
        """
        port = port or (self.stage.broker.port if self._proxy is None else self._proxy.port)
        text = f"broker:\n  host: 127.0.0.1\n  port: {port}\n" + _indented(broker, 2)
        if service:
            text += f"services:\n  {self.name}:\n{_indented(service, 4)}"
        path = self.folder / "miqro.yml"
        path.write_text(text + more, encoding="utf-8")
        return path

    def launch(self, *args: str, by: Side | None = None) -> Script:
        """Start the process and return at once; the configuration is written if there is none."""
        if not (self.folder / "miqro.yml").exists():
            self.configure()
        self._by = by or self.side
        self.script = self._cleanup.enter_context(
            Script(
                self.folder,
                self._scenario.path,
                self._scenario.class_name,
                *args,
                env={"PYTHONPATH": "", "PYTHONWARNINGS": "ignore", "PYTHONHASHSEED": "0"},
                python=self._by.python,
            )
        )
        return self.script

    def start(self, *args: str, by: Side | None = None) -> Script:
        """Start the process; return when the broker has granted its last subscription and it is `online`.

        With `by`, that implementation plays the part in the runs of both; its session is not recorded then.
        """
        if by is not None:
            self._other_from = len(self.stage.log.events)
        start = len(self.stage.log.events)
        script = self.launch(*args, by=by)
        self.wait_online(start)
        return script

    def wait_started_or_ended(self) -> None:
        """Wait until the service was made, which is before it connects, or the process has ended."""
        wait_until(
            lambda: re.search(r"\tstarted$", self._stderr(), re.MULTILINE) or self._ended(),
            TIMEOUT,
            f"{self.name} starts; its log:\n{self._stderr()}",
        )

    def wait_online(self, start: int, *, or_end: bool = False) -> None:
        """Wait for the subscription that both make last, from event `start` on, and for `online`.

        With `or_end` the process may end instead.
        """
        wanted = f"{self.prefix}enabled q"

        def granted(event: Session) -> bool:
            return event.client == self.name and event.what == "subscribe" and event.detail.startswith(wanted)

        wait_until(
            lambda: any(granted(event) for event in self.stage.log.events.all()[start:]) or self._ended(),
            TIMEOUT,
            f"{self.name} subscribes; its log:\n{self._stderr()}",
        )
        if or_end and self._ended():
            return
        assert not self._ended(), f"{self.name} ended at once; its log:\n{self._stderr()}"
        self.expect(self._scenario.online, "1")

    def events_so_far(self) -> int:
        """The position in the broker's log, for `wait_online` after something was done."""
        return len(self.stage.log.events)

    def wait_gone(self, start: int) -> None:
        """Wait until the broker has noticed, after event `start`, that the client is gone."""
        self.stage.log.wait_for(
            lambda event: event.client == self.name and event.what == "gone", f"{self.name} is gone", start
        )

    def end(self, how: signal.Signals | None = signal.SIGKILL) -> Result:
        """End the process (`None`: wait until it ends); return when everything it sent was seen, its will too."""
        assert self.script is not None
        if how is not None and self.script.running:
            self.script.signal(how)
        result = self.script.wait()
        self.ended.append((result, self._by))
        self.script = None
        # Whoever connected has to be gone from the broker: only then it has published the will.
        wait_until(self._all_gone, TIMEOUT, f"the broker notices the end of {self.name}")
        self.stage.tap.barrier()
        if self._other_from is not None:
            self._others.append(range(self._other_from, len(self.stage.log.events)))
            self._other_from = None
        return result

    # ---- messages ------------------------------------------------------------------------------------

    def topic(self, topic: str) -> str:
        """The full topic."""
        return topic[1:] if topic.startswith("/") else self.prefix + topic

    def send(self, topic: str, payload: str | bytes = b"", qos: int = 1, *, retain: bool = False) -> None:
        """Publish to the service."""
        self.stage.tap.publish(self.topic(topic), payload, qos, retain=retain)

    def expect(self, topic: str, payload: str | bytes | None = None) -> Message:
        """Wait for a message of the service, after those of this topic that were waited for before."""
        full = self.topic(topic)
        wanted = payload.encode() if isinstance(payload, str) else payload
        found = 0

        def fits(message: Message) -> bool:
            nonlocal found
            if message.topic != full:
                return False
            found += 1
            return found > self._seen.get(full, 0) and wanted in (None, message.payload)

        what = f"{self.side.name}: a message on {full!r}" + (f": {wanted!r}" if wanted is not None else "")
        try:
            message = self.stage.tap.received.wait_for(fits, TIMEOUT, what, start=self._first_message)
        except AssertionError as error:
            raise AssertionError(f"{error}\nThe log of the service:\n{self._stderr()}") from None
        self._seen[full] = found
        return message

    def ask(self, topic: str, payload: str | bytes = b"", *, answer: str | None = None) -> Message:
        """Send, and wait for the next message on `<topic>/done`, with the payload `answer` if that is given."""
        self.send(topic, payload)
        return self.expect(f"{topic}/done", answer)

    def expect_or_die(self, topic: str, payload: str | bytes | None = None) -> bool:
        """Wait for a message, or for a thread or the process to die of an exception: 1.x's way to fail."""
        full = self.topic(topic)
        wanted = payload.encode() if isinstance(payload, str) else payload
        seen = self._seen.get(full, 0)

        def answered() -> bool:
            fitting = [message for message in self.messages() if message.topic == full][seen:]
            return any(wanted in (None, message.payload) for message in fitting)

        def dead() -> bool:
            assert self.script is not None
            # The whole traceback has to be there: what is killed meanwhile does not print the rest.
            whole = r"^Exception in thread.*^[\w.]+(?:Error|Exception)\b"
            return re.search(whole, self._stderr(), re.MULTILINE | re.DOTALL) is not None or self._ended()

        wait_until(lambda: answered() or dead(), TIMEOUT, f"an answer on {full}, or death:\n{self._stderr()}")
        if answered():
            self.expect(topic, payload)
            return True
        return False

    def messages(self) -> list[Message]:
        """What was published so far in the name of the service, in the order of arrival."""
        everything = self.stage.tap.received.all()[self._first_message :]
        return [message for message in everything if self.name in message.topic]

    def events(self) -> list[Session]:
        """What the broker has told so far of clients whose id has the service's name in it."""
        return [
            event
            for index, event in enumerate(self.stage.log.events.all())
            if index >= self._first_event
            and self.name in event.client
            and not any(index in part for part in self._others)
        ]

    def _ended(self) -> bool:
        return self.script is None or not self.script.running

    def _stderr(self) -> str:
        return "\n".join(self.script.err.all()) if self.script is not None else "(not running)"

    def _all_gone(self) -> bool:
        events = self.events()
        return sum(e.what == "connect" for e in events) <= sum(e.what == "gone" for e in events)


def _indented(lines: str, spaces: int) -> str:
    return "".join(f"{' ' * spaces}{line}\n" for line in lines.strip("\n").splitlines())
