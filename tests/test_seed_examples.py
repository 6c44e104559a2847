"""The services that miqro has been documented with since its version 1, typed in as they stand there, run (C1, C2)."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from harness import Observer, Script

if TYPE_CHECKING:
    from pathlib import Path

    from harness import Broker

#: An interpreter with another miqro may be named: `make proof-upgrade` does, also one that still has 1.3.0.
PYTHON = os.environ.get("MIQRO_EXAMPLES_PYTHON") or sys.executable

CONFIG = """\
broker:
  host: localhost
  port: {port}
  keepalive: 60

log_level: DEBUG

services:

  echo:
    custom_value: "Use for service-specific configuration values"

  some_other_service:
    has_some:
      custom:
        - "configuration values"
"""

ECHO = """
import miqro


class EchoSvc(miqro.Service):
    SERVICE_NAME = "echo"

    @miqro.handle("echo")
    def my_echo_handler(self, payload):
        self.publish("echo_response", payload)

    @miqro.loop(seconds=10)
    def do_something(self):
        self.publish("foo", "bar")
        self.publish_json(
            "foofoo",
            {"answer": 42.01, "config_demo": self.service_config["custom_value"]},
        )


echosvc = EchoSvc()
echosvc.run()
"""

MINIMAL = """
import miqro


class Minimal(miqro.Service):
    SERVICE_NAME = "minimal"

echosvc = Minimal()
echosvc.run()
"""

MINIMAL_WITH_INIT = """
import miqro


class MinimalWithInit(miqro.Service):
    SERVICE_NAME = "minimal"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        print ("Minimal service now initializeing...")
        ...

minimalsvc = MinimalWithInit()
minimalsvc.run()
"""

SUBSCRIBER = """
import miqro


class Subscriber(miqro.Service):
    SERVICE_NAME = "some_other_service"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        print(self.service_config["has_some"]["custom"][0])

    @miqro.handle("powersave")
    def handle_powersave(self, payload):
        print(f"Set powersave mode to {payload}")

    @miqro.handle("sms/send/#")
    def send_sms(self, payload, topic_postfix):
        print(f"Sending SMS message to {topic_postfix}")
        print(f"Text: {payload}")

    @miqro.handle_global("radio_receiver/devices/Oregon-v1/temperature_C")
    def handle_temperature(self, payload):
        print(f"Received temperature value: {payload}")

    @miqro.handle_global("radio_receiver/devices/TPMS/#")
    def handle_tpms(self, payload, topic_postfix):
        print(f"Received radio message from TPMS sensor {topic_postfix}: {payload}")


Subscriber().run()
"""


def start(folder: Path, broker: Broker, source: str) -> Script:
    """Start a service in a folder with the documented configuration file."""
    (folder / "miqro.yml").write_text(CONFIG.format(port=broker.port), encoding="utf-8")
    return Script(folder, source, python=PYTHON)


@pytest.fixture(scope="module")
def status_at_the_end() -> int:
    """The exit status on SIGTERM: 1.x left it to the signal."""
    code = "import importlib.metadata as m; print(m.version('miqro'))"
    done = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True)
    return -signal.SIGTERM if done.stdout.startswith("1.") else 0


def end(script: Script, status: int) -> None:
    """Stop it; it ends in peace."""
    script.terminate()
    script.wait().check(status)


def test_the_echo_service_answers_and_ticks(
    broker: Broker, observer: Observer, tmp_path: Path, status_at_the_end: int
) -> None:
    """The first example of the documentation."""
    with start(tmp_path, broker, ECHO) as script:
        observer.wait_for("service/echo/online", "1", where=lambda message: not message.retain)
        observer.publish("service/echo/echo", "hello")
        observer.wait_for("service/echo/echo_response", "hello")
        observer.wait_for("service/echo/foo", "bar")
        found = observer.wait_for("service/echo/foofoo")
        assert found.text == (
            '{"answer": 42.01, "config_demo": "Use for service-specific configuration values"}'
        )
        end(script, status_at_the_end)
    observer.wait_for("service/echo/online", "0")


def test_the_minimal_services_are_online(
    broker: Broker, observer: Observer, tmp_path: Path, status_at_the_end: int
) -> None:
    """The smallest service, and the one with a constructor of its own."""
    for source in (MINIMAL, MINIMAL_WITH_INIT):
        begin = len(observer.received)
        with start(tmp_path, broker, source) as script:
            observer.wait_for("service/minimal/online", "1", start=begin)
            end(script, status_at_the_end)
        observer.wait_for("service/minimal/online", "0", start=begin)
        assert script.out.all() == (
            ["Minimal service now initializeing..."] if source == MINIMAL_WITH_INIT else []
        )


def test_the_documented_subscriptions_hear_what_they_say(
    broker: Broker, observer: Observer, tmp_path: Path, status_at_the_end: int
) -> None:
    """Own topics and global ones, with and without a remainder (C10, C12)."""
    # Others may have subscribed to the same on the shared broker.
    logged = len(broker.log)
    with start(tmp_path, broker, SUBSCRIBER) as script:
        # 1.x is online before it has subscribed.
        for topic_filter in ("powersave", "sms/send/#", "temperature_C", "TPMS/#"):
            broker.wait_log(rf"{re.escape(topic_filter)} \(QoS", start=logged)
        observer.publish("service/some_other_service/powersave", "on")
        observer.publish("service/some_other_service/sms/send/0123/456", "hi there")
        observer.publish("radio_receiver/devices/Oregon-v1/temperature_C", "21.5")
        observer.publish("radio_receiver/devices/TPMS/4/left", "2.1")
        script.wait_out("TPMS")
        end(script, status_at_the_end)
    assert script.out.all() == [
        "configuration values",
        "Set powersave mode to on",
        "Sending SMS message to 0123/456",
        "Text: hi there",
        "Received temperature value: 21.5",
        "Received radio message from TPMS sensor 4/left: 2.1",
    ]
