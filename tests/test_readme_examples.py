"""The examples of the document that users know, typed in as they stand there, on a real broker.

The texts are the user's (README of miqro 1.x); only the port of the broker is another, and blanks at ends of lines
are gone.
"""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING

import pytest

from harness import Observer, Script
from harness.broker import free_port
from harness.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import Broker

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

# The document makes a `Minimal()` here, the class of the example before; its reader means this one.
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

HANDLERS = """
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
"""

CONFIG = """
broker:
  host: localhost
  port: 1883
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

SOME_OTHER = """
class SomeOtherService(miqro.Service):
    SERVICE_NAME = "some_other_service"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)

        self.some_custom_connection = SomeCustomConnector(
            self.service_config["has_some"]["custom"][0],
        )
"""

AUTH = """
broker:
  host: remote-broker.example.com
  port: 1883
  keepalive: 60

auth:
  username: foo
  password: bar
"""

TLS = """
broker:
    host: remote-broker.example.com
    port: 8883
    keepalive: 60

tls:
    ca_certs: /path/to/ca.pem
    certfile: /path/to/client.pem
    keyfile: /path/to/key.pem
    cert_reqs: CERT_REQUIRED
    tls_version: PROTOCOL_TLS
    ciphers: None
"""


@pytest.fixture
def folder(tmp_path: Path, broker: Broker) -> Path:
    """A folder with the document's `miqro.yml`, for the broker of the tests."""
    (tmp_path / "miqro.yml").write_text(CONFIG.replace("1883", str(broker.port)))
    return tmp_path


def leave(script: Script) -> None:
    """Press Ctrl-C; the service must go in peace."""
    script.interrupt()
    script.wait().check(130)


def test_the_echo_service_echoes_loops_and_reads_its_configuration(folder: Path, observer: Observer) -> None:
    """C2, C10, C30, C32, C50, C58: the first example."""
    with Script(folder, ECHO) as script:
        observer.wait_for("service/echo/online", "1")
        assert observer.wait_for("service/echo/foo").text == "bar"
        assert observer.wait_for("service/echo/foofoo").text == (
            '{"answer": 42.01, "config_demo": "Use for service-specific configuration values"}'
        )
        observer.publish("service/echo/echo", "hello")
        assert observer.wait_for("service/echo/echo_response").text == "hello"
        leave(script)
    observer.wait_for("service/echo/online", "0")


@pytest.mark.parametrize("source", [MINIMAL, MINIMAL_WITH_INIT], ids=["minimal", "with init"])
def test_a_minimal_service_is_online_and_then_offline(
    folder: Path, broker: Broker, observer: Observer, source: str
) -> None:
    """C2, C40: `1` on service/minimal/online, a last will, an `__init__` of one's own."""
    with Script(folder, source) as script:
        observer.wait_for("service/minimal/online", "1")
        with Observer(broker.port, "service/minimal/online") as late:
            assert late.wait_for("service/minimal/online", "1").retain
        if source is MINIMAL_WITH_INIT:
            script.wait_out("^Minimal service now initializeing...$")
        script.kill()
        script.wait()
        observer.wait_for("service/minimal/online", "0")


def test_the_handlers_are_called_with_payload_and_postfix(folder: Path, observer: Observer) -> None:
    """C10, C12, C13: the examples of "Subscribing"."""
    source = f'import miqro\n\nclass Radio(miqro.Service):\n    SERVICE_NAME = "radio"\n{HANDLERS}\nRadio().run()\n'
    with Script(folder, source) as script:
        observer.wait_for("service/radio/online", "1")
        observer.publish("service/radio/powersave", "on")
        observer.publish("service/radio/sms/send/0049123", "Hello")
        observer.publish("radio_receiver/devices/Oregon-v1/temperature_C", "21.5")
        observer.publish("radio_receiver/devices/TPMS/front/left", "2.4 bar")
        script.wait_out("TPMS")
        assert script.out.all() == [
            "Set powersave mode to on",
            "Sending SMS message to 0049123",
            "Text: Hello",
            "Received temperature value: 21.5",
            "Received radio message from TPMS sensor front/left: 2.4 bar",
        ]
        leave(script)


def test_the_publishing_methods_do_what_is_written_of_them(folder: Path, observer: Observer) -> None:
    """C30 to C35: the statements of "Publishing"."""
    source = """
        import datetime
        import miqro

        class Echo(miqro.Service):
            SERVICE_NAME = "echo"

            @miqro.loop(seconds=10)
            def once(self):
                self.publish("foo", "bar")
                self.publish("bool", True)
                self.publish("bool", False)
                self.publish("none", None)
                self.publish("float", 1.123456789)
                self.publish("dict", {"answer": 42.01})
                self.publish("list", [1, 2])
                self.publish_json("foo", {"answer": 42.01})
                self.publish_json_keys({"answer": 42.01}, "foo")
                self.publish_json_keys({"answer": 42.01})
                for value in (1, 1, 2):
                    self.publish("changed", value, only_if_changed=True)
                    self.publish("timed", value, only_if_changed=datetime.timedelta(hours=1))
                self.publish("all", "x", retain=True, qos=self.QOS_EXACTLY_ONCE)
                self.publish("global/topic", "x", qos=self.QOS_AT_LEAST_ONCE, global_=True)

        Echo().run()
    """
    with Script(folder, source) as script:
        observer.wait_for("global/topic")
        assert observer.wait_for("service/echo/all").qos == 2
        leave(script)
    wanted = {
        "foo": ["bar", '{"answer": 42.01}'],
        "bool": ["1", "0"],
        "none": [""],
        "float": ["1.12346"],
        "dict": ['{"answer": 42.01}'],
        "list": ["[1, 2]"],
        "foo/answer": ["42.01"],
        "answer": ["42.01"],
        "changed": ["1", "2"],
        "timed": ["1", "2"],
    }
    assert {ext: observer.payloads(f"service/echo/{ext}") for ext in wanted} == wanted


