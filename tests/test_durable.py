"""The durable outbox: what was accepted at QoS 1 and 2 survives kill -9 of the service (C44)."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

import pytest

from harness import Observer, Proxy, Script
from harness.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import Broker

#: Publishes numbers, and says which of them were accepted.
SOURCE = """
    import os, sys
    from pathlib import Path
    import miqro

    miqro.State.DATA_ROOT = Path.cwd()
    number, qos = int(sys.argv[1]), int(sys.argv[2])

    class Talker(miqro.Service):
        SERVICE_NAME = "talker"

        @miqro.loop(seconds=0)
        def talk(self):
            global number
            for _ in range(10):
                if number < int(sys.argv[3]) and self.publish(f"number/{number % 5}", str(number), qos=qos).rc == 0:
                    os.write(1, b"accepted %d\\n" % number)
                    number += 1

    Talker(log_level="WARNING").run()
"""

RESTARTS = 50
#: Numbers of one life; more than it lives to publish.
LIFE = 1_000_000


@pytest.mark.parametrize("qos", [1, 2])
def test_no_accepted_message_is_lost_by_killing_the_service_at_random_moments(
    qos: int, make_broker: Callable[..., Broker], tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """C44: kill -9, 50 times; in order, and at QoS 2 each once, since the broker keeps the session."""
    broker = make_broker().start()
    chance = random.Random(qos)
    accepted: list[int] = []
    with Observer(broker.port) as observer, Proxy(broker.port) as proxy:
        write_config(proxy.port, broker="durable: true\nclean_session: false\nreconnect_delay_min: 0.01")
        for life in range(RESTARTS):
            with Script(tmp_path, SOURCE, str(life * LIFE), str(qos), str((life + 1) * LIFE)) as script:
                script.wait_out("accepted")
                # The moment of its death: after so many more messages, or so many connections.
                if life % 3 == 2:
                    proxy.cut()
                alive = chance.randrange(400)
                script.out.wait_for_count(alive, 30.0, "messages are accepted")
                script.kill()
                script.wait()
            # A killed process may leave half a line.
            accepted += [int(line[9:]) for line in script.out.all() if re.fullmatch(r"accepted \d+", line)]
        with Script(tmp_path, SOURCE, "0", str(qos), "0"):
            wanted = set(accepted)
            wait_until(lambda: wanted <= set(_numbers(observer)), 60.0, "what was accepted has arrived")
            observer.barrier(qos=2)
    arrived = _numbers(observer)
    if qos == 2:
        assert len(arrived) == len(set(arrived))
    for topic in range(5):
        first_times = list(dict.fromkeys(number for number in arrived if number % 5 == topic))
        assert first_times == sorted(first_times)


def _numbers(observer: Observer) -> list[int]:
    return [int(message.text) for message in observer.received.all() if "/number/" in message.topic]


def test_a_full_disk_is_said_once_and_costs_no_message(
    broker: Broker, observer: Observer, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """C44: what cannot be written is sent all the same, with one error and `note_failure`; and it heals."""
    write_config(broker.port, broker="durable: true")
    source = """
        import resource, signal
        from pathlib import Path
        import miqro

        miqro.State.DATA_ROOT = Path.cwd()

        class Full(miqro.Service):
            SERVICE_NAME = "full"

            @miqro.handle("limit")
            def on_limit(self, payload):
                _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
                resource.setrlimit(resource.RLIMIT_FSIZE, (int(payload), hard))
                self.publish("limited", payload, qos=1)

            @miqro.handle("say")
            def on_say(self, payload):
                for number in range(10):
                    self.publish("said", f"{payload}{number}" + "x" * 1000, qos=1)
                self.publish("failures", str(self.failure_count), qos=1)

        Full(log_level="INFO").run()
    """
    with Script(tmp_path, source) as script:
        observer.wait_for("service/full/online", "1")
        for payload in ("before", "full", "healed"):
            limit = "1000" if payload == "full" else "1000000000"
            observer.publish("service/full/limit", limit)
            observer.wait_for("service/full/limited", limit)
            observer.publish("service/full/say", payload)
            observer.wait_for("service/full/said", where=lambda m, p=payload: m.text.startswith(f"{p}9"))
        script.terminate()
        script.wait().check(0)
    assert len(observer.payloads("service/full/said")) == 30
    errors = [line for line in script.err.all() if "ERROR" in line]
    assert len(errors) == 1
    assert "full.outbox cannot be written (File too large" in errors[0]
    assert any("full.outbox can be written again" in line for line in script.err.all())
    assert observer.payloads("service/full/failures")[-1] == "1"


def test_two_processes_do_not_share_an_outbox(
    broker: Broker, observer: Observer, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """The second one is told, and works without."""
    write_config(broker.port, broker="durable: true")
    source = """
        import sys
        from pathlib import Path
        import miqro

        miqro.State.DATA_ROOT = Path.cwd()

        class Same(miqro.Service):
            SERVICE_NAME = "same"
            USE_STATE_FILE = False

        service = Same()
        service.mqtt_client._options["client_id"] = sys.argv[1]
        service.publish("hello", sys.argv[1], qos=1)
        service.run()
    """
    with Script(tmp_path, source, "one") as one:
        observer.wait_for("service/same/hello", "one")
        with Script(tmp_path, source, "two") as two:
            observer.wait_for("service/same/hello", "two")
            line = two.wait_err("same.outbox cannot be used")
            assert f"in use by process {one.pid}" in line
            assert "do not survive a crash" in line


def test_what_was_not_delivered_before_a_clean_stop_is_sent_by_the_next_start(
    make_broker: Callable[..., Broker], tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """A stop while the broker is away: the messages wait in the file."""
    broker = make_broker()
    write_config(broker.port, broker="durable: true")
    with Script(tmp_path, SOURCE, "0", "1", "100") as script:
        script.out.wait_for_count(100, 20.0, "messages are accepted")
        script.terminate()
        script.wait().check(0)
        assert any("kept in" in line and "talker.outbox" in line for line in script.err.all())
    broker.start()
    with Observer(broker.port) as observer, Script(tmp_path, SOURCE, "100", "1", "101"):
        observer.wait_for("service/talker/number/0", "100")
        assert sorted(_numbers(observer)) == list(range(101))
