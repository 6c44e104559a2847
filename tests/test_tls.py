"""TLS against a real broker: whom it trusts, what it shows, and what it says of what is wrong (C42, C43)."""

from __future__ import annotations

import logging
import re
import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest

import miqro
from harness import Observer, Proxy, Running, wait_until
from harness.broker import free_port
from harness.certificates import Authority, Pair, pem, rsa_key
from miqro import ConfigError, mqtt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from typing_extensions import Self

    from harness import Broker

    Make = Callable[..., Broker]
    Write = Callable[..., Path]

SOON = 10.0
FAST = "reconnect_delay_min: 0.02\nreconnect_delay_max: 0.1"
ONLINE = "service/secure/online"


class Secure(miqro.Service):
    SERVICE_NAME = "secure"

    @miqro.handle("ping")
    def on_ping(self, payload: str) -> None:
        self.publish("pong", payload, qos=1)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority whose certificate is `authority.pem`."""
    return Authority(tmp_path)


def section(**settings: object) -> str:
    """A section `tls`."""
    return "tls: {" + ", ".join(f"{key}: '{value}'" for key, value in settings.items()) + "}"


def tls_broker(make_broker: Make, pair: Pair, *more: str, port: int = 0) -> tuple[Broker, int]:
    """A broker with a plain listener for observers, and one with TLS, whose port is the second result."""
    port = port or free_port()
    return make_broker(options=pair.listener(port, *more)).start(), port


def trouble(caplog: pytest.LogCaptureFixture, pattern: str = "no connection to the broker") -> list[str]:
    """The warnings about the connection."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and re.search(pattern, record.getMessage())
    ]


def reason(
    caplog: pytest.LogCaptureFixture, write_config: Write, port: int, more: str, broker: str = FAST
) -> str:
    """What a service says, once, of a connection that does not come about, though it tries again."""
    caplog.set_level(logging.DEBUG)
    service = Secure(write_config(port, more, broker=broker))

    def tried() -> int:
        return sum("no connection to the broker" in record.getMessage() for record in caplog.records)

    with Running(service):
        wait_until(lambda: tried() >= 3, SOON, "three attempts")
        assert not service.is_connected
    (line,) = trouble(caplog)
    return line


def connects(broker: Broker, service: miqro.Service) -> None:
    """The service is there for others, both ways."""
    with Observer(broker.port) as observer, Running(service):
        observer.wait_for(ONLINE, "1")
        observer.publish("service/secure/ping", "hello")
        observer.wait_for("service/secure/pong", "hello")


# ---- C42: whom it trusts -----------------------------------------------------------------------------------------


def test_a_broker_with_a_certificate_of_ones_own_authority(
    make_broker: Make, write_config: Write, authority: Authority
) -> None:
    """C42: `ca_certs`; the broker is called by its address, which is in its certificate."""
    broker, port = tls_broker(make_broker, authority.issue("127.0.0.1"))
    connects(broker, Secure(write_config(port, section(ca_certs=authority.file))))


