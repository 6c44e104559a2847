"""WebSocket and Unix sockets (C41), with what goes wrong on them (C43)."""

from __future__ import annotations

import logging
import re
import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
import pytest
from websockets.frames import CloseCode

import miqro
from harness import Observer, Proxy, Running, wait_until
from harness.bridge import Bridge
from harness.certificates import Authority
from miqro import ConfigError, mqtt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import Broker

    Make = Callable[..., Broker]
    Write = Callable[..., Path]

SOON = 10.0
FAST = "reconnect_delay_min: 0.02\nreconnect_delay_max: 0.1\n"
WS = FAST + "transport: websockets\n"
ONLINE = "service/far/online"


class Far(miqro.Service):
    SERVICE_NAME = "far"

    @miqro.handle("ping")
    def on_ping(self, payload: str) -> None:
        self.publish("pong", payload, qos=1)

    @miqro.handle("burst")
    def on_burst(self, _payload: str) -> None:
        for number in range(500):
            self.publish("n", number)


def reason(caplog: pytest.LogCaptureFixture, service: miqro.Service) -> str:
    """What a service says, once, of a connection that does not come about, though it tries again."""
    caplog.set_level(logging.DEBUG)
    caplog.clear()

    def lines(level: int) -> list[str]:
        return [
            record.getMessage()
            for record in caplog.records
            if record.levelno >= level and "no connection to the broker" in record.getMessage()
        ]

    with Running(service):
        wait_until(lambda: len(lines(0)) >= 3, SOON, "three attempts")
        assert not service.is_connected
    (line,) = lines(logging.WARNING)
    return line


def answers(observer: Observer, payload: str = "hello") -> None:
    """The service is there for others, both ways."""
    observer.wait_for(ONLINE, "1")
    observer.publish("service/far/ping", payload)
    observer.wait_for("service/far/pong", payload)


# ---- C41: WebSocket ----------------------------------------------------------------------------------------------


def test_mqtt_travels_in_websocket_frames(broker: Broker, observer: Observer, write_config: Write) -> None:
    """C41: `transport: websockets`; packets straddle frames, a burst is few frames, the end is a clean one."""
    with Bridge(broker.port) as bridge:
        with Running(Far(write_config(bridge.port, broker=WS))):
            answers(observer)
            answers(observer, "x" * 300_000)
            before = len(bridge.frames_up)
            observer.publish("service/far/burst", "")
            observer.wait_for("service/far/n", "499")
            assert len(bridge.frames_up) - before < 20
        observer.wait_for(ONLINE, "0")
        wait_until(lambda: bridge.closed, SOON, "the end")
        assert bridge.closed == [CloseCode.NO_STATUS_RCVD]
        (request,) = bridge.requests
        assert request.headers["Sec-WebSocket-Protocol"] == "mqtt"
        assert request.headers["Host"] == f"127.0.0.1:{bridge.port}"


def test_a_burst_is_few_writes_through_a_slow_websocket(
    broker: Broker, observer: Observer, write_config: Write
) -> None:
    """What does not fit into the socket at once is not forgotten."""
    with Bridge(broker.port) as bridge, Proxy(bridge.port) as proxy:
        service = Far(write_config(proxy.port, broker=WS))
        with Running(service):
            observer.wait_for(ONLINE, "1")
            proxy.stall()
            service.publish("whole", "x" * 5_000_000, qos=1)
            info = service.publish("last", "x", qos=1)
            proxy.resume()
            info.wait_for_publish(SOON)
            observer.wait_for("service/far/whole", "x" * 5_000_000)


def test_pings_of_the_other_side_are_answered_while_idle(
    broker: Broker, observer: Observer, write_config: Write
) -> None:
    """RFC 6455 section 5.5.2: proxies close a WebSocket that does not."""
    with Bridge(broker.port) as bridge, Running(Far(write_config(bridge.port, broker=WS))):
        answers(observer)
        (connection,) = bridge.connections
        assert connection.ping().wait(SOON)


def test_another_path_may_be_set(broker: Broker, observer: Observer, write_config: Write) -> None:
    """C41: `path`."""
    with Bridge(broker.port, path="/some/where?x=1") as bridge:
        service = Far(write_config(bridge.port, broker=WS + "path: some/where?x=1"))
        with Running(service):
            answers(observer)


