"""A service whose broker is away, unwilling, dying or odd: it says so in words, waits, and comes back."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import FakeBroker, Observer, Peer, Proxy, Script, packets, wait_until
from harness.broker import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness import Broker

WORKER = Path(__file__).parent / "process" / "worker.py"
ONLINE = "service/worker/online"
# Quick enough for a test, slow enough to be seen growing.
QUICK = "reconnect_delay_min: 0.1\nreconnect_delay_max: 0.5"


def start(folder: Path, **env: str) -> Script:
    """Start the worker in a folder that has a miqro.yml."""
    return Script(folder, WORKER, env=env)


def warnings_of(script: Script, pattern: str) -> list[str]:
    """Return the log lines above INFO that match."""
    return [
        line
        for line in script.err.all()
        if re.search(r"\b(?:WARNING|ERROR|CRITICAL)\b", line) and re.search(pattern, line)
    ]


def end(script: Script) -> None:
    """End it; it must end in peace."""
    script.terminate()
    script.wait().check()


def test_a_service_waits_for_a_broker_that_comes_later(
    broker: Broker, observer: Observer, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """Its loops run meanwhile; what they publish arrives when there is a broker, in order (C43, C44)."""
    port = free_port()
    write_config(port, broker=QUICK)
    with start(tmp_path, TICK="0.2") as script:
        said = script.wait_err("WARNING.*no connection")
        assert f"nothing listens on 127.0.0.1:{port}" in said
        script.wait_out("^tick 10$")
        told = warnings_of(script, str(port))
        assert len(told) == 1, f"the same trouble is told once: {told}"
        # The broker comes, with the observer there already to see the first message.
        with Proxy(broker.port, port):
            observer.wait_for(ONLINE, "1")
            ticks = [message.text for message in observer.wait_count("service/worker/tick", 12)]
            end(script)
    assert ticks[:12] == [str(number) for number in range(1, 13)]
    topics = [message.topic for message in observer.received.all()]
    assert topics.index(ONLINE) < topics.index("service/worker/tick"), "first it says that it is online (C40)"


def test_a_wrong_host_name_is_told_with_the_name(tmp_path: Path, write_config: Callable[..., Path]) -> None:
    """The error names the host, once, and the service goes on trying until it is stopped (C43)."""
    path = write_config(1883, broker=QUICK)
    path.write_text(path.read_text().replace("127.0.0.1", "no-such-broker.invalid"))
    with start(tmp_path) as script:
        script.wait_err(r"WARNING.*no-such-broker\.invalid")
        end(script)


def test_a_wrong_password_is_told_in_words_once_and_never_shown(
    make_broker: Callable[..., Broker], tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """Refused by the broker: the reason in words, once, and another try after the backoff (C43)."""
    broker = make_broker(users={"me": "right-password"}).start()
    with Proxy(broker.port) as proxy:
        write_config(proxy.port, "auth:\n  username: me\n  password: wrong-password", broker=QUICK)
        with start(tmp_path) as script:
            script.wait_err(r"(?i)(?:WARNING|ERROR).*(?:password|credentials|not authori[sz]ed)")
            proxy.wait_connections(4)
            assert len(warnings_of(script, "(?i)password|credentials|authori[sz]ed")) == 1
            end(script)
        assert "wrong-password" not in "\n".join(script.err.all() + script.out.all())


def test_a_password_that_becomes_right_lets_the_service_in(
    make_broker: Callable[..., Broker], tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """A refusal is not the end (C43)."""
    broker = make_broker(users={"me": "old"}).start()
    write_config(broker.port, "auth:\n  username: me\n  password: new", broker=QUICK)
    with start(tmp_path) as script:
        script.wait_err("(?:WARNING|ERROR).*no connection")
        broker.stop()
        broker.users["me"] = "new"
        broker.restart()
        with Observer(broker.port, username="me", password="new") as observer:
            observer.wait_for(ONLINE, "1")
        end(script)


def test_a_filter_that_the_broker_refuses_is_named_and_the_others_work(
    make_broker: Callable[..., Broker], tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """SUBACK failures are reported by filter; the service runs on."""
    broker = make_broker(options=_forbid(tmp_path, "secret/#")).start()
    write_config(broker.port)
    with Observer(broker.port, "service/#") as observer, start(tmp_path) as script:
        observer.wait_for(ONLINE, "1")
        assert "secret/#" in script.wait_err(r"(?:WARNING|ERROR).*secret/#")
        assert not warnings_of(script, "worker/echo")
        observer.publish("service/worker/echo", "still here")
        observer.wait_for("service/worker/echo_response", "still here")
        end(script)


def _forbid(folder: Path, pattern: str) -> list[str]:
    """Return settings that make mosquitto refuse subscriptions to a pattern; its ACL files cannot."""
    command = [shutil.which("dpkg") or "true", "-L", "mosquitto"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = re.findall(r"\S*/mosquitto_dynamic_security\.so", listed)
    found += [str(path) for path in Path("/usr/lib").glob("**/mosquitto_dynamic_security.so")]
    if not found:
        pytest.skip("this mosquitto came without its dynamic security plugin")
    rules = folder / "rules.json"
    allow = dict.fromkeys(("publishClientSend", "publishClientReceive", "subscribe", "unsubscribe"), True)
    acls = [{"acltype": "subscribePattern", "topic": pattern, "allow": False, "priority": 1}]
    text = {
        "defaultACLAccess": allow,
        "clients": [],
        "groups": [{"groupname": "all", "roles": [{"rolename": "rule"}], "clients": []}],
        "roles": [{"rolename": "rule", "acls": acls}],
        "anonymousGroup": "all",
    }
    rules.write_text(json.dumps(text), encoding="utf-8")
    return [f"plugin {found[0]}", f"plugin_opt_config_file {rules}"]


def test_nothing_is_lost_when_the_broker_is_restarted_under_load(
    make_broker: Callable[..., Broker], tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """QoS 1 messages arrive, in order, over three restarts; subscriptions come back each time (C43, C44)."""
    broker = make_broker(persistent=True).start()
    write_config(broker.port, broker=QUICK)
    with (
        Observer(broker.port, "service/worker/#", durable=True) as observer,
        start(tmp_path, TICK="0.02") as script,
    ):
        observer.wait_count("service/worker/tick", 100)
        for round_ in range(3):
            start_of_round, logged = len(observer.received), len(script.err)
            # An orderly stop: mosquitto saves what it has acknowledged, which a killed one may lose.
            broker.stop()
            script.wait_err("WARNING.*no connection", start=logged)
            broker.start()
            observer.wait_for(ONLINE, "1", start=start_of_round)
            observer.publish("service/worker/echo", f"round {round_}")
            observer.wait_for("service/worker/echo_response", f"round {round_}")
        seen = len(observer.on("service/worker/tick"))
        observer.wait_count("service/worker/tick", seen + 100)
        end(script)
        # Whatever the broker had taken from the service before it went offline comes before this.
        observer.publish("service/worker/marker")
        observer.wait_for("service/worker/marker")
        ticks = [int(text) for text in observer.payloads("service/worker/tick")]
    assert sorted(set(ticks)) == list(range(1, max(ticks) + 1))
    firsts = list(dict.fromkeys(ticks))
    assert firsts == sorted(firsts), "seen for the first time, messages are in order"


def test_a_killed_broker_is_found_again_and_everything_owed_is_acknowledged(
    make_broker: Callable[..., Broker], tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """After kill -9 of the broker the service comes back, and its publishes complete (C36, C43, C44)."""
    broker = make_broker().start()
    write_config(broker.port, broker=QUICK)
    source = """
        import threading
        import miqro

        class Loader(miqro.Service):
            SERVICE_NAME = "worker"
            infos = []

            @miqro.loop(milliseconds=5)
            def load(self):
                self.infos.append(self.publish("load", len(self.infos), qos=1 + len(self.infos) % 2))

            @miqro.handle("settle")
            def settle(self, payload):
                self.LOOPS[-1].stop()
                threading.Thread(target=self.wait).start()

            def wait(self):
                for info in self.infos:
                    info.wait_for_publish(20)
                assert all(info.is_published() for info in self.infos)
                print("all acknowledged", len(self.infos))
                self.stop = True

        Loader().run()
    """
    with Observer(broker.port, durable=True) as observer, Script(tmp_path, source) as script:
        observer.wait_count("service/worker/load", 50)
        for _ in range(2):
            start_of_round = len(observer.received)
            broker.restart()
            observer.wait_for(ONLINE, "1", start=start_of_round)
            observer.wait_count("service/worker/load", len(observer.on("service/worker/load")) + 50)
        observer.publish("service/worker/settle")
        script.wait_out("all acknowledged")
        script.wait().check()


def test_a_half_open_connection_is_noticed_and_replaced(
    broker: Broker, observer: Observer, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """Nobody answers a PINGREQ: the connection is given up, and nothing is lost (C43, C44)."""
    with Proxy(broker.port) as proxy:
        write_config(proxy.port, broker=f"keepalive: 2\n{QUICK}")
        with start(tmp_path, TICK="0.1") as script:
            observer.wait_count("service/worker/tick", 5)
            swallowed = len(observer.received)
            proxy.swallow()
            script.wait_err("WARNING.*has not answered", timeout=8.0)
            proxy.resume()
            observer.wait_for(ONLINE, "1", start=swallowed)
            last = int(observer.on("service/worker/tick")[-1].text)
            observer.wait_for("service/worker/tick", str(last + 20))
            observer.publish("service/worker/echo", "heard again")
            observer.wait_for("service/worker/echo_response", "heard again")
            end(script)
    ticks = [int(text) for text in observer.payloads("service/worker/tick")]
    assert sorted(set(ticks)) == list(range(1, max(ticks) + 1))


def test_a_connection_cut_again_and_again_loses_nothing(
    broker: Broker, observer: Observer, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """QoS 2 over a link that is cut twenty times: none is missing, and the order is kept (C44)."""
    with Proxy(broker.port) as proxy:
        write_config(proxy.port, broker=QUICK)
        with start(tmp_path) as script:
            observer.wait_for(ONLINE, "1")
            observer.publish("service/worker/burst/2", "3000")
            for cut in range(20):
                observer.wait_count("service/worker/number", 1 + cut * 100, timeout=30.0)
                proxy.cut()
            observer.wait_for("service/worker/number", "2999", timeout=60.0)
            wait_until(
                lambda: len(set(observer.payloads("service/worker/number"))) == 3000, 20.0, "all arrive"
            )
            end(script)
    numbers = [int(text) for text in observer.payloads("service/worker/number")]
    assert sorted(set(numbers)) == list(range(3000))
    firsts = list(dict.fromkeys(numbers))
    assert firsts == sorted(firsts)


def test_two_clients_with_one_id_are_told_so_and_do_not_flap(
    broker: Broker, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """The broker throws out one for the other: that is said in words, and both back off."""
    with Proxy(broker.port) as proxy:
        write_config(proxy.port, broker="reconnect_delay_min: 0.2")
        with start(tmp_path) as first, Observer(broker.port) as observer:
            observer.wait_for(ONLINE, "1")
            with start(tmp_path) as second:
                words = r"(?i)(?:WARNING|ERROR).*(?:another|second|other) client.*\bworker\b"
                told = [script.wait_err(words, timeout=30.0) for script in (first, second)]
                assert all("id" in line for line in told)
                before = proxy.connections
                # A rate needs a window to be counted in.
                time.sleep(5.0)
                assert proxy.connections - before <= 6, "they throw each other out at full speed"
                end(second)
            end(first)


def test_a_malformed_topic_from_the_broker_does_not_end_the_service(
    tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """A PUBLISH whose topic is not UTF-8 is the broker's mistake: the service talks on, if need be anew."""
    answered = threading.Event()

    def sane(peer: Peer, *oddities: bytes) -> None:
        if peer.read() is None:
            return
        peer.send(packets.connack())
        peer.answer(peer.skip_to(packets.SUBSCRIBE))
        peer.send(b"".join(oddities) + packets.publish("service/worker/echo", b"hello"))
        while (found := peer.read()) is not None:
            if found.kind == packets.PUBLISH and found.topic == "service/worker/echo_response":
                assert found.payload == b"hello"
                answered.set()
            peer.answer(found)

    def odd(peer: Peer) -> None:
        sane(peer, packets.publish(b"service/worker/\xff\xfe", b"x"))

    with FakeBroker(odd, sane) as fake:
        write_config(fake.port, broker=QUICK)
        with start(tmp_path) as script:
            assert answered.wait(15.0), script.err.all()
            end(script)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, "does not speak MQTT 3.1.1"),
        (2, "does not allow this client id"),
        (3, "not available at the moment"),
        (4, "user name or the password is wrong"),
        (5, "does not allow this client to connect"),
        (77, "code 77"),
    ],
)
def test_each_refusal_is_told_in_words(
    code: int, words: str, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """CONNACK return codes are explained, and the service tries again (C43)."""

    def refuse(peer: Peer) -> None:
        peer.accept(code)

    with FakeBroker(refuse) as fake:
        write_config(fake.port, broker=QUICK)
        with start(tmp_path) as script:
            script.wait_err(f"(?:WARNING|ERROR).*{words}")
            fake.wait_finished(3)
            assert len(warnings_of(script, words)) == 1
            end(script)
