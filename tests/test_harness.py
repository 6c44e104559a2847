"""The tools of the tests do what they say: a proxy that does not cut would hide defects."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING

import pytest

from harness import Broker, DeadlineError, FakeBroker, Observer, Peer, Proxy, Script, packets, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_an_observer_records_messages_in_order_with_their_qos(broker: Broker, observer: Observer) -> None:
    """The record holds topic, payload, QoS and order."""
    with Observer(broker.port) as other:
        for qos in (0, 1, 2):
            other.publish(f"order/{qos}", f"payload {qos}", qos)
    observer.wait_for("order/2")
    found = [
        (m.topic, m.text, m.qos, m.retain) for m in observer.received.all() if m.topic.startswith("order/")
    ]
    assert found == [(f"order/{qos}", f"payload {qos}", qos, False) for qos in (0, 1, 2)]


def test_a_retained_message_is_seen_as_retained_and_cleared_between_tests(
    broker: Broker, observer: Observer
) -> None:
    """Who subscribes later sees the retain flag."""
    observer.publish("kept", "x", retain=True)
    with Observer(broker.port, "kept") as late:
        assert late.wait_for("kept", "x").retain


def test_a_wait_that_is_not_met_tells_what_was_seen(observer: Observer) -> None:
    """The error shows the record."""
    observer.publish("something/else", "here I am")
    observer.barrier()
    with pytest.raises(DeadlineError, match="here I am"):
        observer.wait_for("never", timeout=0.05)


def test_a_broker_is_killed_and_comes_back_on_its_port_with_what_it_kept(
    make_broker: Callable[..., Broker],
) -> None:
    """Persistence survives kill -9."""
    broker = make_broker(persistent=True).start()
    port = broker.port
    with Observer(port) as observer:
        observer.publish("kept", "still here", retain=True)
        broker.save()
    broker.restart()
    assert broker.port == port
    with Observer(port) as observer:
        assert observer.wait_for("kept", "still here").retain


def test_a_broker_with_users_and_rules_refuses_who_is_not_named(make_broker: Callable[..., Broker]) -> None:
    """Passwords and access control files work."""
    broker = make_broker(users={"me": "secret"}, acl=["user me", "topic read mine/#"]).start()
    with Observer(broker.port, "mine/#", username="me", password="secret"):
        pass
    with socket.create_connection(("127.0.0.1", broker.port)) as stream:
        stream.sendall(packets.connect("stranger"))
        answer = packets.read_packet(stream)
    assert answer is not None
    assert answer.body[1] == 5


def test_a_proxy_passes_on_counts_cuts_and_swallows(broker: Broker) -> None:
    """Each of its ways to break a connection does break it."""
    with Proxy(broker.port) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), 5.0) as stream:
            stream.sendall(packets.connect("through-proxy"))
            assert packets.read_packet(stream) == (packets.CONNACK, 0, b"\0\0")
            assert (proxy.connections, proxy.segments_up, proxy.bytes_down) == (1, 1, 4)
            proxy.swallow()
            stream.sendall(packets.packet(packets.PINGREQ))
            wait_until(lambda: proxy.segments_up == 2, 5.0, "the proxy swallows the ping")
            stream.settimeout(0.1)
            with pytest.raises(TimeoutError):
                stream.recv(1)
            proxy.resume()
            stream.settimeout(5.0)
            stream.sendall(packets.packet(packets.PINGREQ))
            assert packets.read_packet(stream) == (packets.PINGRESP, 0, b"")
            proxy.cut()
            with pytest.raises(ConnectionResetError):
                stream.recv(1)
        proxy.refuse()
        with pytest.raises(ConnectionResetError):
            _first_byte(proxy.port)


def _first_byte(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 5.0) as stream:
        return stream.recv(1)


def test_a_script_is_watched_signalled_and_its_end_reported(tmp_path: Path) -> None:
    """Lines, signals and exit codes of a child process reach the test."""
    source = """
        import signal, sys
        def leave(*_):
            print("leaving", file=sys.stderr)
            sys.exit(7)
        signal.signal(signal.SIGTERM, leave)
        print("ready")
        signal.pause()
    """
    with Script(tmp_path, source) as script:
        script.wait_out("^ready$")
        script.terminate()
        result = script.wait()
    assert (result.returncode, result.out, result.err) == (7, "ready", "leaving")
    result.check(7)
    with pytest.raises(AssertionError, match="exit status 7"):
        result.check(0)


def test_a_script_that_does_not_end_is_killed_and_reported(tmp_path: Path) -> None:
    """Nothing of a test outlives it."""
    with Script(tmp_path, "import signal; signal.pause()") as script, pytest.raises(DeadlineError):
        script.wait(0.1)
    assert script.process.returncode == -signal.SIGKILL


def test_a_script_gets_interrupts_even_if_the_tests_run_in_the_background(tmp_path: Path) -> None:
    """Ctrl-C is not inherited as ignored."""
    with Script(tmp_path, "import time\nprint('up')\ntime.sleep(60)") as script:
        script.wait_out("up")
        script.interrupt()
        assert "KeyboardInterrupt" in script.wait().err


def test_a_fake_broker_plays_its_scripts_and_reports_their_failures() -> None:
    """A script sees packets, sends odd ones, and its assertion fails the test."""

    def odd(peer: Peer) -> None:
        peer.accept()
        peer.send(packets.publish(b"bad/\xff", b"x"))
        peer.expect(packets.PUBACK)

    def talk() -> None:
        with FakeBroker(odd) as fake:
            with socket.create_connection(("127.0.0.1", fake.port), 5.0) as stream:
                stream.sendall(packets.connect("me"))
                assert packets.read_packet(stream) == (packets.CONNACK, 0, b"\0\0")
                found = packets.read_packet(stream)
                assert found is not None
                assert found.body == b"\x00\x05bad/\xffx"
                stream.sendall(packets.packet(packets.PINGREQ))
            fake.wait_finished(1)

    with pytest.raises(AssertionError, match="instead of PUBACK"):
        talk()