def test_a_secure_websocket(
    broker: Broker, observer: Observer, write_config: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """C41, C42: with a section `tls`; its certificates count here too."""
    authority = Authority(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pair = authority.issue("127.0.0.1")
    tls.load_cert_chain(pair.certfile, pair.keyfile)
    with Bridge(broker.port, tls=tls) as bridge:
        settings = f"tls: {{ca_certs: {authority.file}}}"
        with Running(Far(write_config(bridge.port, settings, broker=WS))):
            answers(observer, "x" * 300_000)
        stranger = Authority(tmp_path, "stranger")
        settings = f"tls: {{ca_certs: {stranger.file}}}"
        line = reason(caplog, Far(write_config(bridge.port, settings, broker=WS)))
        assert "is signed by nobody in" in line


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (HTTPStatus.UNAUTHORIZED, {}, "401 Unauthorized: whatever stands before the broker"),
        (HTTPStatus.FORBIDDEN, {}, "403 Forbidden: whatever stands before the broker"),
        (HTTPStatus.BAD_GATEWAY, {}, "502 Bad Gateway: a proxy answers, but not the broker"),
        (HTTPStatus.FOUND, {"Location": "wss://x/"}, '302 Found: it redirects to "wss://x/": write that'),
        (HTTPStatus.IM_A_TEAPOT, {}, "418 .*: check that there is a WebSocket for MQTT at"),
    ],
)
def test_a_refusal_in_http_is_told_in_words(
    broker: Broker,
    write_config: Write,
    caplog: pytest.LogCaptureFixture,
    status: HTTPStatus,
    headers: dict[str, str],
    words: str,
) -> None:
    """C43."""
    with Bridge(broker.port, status=status, headers=headers) as bridge:
        line = reason(caplog, Far(write_config(bridge.port, broker=WS)))
    assert re.search(rf"refused the WebSocket with HTTP {words}", line), line


def test_a_wrong_path_is_named(broker: Broker, write_config: Write, caplog: pytest.LogCaptureFixture) -> None:
    """C43."""
    with Bridge(broker.port) as bridge:
        line = reason(caplog, Far(write_config(bridge.port, broker=WS + "path: /wrong")))
    assert 'HTTP 404 Not Found: check `path` in the section `broker`, which is "/wrong"' in line


def test_a_websocket_for_something_else_is_left(
    broker: Broker, write_config: Write, caplog: pytest.LogCaptureFixture
) -> None:
    """MQTT 3.1.1 section 6: the server has to agree to the subprotocol."""
    with Bridge(broker.port, subprotocol=None) as bridge:
        line = reason(caplog, Far(write_config(bridge.port, broker=WS)))
    assert 'did not agree to the subprotocol "mqtt"' in line


def test_a_port_without_http_is_a_helpful_sentence(
    broker: Broker, write_config: Write, caplog: pytest.LogCaptureFixture
) -> None:
    """C43: a WebSocket to the port for TCP."""
    line = reason(caplog, Far(write_config(broker.port, broker=WS)))
    assert "does not speak HTTP" in line
    assert "or use `transport: tcp`" in line


def test_a_websocket_that_is_closed_with_a_reason_is_opened_again(
    broker: Broker, observer: Observer, write_config: Write, caplog: pytest.LogCaptureFixture
) -> None:
    """C43: the code and the reason are told."""
    with Bridge(broker.port) as bridge, Running(Far(write_config(bridge.port, broker=WS))):
        answers(observer)
        start = len(observer.received)
        bridge.connections[0].close(CloseCode.POLICY_VIOLATION, "too long online")
        observer.wait_for(ONLINE, "0", start=start)
        observer.wait_for(ONLINE, "1", start=start)
        answers(observer, "again")
    assert 'with code 1008 "too long online"' in caplog.text


def test_text_in_a_websocket_ends_the_connection(
    broker: Broker, observer: Observer, write_config: Write, caplog: pytest.LogCaptureFixture
) -> None:
    """MQTT 3.1.1 section 6: control packets travel in binary frames."""
    with Bridge(broker.port) as bridge, Running(Far(write_config(bridge.port, broker=WS))):
        answers(observer)
        bridge.connections[0].send("hello?")
        wait_until(lambda: len(bridge.connections) == 2, SOON, "it comes back")
    assert "sent text in the WebSocket, where MQTT is binary" in caplog.text


