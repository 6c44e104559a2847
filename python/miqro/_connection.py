"""A service and its MQTT client: the engine's, or another one with paho's names (contract C40, C45)."""

from __future__ import annotations

from . import mqtt
from ._handlers import takes
from ._native import check_auth, check_broker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from ._dispatch import Dispatcher
    from ._native import Wake
    from ._service import Service

#: What paho's `connect_async` takes.
_PAHO_BROKER = ("host", "port", "keepalive", "bind_address", "bind_port")


def make_client(
    service: Service, cls: Callable[..., Any], dispatcher: Dispatcher, wake: Wake, data_root: Path
) -> Any:
    """Makes the client of a service and sets it up, as 1.x did: with the methods that doubles have.

    Raises:
        ConfigError: A setting cannot be used.
    """
    section = service.config.get("broker") or {}
    broker = check_broker(section, service.config.get("tls") is not None)
    clean = service.CLEAN_SESSION if broker["clean_session"] is None else broker["clean_session"]
    client_id = broker["client_id"] or service.SERVICE_NAME
    if broker["session_expiry"] and broker["clean_session"] is None:
        # Who says how long the broker keeps the session wants it kept.
        clean = False
    options: dict[str, Any] = {} if clean else {"clean_session": False}
    if broker["transport"] != "tcp":
        options["transport"] = broker["transport"]
    client = cls(client_id, **options)
    ours = isinstance(client, mqtt.Client)
    if ours:
        client._join_service(wake, service.MAX_INCOMING_QUEUE)
        client._problem = service.note_failure
        client._configure(
            **{
                key: broker[key]
                for key in (
                    "protocol",
                    "session_expiry",
                    "max_queued_messages",
                    "max_queued_bytes",
                    "reconnect_delay_min",
                    "reconnect_delay_max",
                )
            }
        )
        if broker["durable"]:
            client._configure(durable=f"{data_root}/{service.SERVICE_NAME}.outbox")
        client.on_connect = service._on_connect
        client.on_disconnect = service._on_disconnect
    else:
        if broker["durable"]:
            service.log.warning(
                "`durable` in the section `broker` needs miqro's own MQTT client: it has no effect"
            )
        # Its callbacks come on its own thread, and are handed to the service's.
        client.on_connect = lambda *args: dispatcher.call(service._on_connect, *args)
        client.on_disconnect = lambda *args: dispatcher.call(service._on_disconnect, *args)
    if broker["path"]:
        _set_path(client, broker)
    client.on_message = service._on_message
    if service.config.get("auth"):
        from ._config import password_of

        auth = check_auth(service.config["auth"])
        client.username_pw_set(username=auth["username"], password=password_of(auth))
    if service.config.get("tls") is not None:
        _set_tls(service, client)
    client.enable_logger(service.mqtt_log)
    client.will_set(service.willtopic, "0", retain=True)
    client.connect_async(
        **{
            key: broker[key]
            for key in _PAHO_BROKER
            if broker.get(key) and (ours or key in ("host", *section))
        }
    )
    return client


def _set_path(client: Any, broker: dict[str, Any]) -> None:
    """As paho has it: a WebSocket has a path, of a Unix socket the host is the path."""
    if broker["transport"] == "unix":
        broker["host"] = broker["path"]
    elif hasattr(client, "ws_set_options"):
        client.ws_set_options(path=broker["path"])


def _set_tls(service: Service, client: Any) -> None:
    """Turns TLS on.

    Raises:
        ConfigError: A setting cannot be used. The text says where it stands, if the file was read by ours.
    """
    from ._errors import ConfigError

    try:
        client.tls_set(**service._make_tls_config(service.config["tls"]))
    except ConfigError as error:
        if service._miqro_config is None or len(error.args) != 3:
            raise
        raise ConfigError(service._miqro_config.located("tls", error)) from None


class greeting:  # noqa: N801 - used like a function
    """What is published inside goes out ahead of what was queued while the broker was away (C40)."""

    def __init__(self, client: Any) -> None:
        self._session = client._session if isinstance(client, mqtt.Client) else None

    def __enter__(self) -> None:
        if self._session is not None:
            self._session.begin_greeting()

    def __exit__(self, *_: object) -> None:
        if self._session is not None:
            self._session.greeted()