def test_the_authorities_of_the_system_are_the_default(
    make_broker: Make, write_config: Write, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C42: `tls: {}`."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    broker, port = tls_broker(make_broker, authority.issue("127.0.0.1"))
    connects(broker, Secure(write_config(port, "tls: {}")))
    connects(broker, Secure(write_config(port, "tls: {ca_certs: None, ciphers: None, tls_version: None}")))


def test_a_system_without_authorities_is_a_sentence(
    write_config: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C42: an error at start, that says what to do."""
    (tmp_path / "empty.pem").write_text("")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "empty.pem"))
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    with pytest.raises(ConfigError, match="in 'tls': 'ca_certs': it is not set, and this system has no cert"):
        Secure(write_config(1, "tls: {}"))


def test_a_certificate_that_is_in_ca_certs_itself_is_trusted(
    make_broker: Make, write_config: Write, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """C42, as with OpenSSL: `openssl req -x509` makes such ones, which claim to be authorities."""
    own = authority.issue("127.0.0.1", self_signed=True)
    broker, port = tls_broker(make_broker, own)
    connects(broker, Secure(write_config(port, section(ca_certs=own.certfile))))
    other = authority.issue("127.0.0.1", self_signed=True, file="other")
    assert "is signed by nobody" in reason(caplog, write_config, port, section(ca_certs=other.certfile)) or (
        "cannot be checked" in trouble(caplog)[0]
    )


@pytest.mark.parametrize(
    ("names", "days", "words"),
    [
        (("127.0.0.1",), (-9, -2), r"expired on \d{4}-\d\d-\d\d"),
        (("somewhere.else",), (-1, 9), "for somewhere.else, not for .127.0.0.1.*`server_name`"),
    ],
)
def test_dates_and_names_count_for_such_a_certificate_too(
    make_broker: Make,
    write_config: Write,
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
    names: tuple[str, ...],
    days: tuple[int, int],
    words: str,
) -> None:
    """C42: never silently weaker."""
    own = authority.issue(*names, days=days, self_signed=True, file="own")
    _, port = tls_broker(make_broker, own)
    assert re.search(words, reason(caplog, write_config, port, section(ca_certs=own.certfile)))


@pytest.mark.parametrize(
    ("names", "days", "words"),
    [
        (("127.0.0.1",), (-9, -2), r"expired on \d{4}-\d\d-\d\d: the broker needs a new one"),
        (("127.0.0.1",), (2, 9), r"valid from \d{4}-\d\d-\d\d on: check the clock"),
        (("a.example", "192.0.2.1"), (-1, 9), "for a.example, 192.0.2.1, not for .127.0.0.1.*`server_name`"),
        ((), (-1, 9), "is for no name: it needs a subjectAltName"),
    ],
)
def test_a_bad_certificate_is_named_once_and_tried_again(
    make_broker: Make,
    write_config: Write,
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
    names: tuple[str, ...],
    days: tuple[int, int],
    words: str,
) -> None:
    """C43: refused by TLS: the reason in words, once, and another try after the backoff."""
    _, port = tls_broker(make_broker, authority.issue(*names, days=days, file="bad"))
    assert re.search(words, reason(caplog, write_config, port, section(ca_certs=authority.file)))


def test_an_unknown_authority_is_named_and_what_to_do(
    make_broker: Make,
    write_config: Write,
    tmp_path: Path,
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """C43; both ways of saying whom to trust."""
    stranger = Authority(tmp_path, "stranger")
    _, port = tls_broker(make_broker, stranger.issue("127.0.0.1"))
    line = reason(caplog, write_config, port, section(ca_certs=authority.file))
    assert f"signed by nobody in {authority.file}" in line
    caplog.clear()
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    line = reason(caplog, write_config, port, "tls: {}")
    assert "nobody that this machine trusts: name the certificate of its authority in `ca_certs`" in line


def test_it_connects_once_the_certificate_is_mended(
    make_broker: Make, write_config: Write, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """C43: it goes on trying; each change of reason is news."""
    caplog.set_level(logging.DEBUG)
    bad, port = tls_broker(make_broker, authority.issue("127.0.0.1", days=(-9, -2), file="bad"))
    service = Secure(write_config(port, section(ca_certs=authority.file), broker=FAST))
    with Running(service):
        wait_until(lambda: trouble(caplog, "expired"), SOON, "the first reason")
        bad.kill()
        wait_until(lambda: trouble(caplog, "nothing listens"), SOON, "the second one")
        tls_broker(make_broker, authority.issue("127.0.0.1", file="good"), port=port)
        wait_until(lambda: service.is_connected, SOON, "a connection")
    assert len(trouble(caplog, "expired")) == 1


def test_files_that_change_are_read_again(
    make_broker: Make,
    write_config: Write,
    tmp_path: Path,
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """C43: certificates are renewed while services run."""
    caplog.set_level(logging.DEBUG)
    _, port = tls_broker(make_broker, authority.issue("127.0.0.1"))
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(Authority(tmp_path, "stranger").file.read_bytes())
    service = Secure(write_config(port, section(ca_certs=trusted), broker=FAST))
    with Running(service):
        wait_until(lambda: trouble(caplog, "signed by nobody"), SOON, "it is refused")
        trusted.unlink()
        wait_until(
            lambda: trouble(caplog, "'ca_certs' in the section `tls`: .* cannot be read"), SOON, "it is told"
        )
        new = tmp_path / "new.pem"
        new.write_bytes(authority.file.read_bytes())
        new.rename(trusted)
        wait_until(lambda: service.is_connected, SOON, "a connection")


def test_cert_none_trusts_anybody_and_warns_loudly_once(
    make_broker: Make,
    write_config: Write,
    tmp_path: Path,
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """C42."""
    caplog.set_level(logging.DEBUG)
    pair = Authority(tmp_path, "stranger").issue("somewhere.else", days=(-9, -2), key=rsa_key())
    broker, port = tls_broker(make_broker, pair)
    service = Secure(write_config(port, section(cert_reqs="CERT_NONE"), broker=FAST))
    with Running(service):
        wait_until(lambda: service.is_connected, SOON, "a connection")
        broker.kill()
        wait_until(lambda: not service.is_connected, SOON, "its end")
        broker.restart()
        wait_until(lambda: service.is_connected, SOON, "another connection")
    (line,) = trouble(caplog, "NOT VERIFIED")
    assert "`cert_reqs: CERT_NONE`" in line
    assert "`ca_certs`" in line


def test_cert_optional_checks_as_openssl_does(
    make_broker: Make, write_config: Write, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """C42: on the client's side it is the same as `CERT_REQUIRED`."""
    _, port = tls_broker(make_broker, authority.issue("somewhere.else"))
    settings = section(ca_certs=authority.file, cert_reqs="CERT_OPTIONAL")
    assert "for somewhere.else" in reason(caplog, write_config, port, settings)


def test_the_name_in_the_certificate_may_be_another_one(
    make_broker: Make, write_config: Write, authority: Authority
) -> None:
    """`server_name`: what the certificate has to be for."""
    broker, port = tls_broker(make_broker, authority.issue("somewhere.else"))
    settings = section(ca_certs=authority.file, server_name="somewhere.else")
    connects(broker, Secure(write_config(port, settings)))


# ---- C42: the client's own certificate ---------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["tls_version", "minimum_version"])
def test_a_broker_that_wants_a_certificate(
    make_broker: Make,
    write_config: Write,
    tmp_path: Path,
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
    version: str,
) -> None:
    """C42, C43: `certfile` and `keyfile`; none, and one that the broker does not accept, are told in words."""
    wants = (f"cafile {authority.file}", "require_certificate true")
    ca = {
        "ca_certs": authority.file,
        version: "PROTOCOL_TLSv1_2" if version == "tls_version" else "TLSv1_3",
    }
    broker, port = tls_broker(make_broker, authority.issue("127.0.0.1"), *wants)
    own = authority.issue("me")
    settings = section(**ca, certfile=own.certfile, keyfile=own.keyfile)
    connects(broker, Secure(write_config(port, settings)))

    line = reason(caplog, write_config, port, section(**ca))
    assert "wants a certificate from its clients (" in line
    assert "name one in `certfile` and `keyfile`" in line
    caplog.clear()

    other = Authority(tmp_path, "stranger").issue("not me")
    settings = section(**ca, certfile=other.certfile, keyfile=other.keyfile)
    line = reason(caplog, write_config, port, settings)
    assert f"does not accept the certificate in {other.certfile}" in line


FORMS = {
    "PKCS#8": lambda key: pem(key),
    "SEC 1 or PKCS#1": lambda key: pem(key, traditional=True),
    "encrypted PKCS#8": lambda key: pem(key, password="open sesame"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["RSA", "EC"])
def test_private_keys_come_in_many_forms(
    make_broker: Make, write_config: Write, authority: Authority, form: str, kind: str
) -> None:
    """C42: `keyfile`, `keyfile_password`; a key that stands in `certfile`."""
    wants = (f"cafile {authority.file}", "require_certificate true")
    broker, port = tls_broker(make_broker, authority.issue("127.0.0.1"), *wants)
    own = authority.issue("me", key=rsa_key() if kind == "RSA" else None)
    own.keyfile.write_bytes(FORMS[form](own.key))
    more = {"keyfile_password": "open sesame"} if form.startswith("encrypted") else {}
    settings = section(ca_certs=authority.file, certfile=own.certfile, keyfile=own.keyfile, **more)
    connects(broker, Secure(write_config(port, settings)))
    own.certfile.write_bytes(own.certfile.read_bytes() + own.keyfile.read_bytes())
    settings = section(ca_certs=authority.file, certfile=own.certfile, **more)
    connects(broker, Secure(write_config(port, settings)))


# ---- C42: clear errors at start ----------------------------------------------------------------------------------


def bad_settings(authority: Authority) -> Iterator[tuple[dict[str, object], str, str]]:
    """Settings that cannot be honoured, the one that is named, and some words of the sentence."""
    folder = authority.folder
    own, other = authority.issue("me"), authority.issue("you")
    pair = {"certfile": own.certfile, "keyfile": own.keyfile}
    sealed, old, noise, der = folder / "sealed", folder / "old", folder / "noise", folder / "der"
    sealed.write_bytes(pem(own.key, password="open sesame"))
    old.write_bytes(pem(own.key, password="open sesame", traditional=True))
    noise.write_text("nothing of use\n")
    der.write_bytes(b"\x30\x82\x01\x00")
    yield {"ca_certs": folder / "gone"}, "ca_certs", "gone cannot be read: No such file or directory; correct"
    yield {"ca_certs": folder}, "ca_certs", "this is not a file"
    yield {"ca_certs": noise}, "ca_certs", "there is no certificate in .*BEGIN CERTIFICATE"
    yield {"ca_certs": der}, "ca_certs", "openssl x509 -inform der"
    yield {"certfile": own.keyfile, "keyfile": own.keyfile}, "certfile", "there is no certificate in"
    yield {"certfile": own.certfile}, "certfile", "there is no private key in"
    yield {**pair, "keyfile": noise}, "keyfile", "there is no private key in"
    yield {**pair, "keyfile": other.keyfile}, "keyfile", "is not that of the certificate in"
    yield {**pair, "keyfile": sealed}, "keyfile", "is encrypted; add 'keyfile_password'"
    yield (
        {**pair, "keyfile": sealed, "keyfile_password": "wrong"},
        "keyfile_password",
        "does not open the key",
    )
    yield {**pair, "keyfile": old, "keyfile_password": "x"}, "keyfile", "old way.*openssl pkcs8 -topk8"
    yield {"tls_version": "PROTOCOL_TLSv1"}, "tls_version", "is broken, and not spoken here"
    yield {"tls_version": "PROTOCOL_TLSv1_1"}, "tls_version", "write PROTOCOL_TLSv1_2"
    yield {"tls_version": "PROTOCOL_TLSv1_2", "minimum_version": "TLSv1_3"}, "minimum_version", "remove one"
    yield {"ciphers": "AES128-SHA:TLS_AES_128_GCM_SHA256"}, "ciphers", "AES128-SHA cannot be used here; write"
    yield (
        {"ciphers": "TLS_AES_128_GCM_SHA256", "tls_version": "PROTOCOL_TLSv1_2"},
        "ciphers",
        "none of them is of a TLS version that is allowed",
    )


def test_what_cannot_be_honoured_is_an_error_at_start_that_says_where(
    write_config: Write, authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    """C42: file, line, setting, what is wrong, what to do; `miqro check` says it too; no password in it."""
    from miqro._cli.check import check

    for settings, key, words in bad_settings(authority):
        given = {"ca_certs": authority.file, **settings}
        lines = "".join(f"  {name}: {value}\n" for name, value in given.items())
        path = write_config(1, f"tls:\n{lines}")
        number = path.read_text().splitlines().index(f"  {key}: {given[key]}") + 1
        with pytest.raises(ConfigError) as raised:
            Secure(path)
        text = str(raised.value)
        place = f"{path}:{number}:{len(key) + 5}: in 'tls': '{key}': "
        assert text.startswith(place), text
        assert re.search(words, text), text
        assert "sesame" not in text
        assert "wrong" not in text
        assert check(str(path)) == 1
        assert text in capsys.readouterr().out


# ---- C42: versions, ciphers, and what is offered -----------------------------------------------------------------


def test_versions_and_ciphers_are_honoured(
    make_broker: Make, write_config: Write, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """C42: `tls_version`, `minimum_version`, `ciphers`: where the broker speaks only what is not allowed, no more."""
    pair = authority.issue("127.0.0.1")
    few, few_port = tls_broker(make_broker, pair, "ciphers ECDHE-ECDSA-AES256-GCM-SHA384")
    new, new_port = tls_broker(make_broker, pair, "tls_version tlsv1.3")
    ca = {"ca_certs": authority.file}
    old = {**ca, "tls_version": "PROTOCOL_TLSv1_2"}
    connects(few, Secure(write_config(few_port, section(**old, ciphers="ECDHE-ECDSA-AES256-GCM-SHA384"))))
    connects(new, Secure(write_config(new_port, section(**ca, minimum_version="TLSv1_3"))))
    none = "does not speak a version of TLS that is allowed"
    line = reason(caplog, write_config, few_port, section(**old, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256"))
    assert "takes none of the ciphers" in line
    caplog.clear()
    assert none in reason(caplog, write_config, new_port, section(**old))
    caplog.clear()
    with TlsServer(pair, newest=ssl.TLSVersion.TLSv1_2) as server:
        assert none in reason(caplog, write_config, server.port, section(**ca, minimum_version="TLSv1_3"))


class TlsServer:
    """Python's TLS on a port, which notes what a client offers, reads until it ends, and how it ended."""

    def __init__(self, pair: Pair, newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED) -> None:
        self.name: str | None = None
        self.alpn: str | None = None
        self.received = b""
        self.ends: list[str] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = newest
        context.load_cert_chain(pair.certfile, pair.keyfile)
        context.set_alpn_protocols(["mqtt"])
        context.sni_callback = self._note
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        """Return itself: it works from its making on."""
        return self

    def __exit__(self, *exc: object) -> None:
        """End it."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(SOON)

    def _note(self, _socket: object, name: str, _context: object) -> None:
        self.name = name

    def _serve(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            try:
                with self._context.wrap_socket(raw, server_side=True, suppress_ragged_eofs=False) as stream:
                    self._read(stream)
                self.ends.append("close_notify")
            except OSError as error:
                self.ends.append(repr(error))

    def _read(self, stream: ssl.SSLSocket) -> None:
        self.alpn = stream.selected_alpn_protocol()
        while chunk := stream.recv(4096):
            if not self.received:
                stream.sendall(b"\x20\x02\x00\x00")
            self.received += chunk


def test_name_and_protocols_are_offered_and_the_end_is_said(
    write_config: Write, authority: Authority
) -> None:
    """C42: SNI, ALPN; a clean end is a DISCONNECT, then TLS's close_notify."""
    with TlsServer(authority.issue("broker.example")) as server:
        settings = section(ca_certs=authority.file, server_name="broker.example", alpn="x-other, mqtt")
        service = Secure(write_config(server.port, settings))
        with Running(service):
            wait_until(lambda: service.is_connected, SOON, "a connection")
        wait_until(lambda: server.ends, SOON, "the end")
    assert (server.name, server.alpn, server.ends) == ("broker.example", "mqtt", ["close_notify"])
    assert server.received.endswith(b"\xe0\x00")


# ---- C43: the wrong port -----------------------------------------------------------------------------------------


def test_tls_to_a_port_without_it_is_a_helpful_sentence(
    broker: Broker, write_config: Write, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """C43; and nothing goes out unencrypted."""
    line = reason(caplog, write_config, broker.port, section(ca_certs=authority.file))
    assert f"127.0.0.1:{broker.port} does not answer in TLS: check that this port" in line


def test_plain_mqtt_to_a_port_with_tls_is_a_helpful_sentence(
    make_broker: Make, write_config: Write, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """C43."""
    _, port = tls_broker(make_broker, authority.issue("127.0.0.1"))
    assert re.search("add a section `tls`", reason(caplog, write_config, port, ""))


def test_a_port_that_accepts_and_says_nothing_is_left_after_the_time_limit(
    authority: Authority,
) -> None:
    """C43: one time limit for all of it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = mqtt.Client("silent")
        client.tls_set(str(authority.file))
        client._configure(connect_timeout=0.3)
        client.connect_async("127.0.0.1", silent.getsockname()[1])
        troubles: list[str] = []
        client.enable_logger(logging.getLogger("silent"))
        client._report_trouble = lambda reason, *_, **__: troubles.append(reason)  # type: ignore[method-assign]
        client.loop_start()
        wait_until(lambda: troubles, SOON, "it gives up")
        client.loop_stop()
    assert "did not answer in TLS within 0.3 s" in troubles[0]


# ---- what must not suffer ----------------------------------------------------------------------------------------


def test_a_burst_is_few_writes_and_a_large_message_arrives_whole(
    make_broker: Make, write_config: Write, authority: Authority
) -> None:
    """Batches stay batches under TLS, and what does not fit into the socket at once is not forgotten."""

    class Bursts(Secure):
        @miqro.handle("burst")
        def on_burst(self, _payload: str) -> None:
            for number in range(500):
                self.publish("n", number)

        @miqro.handle("large")
        def on_large(self, _payload: str) -> None:
            self.publish("whole", "x" * 5_000_000, qos=1)

    broker, port = tls_broker(make_broker, authority.issue("127.0.0.1"))
    with Proxy(port) as proxy, Observer(broker.port) as observer:
        service = Bursts(write_config(proxy.port, section(ca_certs=authority.file)))
        with Running(service):
            observer.wait_for(ONLINE, "1")
            proxy.reset_counters()
            observer.publish("service/secure/burst", "")
            observer.wait_for("service/secure/n", "499")
            assert proxy.segments_up < 20
            proxy.stall()
            observer.publish("service/secure/large", "")
            proxy.resume()
            observer.wait_for("service/secure/whole", "x" * 5_000_000)
    assert [message.text for message in observer.on("service/secure/n")] == [str(n) for n in range(500)]


# ---- C46: the client alone ---------------------------------------------------------------------------------------


def test_tls_set_takes_the_constants_of_ssl(make_broker: Make, authority: Authority) -> None:
    """C46: paho's arguments, by position and by name."""
    broker, port = tls_broker(make_broker, authority.issue("somewhere.else"))
    client = mqtt.Client("alone")
    with pytest.raises(ValueError, match="tls_set"):
        client.tls_insecure_set(True)
    client.tls_set(
        str(authority.file), None, None, ssl.CERT_REQUIRED, ssl.PROTOCOL_TLS_CLIENT, None, None, ["mqtt"]
    )
    client.tls_insecure_set(True)
    client.connect_async("127.0.0.1", port)
    with Observer(broker.port) as observer:
        client.loop_start()
        client.publish("alone", "x").wait_for_publish(SOON)
        observer.wait_for("alone", "x")
    client.loop_stop()


def test_what_of_ssl_cannot_be_honoured_is_refused() -> None:
    """C42: never silently weaker."""
    client = mqtt.Client()
    with pytest.raises(ConfigError, match="call tls_set"):
        client.tls_set_context(ssl.create_default_context())
    with pytest.raises(ConfigError, match="not spoken here"):
        client.tls_set(tls_version=ssl.PROTOCOL_TLSv1, cert_reqs=ssl.CERT_NONE)
    with pytest.raises(ConfigError, match="no certificate requirement"):
        client.tls_set(cert_reqs="CERT_MAYBE")


def test_an_insecure_client_warns_once(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    """C42."""
    client = mqtt.Client("trusting")
    client.enable_logger()
    client.tls_set(str(authority.file))
    client.tls_insecure_set(True)
    client.connect_async("127.0.0.1", 1)
    client.publish("a", "x")
    client.loop_start()
    client.loop_stop()
    (line,) = trouble(caplog, "NOT VERIFIED")
    assert "tls_insecure_set()" in line
