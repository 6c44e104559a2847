"""Entities that only report: sensors, binary sensors, events, trackers."""

from __future__ import annotations

from ._record import record
from .entity import Entity, EntityWithoutStateTopic


@record
class Sensor(Entity):
    """A measured or counted value, or one of a set of words.

    Args:
        unit_of_measurement: Unit; it must be one that Home Assistant knows for the `device_class`.
        state_class: `measurement`, `total` or `total_increasing`, for statistics.
        last_reset_value_template: Template for the time of the last reset (`state_class` `total` only).
        suggested_display_precision: Number of decimals shown.
        options: The words the state may be; sets `device_class` to `enum`.
    """

    _component: str = "sensor"
    unit_of_measurement: str | None = None
    state_class: str | None = None
    last_reset_value_template: str | None = None
    suggested_display_precision: int | None = None
    options: list[str] | None = None

    def __post_init__(self) -> None:
        """Register; a sensor with options is one of words."""
        if self.options is not None:
            self.device_class = "enum"
        super().__post_init__()


@record
class BinarySensor(Entity):
    """Something that is on or off.

    Args:
        off_delay: Seconds after which Home Assistant sets it to off by itself.
        payload_off: Payload for off; by default the service's `PAYLOAD_OFF`.
        payload_on: Payload for on; by default the service's `PAYLOAD_ON`.
    """

    _component: str = "binary_sensor"
    off_delay: int | None = None
    payload_off: str | None = None
    payload_on: str | None = None

    def __post_init__(self) -> None:
        """Register, then take the payloads that were not given from the service."""
        super().__post_init__()
        if self.payload_on is None:
            self.payload_on = str(self.owner.PAYLOAD_ON)
        if self.payload_off is None:
            self.payload_off = str(self.owner.PAYLOAD_OFF)

    def state_payload(self, value: bool) -> object | None:
        """Return `payload_on` or `payload_off`."""
        return self.payload_on if value else self.payload_off


@record
class Event(Entity):
    """Something that happens, such as a ring of a door bell. Its messages must not be retained.

    Args:
        event_types: The kinds of event there are. Home Assistant demands them.
    """

    _component: str = "event"
    event_types: list[str] | None = None


@record
class DeviceTracker(EntityWithoutStateTopic):
    """The place of something, as a JSON object with `latitude` and `longitude` on its attributes topic.

    Args:
        json_attributes_topic_postfix: The topic of the object. Home Assistant demands it.
        json_attributes_template: Template that extracts the object.
    """

    _component = "device_tracker"