def subscribe(service: Service, client: Any, filters: list[str]) -> None:
    """Subscribes to all `filters`: in one request where the client is the engine's."""
    options = service._miqro_dispatcher.subscribe_options()
    problem = no_properties(client) if options else None
    if problem is not None:
        service.log.warning(
            "what handlers say of their subscriptions (%s) is ignored: %s", ", ".join(options), problem
        )
    if isinstance(client, mqtt.Client):
        if filters:
            qos = service.SUBSCRIBE_QOS
            client.subscribe([(topic_filter, qos | options.get(topic_filter, 0)) for topic_filter in filters])
        return
    with_qos = takes(client.subscribe, 2)
    for topic_filter in filters:
        if with_qos:
            client.subscribe(topic_filter, service.SUBSCRIBE_QOS)
        else:
            client.subscribe(topic_filter)


def no_properties(client: Any) -> str | None:
    """Why what MQTT 5 adds does not reach the broker; `None` where it does, or may yet."""
    if not isinstance(client, mqtt.Client):
        return None if getattr(client, "takes_properties", False) else "the MQTT client is not miqro's own"
    session = client._engine()
    if not session.takes_properties():
        return "the session speaks MQTT 3.1.1: set `protocol: 5`, or `auto`, in the section `broker`"
    if session.is_connected() and session.protocol() != mqtt.MQTTv5:
        return "the broker speaks MQTT 3.1.1 only"
    return None


def connected(client: Any) -> bool:
    """Whether the client says that it is connected; a double that does not say counts as connected.

    Ours counts once `on_connect` was called: before that, it is that which says the first things.
    """
    if isinstance(client, mqtt.Client) and not client._connected_at:
        return False
    asked = getattr(client, "is_connected", None)
    return bool(asked()) if callable(asked) else True


def thread_alive(client: Any) -> bool:
    """Whether the client's network thread runs; a double without one counts as alive."""
    if isinstance(client, mqtt.Client):
        return client._is_running()
    if not hasattr(client, "_thread"):
        return True
    thread = client._thread
    return thread is not None and bool(thread.is_alive())


def farewell(service: Service) -> None:
    """Says that the service is gone, sends what is queued, disconnects; within the two seconds of C40."""
    client = service.mqtt_client
    if isinstance(client, mqtt.Client) and client._session is not None and client._session.is_of_parent():
        client.loop_stop()
        return
    try:
        say_goodbye(service)
    except BaseException:
        client.loop_stop()
        raise
    hang_up(client)


def say_goodbye(service: Service) -> None:
    """Publishes that the service is gone."""
    client = service.mqtt_client
    if isinstance(client, mqtt.Client) and client._session is not None:
        client._session.begin_farewell()
    service.publish(service.willtopic, "0", retain=True, global_=True)


def hang_up(client: Any) -> None:
    """Sends what is queued, and disconnects."""
    try:
        if hasattr(client, "disconnect"):
            client.disconnect()
    finally:
        client.loop_stop()


def read_config(service: Service, path: Any, log_level: int | str | None) -> None:
    """Finds and reads the configuration, and sets what the service has of it.

    Raises:
        ConfigError: There is none, or it cannot be used.
    """
    from ._config import find_and_read

    found = find_and_read(path, service.CONFIG_FILE_PATHS)
    if log_level is None and found.log_level is not None:
        service._prepare_logger(found.log_level)
    service.log.debug("Using configuration file at %s", found.path)
    service._miqro_config = found
    service.config = found.config
    service.service_config = found.service_section(service.SERVICE_NAME)
    service.data_topic_prefix = found.data_topic_prefix(service.SERVICE_NAME)
    service.willtopic = service.data_topic_prefix + "online"
    for warning in found.warnings:
        service.log.warning("%s", warning)


def tls_arguments(section: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments of paho's `tls_set`: names of Python's `ssl` module become what they name.

    Raises:
        ConfigError: A setting is not known.
    """
    import ssl

    from ._errors import ConfigError
    from ._native import check_tls

    tls = check_tls(section or {})
    arguments: dict[str, Any] = {key: tls[key] for key in ("ca_certs", "certfile", "keyfile", "ciphers")}
    # What not every client's `tls_set` takes.
    for key in ("keyfile_password", "minimum_version", "server_name"):
        if tls[key] is not None:
            arguments[key] = tls[key]
    if tls["alpn"] is not None:
        arguments["alpn_protocols"] = [name.strip() for name in tls["alpn"].split(",")]
    for key, default in (("cert_reqs", "CERT_REQUIRED"), ("tls_version", "PROTOCOL_TLS")):
        name = tls[key] or default
        if not hasattr(ssl, name):
            raise ConfigError(f"`{key}: {name}` in the section `tls`: Python's ssl module has no such name")
        arguments[key] = getattr(ssl, name)
    return arguments