def test_the_client_alone_sets_path_and_headers(broker: Broker, observer: Observer) -> None:
    """C46: `transport="websockets"` and `ws_set_options`, as with paho."""
    client = mqtt.Client("far", transport="websockets")
    with pytest.raises(ValueError, match="mapping"):
        client.ws_set_options(headers="no")  # type: ignore[arg-type]
    with Bridge(broker.port, path="/there") as bridge:
        client.ws_set_options("/there", {"X-Token": "opensesame"})
        client.connect_async("127.0.0.1", bridge.port)
        client.loop_start()
        client.publish("far", "x", qos=1).wait_for_publish(SOON)
        client.loop_stop()
        assert bridge.requests[0].headers["X-Token"] == "opensesame"
    observer.wait_for("far", "x")
    with pytest.raises(ValueError, match="tcp, websockets or unix"):
        mqtt.Client(transport="carrier pigeon")


def test_another_client_is_told_of_transport_path_and_tls(
    broker: Broker, observer: Observer, write_config: Write, tmp_path: Path
) -> None:
    """C45: paho's client gets what its own methods take."""
    authority = Authority(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pair = authority.issue("127.0.0.1")
    tls.load_cert_chain(pair.certfile, pair.keyfile)
    with Bridge(broker.port, tls=tls, path="/there") as bridge:
        settings = f"tls: {{ca_certs: {authority.file}, tls_version: PROTOCOL_TLS_CLIENT}}"
        config = write_config(bridge.port, settings, broker=WS + "path: /there")
        with Running(Far(config, mqtt_client_cls=paho.Client)):
            answers(observer)


# ---- C41: Unix sockets -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["path", "host"])
def test_a_unix_socket(make_broker: Make, tmp_path: Path, setting: str) -> None:
    """C41: `transport: unix` with `path`, or with the path as the host as with paho."""
    # The path of a socket has 107 bytes at most, and those of tests are long.
    where = tmp_path / "mqtt.sock"
    with make_broker(options=[f"listener 0 {where}"]).start() as broker, Observer(broker.port) as observer:
        config = tmp_path / "miqro.yml"
        config.write_text(f"broker: {{transport: unix, {setting}: '{where}'}}\n")
        with Running(Far(config)):
            answers(observer)
        client = mqtt.Client("alone", transport="unix")
        client.connect_async(str(where))
        client.loop_start()
        client.publish("alone", "x", qos=1).wait_for_publish(SOON)
        client.loop_stop()


def test_a_unix_socket_that_is_not_there_is_named(
    tmp_path: Path, make_broker: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """C43."""
    where = tmp_path / "mqtt.sock"
    config = tmp_path / "miqro.yml"
    delays = "reconnect_delay_min: 0.02, reconnect_delay_max: 0.1"
    config.write_text(f"broker: {{transport: unix, path: '{where}', {delays}}}\n")
    line = reason(caplog, Far(config))
    assert f"there is no socket {where}: is the broker running" in line
    broker = make_broker(options=[f"listener 0 {where}"]).start()
    broker.kill()
    if where.exists():
        assert f"nothing listens on the socket {where}" in reason(caplog, Far(config))


# ---- settings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("broker: {transport: unix}", "1:21: in 'broker': 'transport': a Unix socket is a file; add 'path'"),
        ("broker: {path: /mqtt}", "1:16: in 'broker': 'path': a path is for web sockets and Unix sockets"),
        (
            "broker: {transport: unix, path: /x}\ntls: {}",
            "1:21: in 'broker': 'transport': there is no TLS on a Unix socket, .*remove the section 'tls'",
        ),
    ],
)
def test_what_does_not_go_together_is_an_error_at_start(tmp_path: Path, text: str, words: str) -> None:
    """C41, C42: never silently weaker."""
    config = tmp_path / "miqro.yml"
    config.write_text(text)
    with pytest.raises(ConfigError, match=words):
        Far(config)
