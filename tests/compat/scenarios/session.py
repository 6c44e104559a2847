"""The connection, the will, heartbeats, ends, other clients (C15, C40 to C46)."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from compat.scenario import scenario
from harness import Proxy, wait_until

if TYPE_CHECKING:
    from compat.run import Run


@scenario("session.Will", "C40", in_order=True)
def a_killed_service_is_reported_by_its_will(run: Run) -> None:
    """`1` retained while it is there, `0` retained by the broker when it was killed."""
    run.start()
    run.end(signal.SIGKILL)


@scenario(
    "session.Terminated",
    "C40",
    in_order=True,
    differs={
        "clean-end": """
            + log INFO main MQTT disconnected, rc=0
            + log INFO main SIGTERM: stopping
            - exit -15
            + exit 0
        """,
    },
)
def sigterm_ends_the_service(run: Run) -> None:
    """What systemd does to stop a service."""
    run.start()
    run.end(signal.SIGTERM)


@scenario(
    "session.Interrupted",
    "C40",
    in_order=True,
    differs={
        "clean-end": """
            + log INFO main MQTT disconnected, rc=0
            - crash of the process: KeyboardInterrupt
            - exit -2
            + exit 130
        """,
    },
)
def ctrl_c_ends_the_service(run: Run) -> None:
    """What a person does to stop a service."""
    run.start()
    run.end(signal.SIGINT)


@scenario(
    "session.Stops",
    "C40 C54",
    in_order=True,
    differs={
        "clean-end": """
            + log INFO main MQTT disconnected, rc=0
        """,
    },
)
def stop_ends_run(run: Run) -> None:
    """`stop = True` in a handler: `run()` returns, the service is offline, the exit status 0."""
    run.start()
    run.send("stop", "bye")
    run.expect("stopping", "bye")
    run.end(None)


@scenario("session.Cut", "C43 C40")
def a_lost_connection_comes_back(run: Run) -> None:
    """It is online again, with all subscriptions, those of run time too."""
    proxy = run.proxy
    run.start()
    run.send("add")
    run.expect("add_done")
    start = run.events_so_far()
    proxy.cut()
    run.wait_gone(start)
    run.expect("online", "0")
    run.wait_online(start)
    run.send("ping", "again")
    run.expect("pong", "again")
    run.send("added", "too")
    run.expect("added_pong", "too")


@scenario("session.Hooked", "C5 C43")
def connect_and_disconnect_may_be_overridden(run: Run) -> None:
    """`_on_connect` and `_on_disconnect` are called, with what paho gives them."""
    proxy = run.proxy
    run.start()
    run.expect("connects")
    start = run.events_so_far()
    proxy.cut()
    run.wait_gone(start)
    run.wait_online(start)
    run.expect("connects")


@scenario(
    "session.Offline",
    "C44",
    differs={
        "nothing-lost-offline": """
            + wire service/s_offline/while_offline q0 r0 1
        """,
    },
)
def what_is_published_while_offline_is_sent(run: Run) -> None:
    """A service publishes while its connection is away."""
    proxy = run.proxy
    run.start()
    start = run.events_so_far()
    proxy.refuse()
    run.wait_gone(start)
    (run.folder / "go").touch()
    wait_until((run.folder / "said").exists, 20.0, "the service publishes while it is offline")
    proxy.resume()
    run.wait_online(start)
    run.send("ping", "again")
    run.expect("pong", "again")
    run.expect("while_offline_sure", "2")


@scenario("session.Late", "C43", in_order=True)
def a_service_may_start_before_its_broker(run: Run) -> None:
    """It connects when the broker is there."""
    # The port of a proxy that is gone: nobody listens there.
    run.proxy.close()
    run.configure()
    start = run.events_so_far()
    run.launch().wait_err(r"\sstarted$")
    with Proxy(run.stage.broker.port, run.proxy.port):
        run.wait_online(start)
        run.end()


@scenario("session.Settings", "C41")
def the_section_broker_is_handed_on(run: Run) -> None:
    """Keepalive and the address to bind to."""
    run.configure(broker="keepalive: 17\nbind_address: 127.0.0.1")
    run.start()


@scenario(
    "session.Unknown",
    "C41",
    differs={
        "configuration-errors": """
            - crash of the process: TypeError
            + crash of the process: ConfigError
        """,
    },
)
def an_unknown_broker_setting_is_an_error(run: Run) -> None:
    """The service does not start."""
    run.configure(broker="hots: elsewhere")
    run.launch()
    run.end(None)


@scenario("session.Login", "C42")
def credentials_are_sent(run: Run) -> None:
    """The section `auth`; a password with umlauts."""
    run.configure(more='auth:\n  username: "jürgen"\n  password: "geheim ß"\n')
    run.start()
    run.send("ping", "1")
    run.expect("pong", "1")


@scenario("session.Encrypted", "C42")
def tls_with_an_authority_of_ones_own(run: Run) -> None:
    """The section `tls`, with the names of Python's `ssl` module."""
    settings = "cert_reqs: CERT_REQUIRED, tls_version: PROTOCOL_TLS"
    run.configure(f"tls: {{ca_certs: {run.stage.authority}, {settings}}}\n", port=run.stage.tls_port)
    run.start()
    run.send("ping", "1")
    run.expect("pong", "1")


