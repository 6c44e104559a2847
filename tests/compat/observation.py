"""What a run has shown, as lines that can be compared."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from compat.meanings import error_type, meanings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from compat.run import Run
    from compat.wire import Message, Session
    from harness import Result

#: As both implementations set up the root logger.
_RECORD = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}  (\S+)  ([A-Z]+) \t(.*)$")
_STATISTICS = re.compile(r" Loop\(\w+\) (?:not called|called|takes longer)")
_COMPARED_LEVELS = ("INFO", "WARNING", "ERROR", "CRITICAL")


class Record(NamedTuple):
    """A record of the log; `error` is the last line of its traceback."""

    logger: str
    level: str
    message: str
    error: str | None


def observe(run: Run) -> list[str]:
    """Give the lines of a finished run, in a fixed order of kinds."""
    scenario = run._scenario
    lines = wire_lines(run.messages(), run.topic(scenario.online), in_order=scenario.in_order)
    lines += session_lines(run.events())
    for result, side in run.ended:
        lines += process_lines(result, original=side is run.stage.original, statistics=scenario.statistics)
    return [neutral(line, run) for line in lines]


def neutral(line: str, run: Run) -> str:
    """Take out of a line what is another in each run: folders, ports, addresses, process ids."""
    line = line.replace(str(run.folder), "<folder>")
    if run._proxy is not None:
        line = line.replace(str(run._proxy.port), "<port>")
    for port in (run.stage.broker.port, run.stage.tls_port):
        line = line.replace(str(port), "<port>")
    return re.sub(r"(?<=-debug-)\d+", "<pid>", re.sub(r" at 0x[0-9a-f]+", "", line))


def wire_lines(messages: Iterable[Message], online: str, *, in_order: bool) -> list[str]:
    """Give the messages, of each topic in order, or all in order.

    A repetition of the last payload on the topic `online` is left out: 1.x publishes one more at its start if the
    socket happens to be open by then, and heartbeats are a matter of time.
    """
    kept: list[Message] = []
    last_online: Message | None = None
    for message in messages:
        if message.topic == online:
            if message == last_online:
                continue
            last_online = message
        kept.append(message)
    if not in_order:
        kept.sort(key=lambda message: message.topic)
    return [f"wire {m.topic} q{m.qos} r{m.retain:d} {_payload(m.payload)}" for m in kept]


def _payload(payload: bytes) -> str:
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return repr(payload)
    return text if text.isprintable() and text == text.strip() and text else repr(text)


def session_lines(events: Iterable[Session]) -> list[str]:
    """Give the connects in order, each with its will and the set of its subscriptions."""
    lines: list[str] = []
    subscriptions: set[str] = set()
    for event in events:
        if event.what in ("connect", "gone"):
            lines += sorted(subscriptions)
            subscriptions.clear()
        if event.what == "subscribe":
            subscriptions.add(f"session {event.client} subscribe {event.detail}")
        elif event.what != "gone":
            lines.append(f"session {event.client} {event.what} {event.detail}")
    return lines + sorted(subscriptions)


def process_lines(result: Result, *, original: bool, statistics: bool) -> list[str]:
    """Give what a process printed, in order; what it logged, sorted: 1.x has two threads; how it ended."""
    lines = [f"out {line}" for line in result.out.splitlines()]
    records, crashes = parse_log(result.err.splitlines())
    if original:
        records = _without_false_start(records)
    if result.returncode not in (0, -9) and records and crashes == [] and records[-1].error:
        # The traceback that ends a process follows its last record directly.
        *_, last = records
        crashes = [f"crash of the process: {error_type(last.error or '')}"]
        records[-1] = last._replace(error=None)
    logged = [
        f"log {record.level} {record.logger} {meaning}"
        for record in records
        if record.level in _COMPARED_LEVELS
        for meaning in meanings(record)
    ]
    if not statistics:
        logged = [line for line in logged if not _STATISTICS.search(line)]
    # A filter that two handlers have is subscribed to once: see the `session` lines. How often the statistics are
    # logged is a matter of time.
    once = {line for line in logged if " subscribing to " in line or _STATISTICS.search(line)}
    lines += sorted([line for line in logged if line not in once] + list(once)) + crashes
    lines.append(f"exit {result.returncode}")
    return lines


def _without_false_start(records: list[Record]) -> list[Record]:
    """Leave out that a connection was lost before there was one.

    The first heartbeat of 1.x races with its network thread. Now and then it is sent before the CONNECT; the broker
    then hangs up, and 1.x tries again.
    """
    started = False
    kept = []
    for record in records:
        started = started or record.message.startswith("MQTT connected")
        if started or record.message != "MQTT disconnected, rc=7":
            kept.append(record)
    return kept


def parse_log(lines: Iterable[str]) -> tuple[list[Record], list[str]]:
    """Give the records, and the tracebacks that belong to none: a thread's death."""
    records: list[Record] = []
    crashes: list[str] = []
    thread = in_traceback = False
    for line in lines:
        if found := _RECORD.match(line):
            records.append(Record(found[1].rpartition(".")[2], found[2], found[3], None))
            # Another thread may log while one that dies writes its traceback, line by line.
            in_traceback = in_traceback and thread
        elif line.startswith("Exception in thread"):
            thread = True
        elif line.startswith("Traceback (most recent call last)"):
            in_traceback = True
        elif in_traceback and line and not line.startswith((" ", "During handling", "The above")):
            in_traceback = False
            if thread:
                thread = False
                crashes.append(f"crash of a thread: {error_type(line)}")
            elif records:
                records[-1] = records[-1]._replace(error=line)
            else:
                crashes.append(f"crash of the process: {error_type(line)}")
    return records, crashes
