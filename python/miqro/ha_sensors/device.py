"""Devices: the things that entities belong to in Home Assistant."""

from __future__ import annotations

from ._common import announce, availability_of, clean_string, origin_of, own_list, warn
from ._record import field, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from ._common import HomeService
    from .entity import EntityWithoutStateTopic


@record
class Device:
    """A device that the service announces to Home Assistant together with its entities.

    Making one registers it with the service; nothing more has to be called. The service announces it on every
    connect.

    Args:
        service: The service that the device belongs to.
        name: Name shown in Home Assistant; the device's id is made from it and `SERVICE_NAME`.
        model: Model.
        manufacturer: Manufacturer.
        sw_version: Version of the software or firmware.
        hw_version: Version of the hardware.
        identifiers: Ids by which Home Assistant recognises the device: one, or several. The device's own id
            is added; the caller's list is left alone.
        connections: Pairs such as `("mac", "02:5b:26:a8:dc:12")`.
        suggested_area: Area that Home Assistant proposes for it.
        via_device: The device through which this one is reached, e.g. its gateway.
        model_id: Identifier of the model, where it differs from its name.
        serial_number: Serial number.
        configuration_url: Address of the device's own web page.
        discovery_options: Further options of Home Assistant's device section, merged in last, as they are. An
            option that Home Assistant does not know makes it refuse the whole device.
    """

    service: HomeService
    name: str
    model: str | None = None
    manufacturer: str | None = None
    sw_version: str | None = None
    hw_version: str | None = None
    identifiers: Iterable[str] | str | None = None
    connections: list[tuple[str, str]] | None = None
    suggested_area: str | None = None
    via_device: Device | None = None

    _unique_id: str | None = None

    __entities: list[EntityWithoutStateTopic] = field(default_factory=list)

    # Not in miqro 1.x: by keyword only, so that positional arguments keep their places, and not in the repr.
    model_id: str | None = field(default=None, kw_only=True, repr=False)
    serial_number: str | None = field(default=None, kw_only=True, repr=False)
    configuration_url: str | None = field(default=None, kw_only=True, repr=False)
    discovery_options: Mapping[str, Any] | None = field(default=None, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        """Give the device its id and make it known to the service."""
        self._unique_id = f"{self.service.SERVICE_NAME}_{clean_string(self.name)}"
        if self.identifiers is None:
            identifiers = []
        elif isinstance(self.identifiers, str):
            identifiers = [self.identifiers]
        else:
            identifiers = list(self.identifiers)
        if self._unique_id not in identifiers:
            identifiers.append(self._unique_id)
        self.identifiers = identifiers
        own_list(self.service, "ha_devices").append(self)

    @property
    def entities(self) -> list[EntityWithoutStateTopic]:
        """The entities of the device, in the order in which they were made."""
        return self.__entities

    def add_entity(self, entity: EntityWithoutStateTopic) -> None:
        """Add an entity. Entities made with this device do so themselves; adding one again changes nothing.

        Two entities of one id are logged as a warning: Home Assistant would see the later one only.
        """
        for other in self.__entities:
            if other is entity:
                return
            if other.unique_id == entity.unique_id:
                warn(
                    self.service,
                    f"The entities {other.name!r} and {entity.name!r} of the device {self.name!r} have the "
                    f"same id {entity.unique_id}: Home Assistant will show only the second; give one a "
                    "unique_id of its own",
                )
        self.__entities.append(entity)

    def build_availability(self) -> list[dict[str, Any]]:
        """Return the `availability` option of the discovery payload; override it to add topics.

        By default it is the service's `online` topic. Every topic must carry a retained payload, else Home
        Assistant shows the device as unavailable.
        """
        return availability_of(self.service)

    def build_discovery_payload(self) -> dict[str, Any]:
        """Return the discovery payload of the device and its entities; override it to change anything."""
        device = {
            key: value
            for key, value in self.__dict__.items()
            if value is not None and not key.startswith("_") and key not in ("service", "discovery_options")
        }
        if self.via_device is not None:
            device["via_device"] = self.via_device._unique_id
        device.update(self.discovery_options or {})
        return {
            "device": device,
            "origin": origin_of(self.service),
            "availability": self.build_availability(),
            "components": {entity.unique_id: entity.get_discover_payload() for entity in self.__entities},
        }

    def publish_discovery(self, prefix: str) -> None:
        """Announce the device and its entities below Home Assistant's discovery prefix, retained, QoS 1."""
        announce(self.service, f"{prefix}/device/{self._unique_id}/config", self.build_discovery_payload())
