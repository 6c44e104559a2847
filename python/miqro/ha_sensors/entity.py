"""Entities: what all platforms of Home Assistant have in common."""

from __future__ import annotations

from ._common import announce, availability_of, clean_string, origin_of, own_list, warn
from ._record import field, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ._common import HomeService
    from .device import Device

_POSTFIX = "_postfix"
_TOPIC_POSTFIX = "_topic_postfix"
_CALLBACK = "_callback"
# Attributes that say something to miqro and nothing to Home Assistant.
_NOT_ANNOUNCED = ("device", "service", "discovery_options")


@record
class EntityWithoutStateTopic:
    """An entity that has no single state topic. Base of all entities; not to be used itself.

    Making one registers it with its device, or with the service where it has none. Every attribute that is
    not `None` becomes an option of its discovery payload under its own name; one that ends in
    `_topic_postfix` becomes the full topic, below the service's prefix. Where a `x_callback` is given, it is
    called for messages to `x_topic_postfix`, as a handler added by `Service.add_handler` is.

    Args:
        device: The device of the entity, or `None`, where `service` is given.
        name: Name shown in Home Assistant, and the source of its ids.
        display_name: Sent as it is; Home Assistant does not use it.
        device_class: Kind of entity, which sets icon, unit and wording.
        enabled_by_default: Whether Home Assistant enables it when it first sees it.
        entity_category: `config` or `diagnostic`.
        expire_after: Seconds after which a state without news is unavailable (sensors and binary sensors
            only).
        force_update: Whether every message counts as an update, changed or not.
        icon: E.g. `mdi:fridge`.
        default_entity_id: Entity id that Home Assistant proposes at first; by default platform and name.
        qos: QoS that Home Assistant uses for the entity's topics.
        unique_id: Id by which Home Assistant knows the entity for ever; by default made of the above.
        service: The service, for an entity without a device.
        json_attributes_topic_postfix: Topic of further attributes, as a JSON object.
        json_attributes_template: Template that extracts them.
        discovery_options: Further options of the discovery payload, merged in last, as they are.

    Raises:
        ValueError: Neither or both of `device` and `service`; a callback without the topic to call it for.
    """

    device: Device | None
    name: str
    display_name: str | None = None
    device_class: str | None = None
    enabled_by_default: bool | None = None
    entity_category: str | None = None
    expire_after: int | None = None
    force_update: bool | None = None
    icon: str | None = None
    default_entity_id: str | None = None
    qos: int | None = None
    unique_id: str | None = None
    service: HomeService | None = None

    json_attributes_topic_postfix: str | None = None
    json_attributes_template: str | None = None

    # Not in miqro 1.x: see Device.
    discovery_options: Mapping[str, Any] | None = field(default=None, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        """Give the entity its ids, register its callbacks and make it known to its device or service."""
        if self.device is None and self.service is None:
            raise ValueError(f"{self._title()} needs a device, or a service where it has no device")
        if self.device is not None and self.service is not None:
            raise ValueError(
                f"{self._title()} belongs to its device's service: give the device or the service, not both"
            )

        if self.default_entity_id is None:
            self.default_entity_id = f"{self.component}.{clean_string(self.name)}"
        if self.unique_id is None:
            device = self.device
            parent = clean_string(self.owner.SERVICE_NAME) if device is None else device._unique_id
            self.unique_id = f"{parent}__{self.default_entity_id.replace('.', '_')}"

        self._add_callbacks()
        if self.device is not None:
            self.device.add_entity(self)
        else:
            own_list(self.owner, "ha_entities").append(self)

    @property
    def owner(self) -> HomeService:
        """The service of the entity: that of its device, or its own.

        Raises:
            ValueError: It has neither.
        """
        service = self.service if self.device is None else self.device.service
        if service is None:
            raise ValueError(f"{self._title()} has neither a device nor a service")
        return service

    @property
    def component(self) -> str:
        """Home Assistant's name of the entity's platform, e.g. `binary_sensor`.

        Raises:
            TypeError: The class has no `_component`: it is a base class.
        """
        component: str | None = getattr(self, "_component", None)
        if component is None:
            raise TypeError(
                f"{type(self).__name__} stands for no platform: use one of its subclasses, or set _component"
            )
        return component

    @property
    def publish_postfix(self) -> str:
        """The topic, below the service's prefix, that `Service.publish(entity, ...)` sends to.

        Raises:
            TypeError: The entity has no state topic, as buttons, climate controllers and device trackers.
        """
        postfix: str | None = getattr(self, "state_topic_postfix", None)
        if not postfix:
            raise TypeError(
                f"{self._title()} has no state topic to publish to: publish to one of its topics by name"
            )
        return postfix

    def state_payload(self, value: bool) -> object | None:
        """Return the payload for a truth value; `None`: the service's own, as on any other topic."""
        return None

    def build_availability(self) -> list[dict[str, Any]]:
        """Return the `availability` of an entity without a device: by default the `online` topic."""
        return availability_of(self.owner)

    def build_discovery_payload(self) -> dict[str, Any]:
        """Return the discovery payload of an entity without a device; override it to change anything."""
        payload = self.get_discover_payload()
        # Home Assistant refuses an entity that has both forms of availability.
        if "availability" not in payload and "availability_topic" not in payload:
            payload["availability"] = self.build_availability()
        payload.setdefault("origin", origin_of(self.owner))
        return payload

    def get_discover_payload(self) -> dict[str, Any]:
        """Return the options of this entity alone: its component entry in the payload of its device."""
        prefix = self.owner.data_topic_prefix
        payload: dict[str, Any] = {}
        topics: dict[str, Any] = {}
        for key, value in self.__dict__.items():
            if value is None or key.startswith("_") or key.endswith(_CALLBACK) or key in _NOT_ANNOUNCED:
                continue
            if not key.endswith(_POSTFIX):
                payload[key] = value
            elif not self._is_unset_command(key):
                topics[key.removesuffix(_POSTFIX)] = f"{prefix}{value}"
        # The order is that of 1.x: entities announced anew with the same bytes change nothing at the broker.
        return {**payload, "platform": self.component, **topics, **(self.discovery_options or {})}

    def publish_discovery(self, prefix: str) -> None:
        """Announce an entity without a device below Home Assistant's discovery prefix, retained, QoS 1.

        Raises:
            ValueError: It has a device, which announces it.
        """
        if self.device is not None:
            raise ValueError(
                f"{self._title()} is announced by its device {self.device.name!r}: call that one's method"
            )
        announce(
            self.owner, f"{prefix}/{self.component}/{self.unique_id}/config", self.build_discovery_payload()
        )

    def _add_callbacks(self) -> None:
        """Register each `x_callback` for `x_topic_postfix`, those of a user's subclass as well."""
        for name in dir(self):
            if not name.endswith(_TOPIC_POSTFIX):
                continue
            callback_name = name.removesuffix(_TOPIC_POSTFIX) + _CALLBACK
            callback = getattr(self, callback_name, None)
            postfix = getattr(self, name)
            if callback is None:
                if self._is_unset_command(name):
                    warn(
                        self.owner,
                        f"{self._title()} has no {name}: it is announced without a command topic, which Home "
                        f"Assistant demands of this platform; give it a {name}",
                    )
            elif postfix is None:
                raise ValueError(
                    f"{self._title()} has a {callback_name} but no {name}, so it could never be called"
                )
            else:
                self.owner.add_handler(postfix, callback)

    def _is_unset_command(self, name: str) -> bool:
        """Whether this is a command topic left at its empty default.

        1.x announced the service's bare prefix then. With a callback that is a topic that works, and stays;
        without, nobody listens to it.
        """
        if name != "command_topic_postfix" or getattr(self, name) != "":
            return False
        return getattr(self, "command_callback", None) is None

    def _title(self) -> str:
        return f"The {type(self).__name__} {self.name!r}"


@record
class Entity(EntityWithoutStateTopic):
    """An entity with a state topic, to which `Service.publish(entity, value)` sends. Base of most platforms.

    Args:
        state_topic_postfix: The topic of its state, below the service's prefix. Required.
        value_template: Template by which Home Assistant extracts the state from the payload.

    Raises:
        ValueError: No `state_topic_postfix`; see also `EntityWithoutStateTopic`.
    """

    state_topic_postfix: str = ""
    value_template: str | None = None

    def __post_init__(self) -> None:
        """Check that there is a state topic, then register."""
        if self.state_topic_postfix == "":
            raise ValueError(f"{self._title()} needs a state_topic_postfix")
        super().__post_init__()
