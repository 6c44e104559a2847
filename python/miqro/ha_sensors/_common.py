"""What devices and entities share: ids, the service they talk to, availability and origin."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol, TypeVar

    T = TypeVar("T")

    class HomeService(Protocol):
        """What devices and entities use of a service: `miqro.Service`, or a double of it."""

        @property
        def SERVICE_NAME(self) -> str:  # noqa: N802 - the name is API
            """Name of the service, part of every id."""

        @property
        def PAYLOAD_ON(self) -> str | int:  # noqa: N802 - as above
            """Payload for `True`."""

        @property
        def PAYLOAD_OFF(self) -> str | int:  # noqa: N802 - as above
            """Payload for `False`."""

        @property
        def data_topic_prefix(self) -> str:
            """Prefix of the service's topics, with its final slash."""

        @property
        def willtopic(self) -> str:
            """Topic that says whether the service is there."""

        @property
        def ha_devices(self) -> list[Any]:
            """Devices to announce."""

        @property
        def ha_entities(self) -> list[Any]:
            """Entities without a device to announce."""

        def add_handler(self, topic: str, handler: Callable[..., object], /) -> object:
            """Call `handler` for messages to a topic below the prefix."""

        def publish_json(
            self, ext: str, message_json: Any, /, *, qos: int, retain: bool, global_: bool
        ) -> object:
            """Publish an object as JSON."""


def clean_string(raw: str) -> str:
    """Reduce a name to the characters that Home Assistant allows in discovery ids.

    Everything outside `[A-Za-z0-9_-]` becomes a dash, dashes at the ends go. The result is as in miqro 1.x to
    the byte: ids made otherwise would orphan the entities that people have.
    """
    return re.sub(r"[^A-Za-z0-9_-]", "-", raw).strip("-")


def own_list(service: HomeService, name: str) -> list[Any]:
    """Return the list `name` that belongs to this very service, made if so far only its class has one.

    In miqro 1.x the class's list was used, so one service announced the devices of another.
    """
    own: list[Any] | None = vars(service).get(name)
    if own is None:
        own = list(getattr(service, name, ()))
        setattr(service, name, own)
    return own


def warn(service: HomeService, text: str) -> None:
    """Log a warning on the service's logger, or on miqro's where a double has none."""
    log = getattr(service, "log", None)
    if log is None:
        import logging

        log = logging.getLogger("miqro.ha_sensors")
    log.warning(text)


def availability_of(service: HomeService) -> list[dict[str, str]]:
    """Return the discovery option by which Home Assistant learns that the service is online."""
    return [{"topic": service.willtopic, "payload_available": "1", "payload_not_available": "0"}]


def origin_of(service: HomeService) -> dict[str, str]:
    """Return the discovery option that names the program behind an entity."""
    return {"name": f"MIQRO service {service.SERVICE_NAME}"}


def announce(service: HomeService, topic: str, payload: dict[str, Any]) -> None:
    """Publish a discovery payload: retained, at least once, at a topic outside the service's own."""
    service.publish_json(topic, payload, qos=1, retain=True, global_=True)