def test_a_loop_that_returns_false_is_not_called_again(folder: Path, observer: Observer) -> None:
    """C51: as written under "Loops"."""
    source = """
        import miqro

        class Looping(miqro.Service):
            SERVICE_NAME = "looping"

            @miqro.loop(milliseconds=10)
            def three_times(self):
                self.count = getattr(self, "count", 0) + 1
                self.publish("called", self.count)
                return self.count < 3

            @miqro.loop(milliseconds=20)
            def other(self):
                self.calls = getattr(self, "calls", 0) + 1
                self.publish("other", self.calls)

        Looping().run()
    """
    with Script(folder, source) as script:
        observer.wait_for("service/looping/other", "10")
        leave(script)
    # A QoS 0 message of the first round may be older than the observer's interest, but none is newer than the third.
    assert observer.payloads("service/looping/called") == ["1", "2", "3"]


def test_the_state_is_there_after_a_restart(folder: Path, observer: Observer) -> None:
    """C56: the statements of "State File"."""
    source = """
        import pathlib
        import miqro

        miqro.State.DATA_ROOT = pathlib.Path("data")

        class Stateful(miqro.Service):
            SERVICE_NAME = "stateful"
            USE_STATE_FILE = True

            @miqro.loop(seconds=10)
            def once(self):
                state = self.state
                self.publish_json("before", [state.get_path("foo", "bar", 23), "foo" in state])
                state.set_path("foo", "bar", 42)
                self.publish_json("after", [state["foo"]["bar"], state.get_path("foo", "bar", 23)])
                state.save()
                self.publish("saved", True)

        Stateful().run()
    """
    for expected in ([23, False], [42, True]):
        start = len(observer.received)
        with Script(folder, source) as script:
            assert json.loads(observer.wait_for("service/stateful/before", start=start).text) == expected
            assert json.loads(observer.wait_for("service/stateful/after", start=start).text) == [42, 42]
            observer.wait_for("service/stateful/saved", start=start)
            leave(script)


def test_a_service_finds_its_section_in_its_constructor(folder: Path, observer: Observer) -> None:
    """C4, C58: `service_config` of "Configuration file"."""
    source = (
        "import miqro\n\n"
        "class SomeCustomConnector:\n    def __init__(self, text):\n        print('connects to', text)\n\n"
        + SOME_OTHER
        + "\nSomeOtherService().run()\n"
    )
    with Script(folder, source) as script:
        script.wait_out("^connects to configuration values$")
        observer.wait_for("service/some_other_service/online", "1")
        leave(script)


def test_the_login_of_the_configuration_is_used(tmp_path: Path, make_broker: Callable[..., Broker]) -> None:
    """C42: the example of `auth`."""
    broker = make_broker(users={"foo": "bar", "watch": "er"}).start()
    (tmp_path / "miqro.yml").write_text(
        AUTH.replace("remote-broker.example.com", "localhost").replace("1883", str(broker.port))
    )
    with (
        Observer(broker.port, username="watch", password="er") as observer,
        Script(tmp_path, MINIMAL) as script,
    ):
        observer.wait_for("service/minimal/online", "1")
        leave(script)


def test_a_tls_section_is_never_answered_with_plain_tcp(
    tmp_path: Path, broker: Broker, observer: Observer
) -> None:
    """C42: what cannot be honoured is a clear error at start, never silently weaker."""
    (tmp_path / "miqro.yml").write_text(
        TLS.replace("remote-broker.example.com", "localhost").replace("8883", str(broker.port))
    )
    with Script(tmp_path, MINIMAL) as script:
        result = script.wait()
    assert result.returncode == 1
    last = result.err.splitlines()[-1]
    assert "ConfigError" in last
    assert "'ca_certs': /path/to/ca.pem cannot be read" in last
    observer.barrier()
    assert observer.on("service/minimal/online") == []


def test_the_tls_of_the_configuration_is_used(tmp_path: Path, make_broker: Callable[..., Broker]) -> None:
    """C42: the example of `tls`, with files that exist; `ciphers: None` is no obstacle."""
    authority, port = Authority(tmp_path), free_port()
    wants = (f"cafile {authority.file}", "require_certificate true")
    broker = make_broker(options=authority.issue("localhost").listener(port, *wants)).start()
    own = authority.issue("client")
    text = TLS.replace("remote-broker.example.com", "localhost").replace("8883", str(port))
    for name, file in (("ca", authority.file), ("client", own.certfile), ("key", own.keyfile)):
        text = text.replace(f"/path/to/{name}.pem", str(file))
    (tmp_path / "miqro.yml").write_text(text)
    with Observer(broker.port) as observer, Script(tmp_path, MINIMAL) as script:
        observer.wait_for("service/minimal/online", "1")
        leave(script)


def test_the_configuration_is_looked_for_where_the_constructor_says(folder: Path, observer: Observer) -> None:
    """C58: `add_config_file_path`, by name and by position."""
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    path = (folder / "miqro.yml").rename(elsewhere / "my.yml")
    for argument in (f"add_config_file_path={str(path)!r}", repr(str(path))):
        start = len(observer.received)
        source = textwrap.dedent(MINIMAL).replace("Minimal()", f"Minimal({argument})")
        with Script(folder, source) as script:
            observer.wait_for("service/minimal/online", "1", start=start)
            leave(script)