@scenario("session.NeverPlain", "C42")
def tls_never_becomes_plain(run: Run) -> None:
    """With a section `tls` nothing goes out unencrypted. Neither can connect here: the port has no TLS."""
    run.configure(f"tls: {{ca_certs: {run.stage.authority}}}\n")
    run.launch()
    run.wait_started_or_ended()


@scenario(
    "session.OldTls",
    "C42",
    differs={
        "tls-of-today": """
            - log INFO main started
            + crash of the process: ConfigError
            - exit -9
            + exit 1
        """,
    },
)
def an_old_tls_is_refused(run: Run) -> None:
    """TLS 1.1, which today's OpenSSL does not speak either: 1.x was silent, and never connected."""
    settings = f"ca_certs: {run.stage.authority}, tls_version: PROTOCOL_TLSv1_1"
    run.configure(f"tls: {{{settings}}}\n", port=run.stage.tls_port)
    run.launch()
    run.wait_started_or_ended()


@scenario("session.Heartbeat", "C40 C52", in_order=True, statistics=True)
def the_heartbeat_repeats_online(run: Run) -> None:
    """`1` again, retained, every `MQTT_ONLINE_UPDATE_INTERVAL`."""
    run.start()
    run.expect("online", "1")
    run.expect("online", "1")


@scenario("session.OwnHeartbeat", "C5 C52", statistics=True)
def the_heartbeat_may_be_overridden(run: Run) -> None:
    """`_update_online_status(_)` is called for each."""
    run.start()
    run.expect("beats", "three")


@scenario("session.OwnClient", "C45 C46", prefix="s_client/service/s_client/")
def a_subclass_of_the_client_is_used(run: Run) -> None:
    """`mqtt_client_cls` with `publish` and `will_set` overridden."""
    start = run.events_so_far()
    run.launch()
    run.stage.log.wait_for(
        lambda event: event.client == run.name and "enabled" in event.detail, "it subscribes", start
    )
    run.expect("online", "1")
    run.send("/service/s_client/ping", "1")
    run.expect("pong", "1")


@scenario("session.RealPaho", "C45")
def pahos_own_client_is_used(run: Run) -> None:
    """`mqtt_client_cls=paho.mqtt.client.Client`."""
    run.start()
    run.send("ping", "1")
    run.expect("pong", "1")
    run.expect("pong_json")


@scenario("session.ByHand", "C46")
def the_client_may_be_used_directly(run: Run) -> None:
    """`mqtt_client.publish`, `subscribe`, `unsubscribe`, with paho's results."""
    run.start()
    run.send("go", "x")
    run.expect("/s_byhand/done", "x")


@scenario(
    "session.Doubled",
    "C45 C31",
    differs={
        "doubles-get-text": """
            - out publish service/s_double/result 42 False 0
            - out publish service/s_double/flag 1 True 0
            - out publish service/s_double/number 7 False 0
            + out publish service/s_double/result '42' False 0
            + out publish service/s_double/flag '1' True 0
            + out publish service/s_double/number '7' False 0
        """,
        "clean-end": """
            + out publish service/s_double/online '0' True 0
        """,
    },
)
def a_double_of_the_client_is_used(run: Run) -> None:
    """The calls that a double sees, in order, and what a message fed to it does."""
    run.launch()
    run.end(None)
