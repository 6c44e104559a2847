"""Home Assistant's rules for MQTT discovery, as far as they can be told from a payload alone (core 2026.11).

`problems(topic, payload)` returns what Home Assistant would refuse, ignore or misuse, as sentences; nothing
means that all is well. It knows unabbreviated keys only: this package writes no others.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ID = re.compile(r"[a-zA-Z0-9_-]+")

# Every platform that can be discovered, and the keys that it cannot do without beyond platform and unique_id.
REQUIRED: dict[str, tuple[str, ...]] = {
    "alarm_control_panel": ("state_topic", "command_topic"),
    "binary_sensor": ("state_topic",),
    "button": ("command_topic",),
    "camera": ("topic",),
    "climate": (),
    "cover": (),
    "date": ("command_topic",),
    "datetime": ("command_topic",),
    "device_automation": ("automation_type", "topic", "type", "subtype"),
    "device_tracker": (),
    "event": ("state_topic", "event_types"),
    "fan": ("command_topic",),
    "humidifier": ("command_topic", "target_humidity_command_topic"),
    "image": (),
    "infrared": ("schema",),
    "lawn_mower": (),
    "light": ("command_topic",),
    "lock": ("command_topic",),
    "notify": ("command_topic",),
    "number": ("command_topic",),
    "scene": ("command_topic",),
    "select": ("command_topic", "options"),
    "sensor": ("state_topic",),
    "siren": ("command_topic",),
    "switch": ("command_topic",),
    "tag": ("topic",),
    "text": ("command_topic",),
    "time": ("command_topic",),
    "update": ("state_topic",),
    "vacuum": (),
    "valve": (),
    "water_heater": (),
}
WITHOUT_UNIQUE_ID = ("tag", "device_automation")

# An unknown key in one of these three places makes Home Assistant refuse the whole payload.
AVAILABILITY = {
    "availability",
    "availability_mode",
    "availability_template",
    "availability_topic",
    "payload_available",
    "payload_not_available",
}
TOP_LEVEL = {
    "device",
    "origin",
    "components",
    "child_devices",
    "qos",
    "encoding",
    "message_expiry_interval",
} | {
    "state_topic",
    "command_topic",
    *AVAILABILITY,
}
DEVICE = {
    "configuration_url",
    "connections",
    "hw_version",
    "identifiers",
    "manufacturer",
    "model",
    "model_id",
    "name",
    "serial_number",
    "suggested_area",
    "sw_version",
    "via_device",
}
ORIGIN = {"name", "sw_version", "support_url"}

# Templates and options that mean nothing without a topic beside them.
NEEDS = {
    "value_template": "state_topic",
    "json_attributes_template": "json_attributes_topic",
    "current_humidity_template": "current_humidity_topic",
    "current_temperature_template": "current_temperature_topic",
    "target_humidity_state_topic": "target_humidity_command_topic",
}
UNITS = {"temperature": {"°C", "°F", "K"}, "power": {"mW", "W", "kW", "MW", "GW", "TW"}, "battery": {"%"}}
MODES = {"auto", "off", "cool", "heat", "dry", "fan_only", "heat_cool"}


def problems(topic: str, payload: str) -> list[str]:
    """Return everything that is wrong with a discovery message."""
    return list(_message_problems(topic, payload))


def _message_problems(topic: str, text: str) -> Iterator[str]:
    parts = topic.split("/")
    if len(parts) not in (4, 5) or parts[-1] != "config":
        yield f"the topic {topic!r} is not <prefix>/<component>/[<node>/]<id>/config"
        return
    for part in parts[2:-1]:
        if not ID.fullmatch(part):
            yield f"the topic {topic!r} has the id {part!r}"
    if text == "":
        return  # a removal
    payload = json.loads(text)
    if not isinstance(payload, dict):
        yield "the payload is no object"
    elif parts[1] == "device":
        yield from _device_payload(payload)
    elif parts[1] not in REQUIRED:
        yield f"there is no component {parts[1]!r}"
    else:
        if payload.get("platform", parts[1]) != parts[1]:
            yield f"the payload is of platform {payload['platform']!r}"
        if "device" in payload:
            yield from _device(payload["device"])
        if "origin" in payload:
            yield from _origin(payload["origin"])
        else:
            yield "no origin"
        if not {"availability", "availability_topic"} & payload.keys():
            yield "no availability: the entity looks alive when the service is dead"
        yield from _entity({"platform": parts[1], **payload}, {})


def _device_payload(payload: Mapping[str, Any]) -> Iterator[str]:
    for key in payload.keys() - TOP_LEVEL:
        yield f"the unknown key {key!r} at the top level"
    yield from _device(payload.get("device"))
    yield from _origin(payload.get("origin"))
    yield from _availability(payload)
    if not {"availability", "availability_topic"} & payload.keys():
        yield "no availability: the device looks alive when the service is dead"
    components = payload.get("components")
    if components is None and "child_devices" not in payload:
        yield "neither components nor child_devices"
    for key, entry in (components or {}).items():
        if not ID.fullmatch(key):
            yield f"the component id {key!r}"
        shared = {
            name: value for name, value in payload.items() if name not in ("device", "origin", "components")
        }
        for problem in _entity(entry, shared):
            yield f"{key}: {problem}"


def _device(device: object) -> Iterator[str]:
    if not isinstance(device, dict):
        yield "no device"
        return
    for key in device.keys() - DEVICE:
        yield f"the unknown key {key!r} in device"
    if not device.get("identifiers") and not device.get("connections"):
        yield "a device with neither identifiers nor connections"
    if not device.get("name"):
        yield "a device without a name"
    for connection in device.get("connections", []):
        if not (isinstance(connection, list) and len(connection) == 2):
            yield f"the connection {connection!r} is no pair"


def _origin(origin: object) -> Iterator[str]:
    if not isinstance(origin, dict) or not origin.get("name"):
        yield "an origin without a name"
        return
    for key in origin.keys() - ORIGIN:
        yield f"the unknown key {key!r} in origin"


def _availability(payload: Mapping[str, Any]) -> Iterator[str]:
    if "availability" in payload and "availability_topic" in payload:
        yield "both availability and availability_topic"
    if payload.get("availability_mode", "latest") not in ("all", "any", "latest"):
        yield f"the availability_mode {payload['availability_mode']!r}"
    for entry in payload.get("availability", []):
        if not _is_topic(entry.get("topic")):
            yield f"the availability topic {entry.get('topic')!r}"
        unknown = entry.keys() - {"topic", "payload_available", "payload_not_available", "value_template"}
        for key in unknown:
            yield f"the unknown key {key!r} in availability"


def _entity(entry: Mapping[str, Any], shared: Mapping[str, Any]) -> Iterator[str]:
    platform = entry.get("platform")
    if platform not in REQUIRED:
        yield f"the platform {platform!r}"
        return
    if entry.keys() == {"platform"}:
        return  # a removal
    if not entry.get("unique_id") and platform not in WITHOUT_UNIQUE_ID:
        yield "no unique_id"
    for key in REQUIRED[platform]:
        if entry.get(key, shared.get(key)) in (None, "", []):
            yield f"a {platform} without {key}"
    yield from _availability(entry)
    for key, value in entry.items():
        if (key == "topic" or key.endswith("_topic")) and not _is_topic(value):
            yield f"the {key} {value!r}"
    for key, topic in NEEDS.items():
        if key in entry and topic not in entry:
            yield f"{key} without {topic}"
    domain, dot, rest = str(entry.get("default_entity_id", f"{platform}.x")).partition(".")
    if domain != platform or not dot or not rest:
        yield f"the default_entity_id {entry['default_entity_id']!r} is not {platform}.something"
    if entry.get("entity_category") not in (None, "config", "diagnostic"):
        yield f"the entity_category {entry['entity_category']!r}"
    if entry.get("qos", 0) not in (0, 1, 2):
        yield f"the qos {entry['qos']!r}"
    check = _CHECKS.get(platform)
    if check is not None:
        yield from check(entry)


def _sensor(entry: Mapping[str, Any]) -> Iterator[str]:
    device_class, unit, state_class = (
        entry.get(key) for key in ("device_class", "unit_of_measurement", "state_class")
    )
    if entry.get("entity_category") == "config":
        yield "a sensor of entity_category config"
    if "options" in entry:
        if device_class != "enum":
            yield "options without device_class enum"
        if unit is not None or state_class is not None:
            yield "options beside a unit or a state_class"
    elif device_class == "enum":
        yield "device_class enum without options"
    if unit is not None and device_class in UNITS and unit not in UNITS[device_class]:
        yield f"the unit {unit!r} for {device_class}"
    if "last_reset_value_template" in entry and state_class != "total":
        yield "last_reset_value_template without state_class total"


def _number(entry: Mapping[str, Any]) -> Iterator[str]:
    if entry.get("max", 100) < entry.get("min", 1):
        yield "max below min"
    if entry.get("step", 1) < 0.001:
        yield "a step below 0.001"
    if entry.get("mode", "auto") not in ("auto", "box", "slider"):
        yield f"the mode {entry['mode']!r}"


def _text(entry: Mapping[str, Any]) -> Iterator[str]:
    if not 0 <= entry.get("min", 0) <= entry.get("max", 255) <= 255:
        yield "lengths outside 0 to 255"
    if entry.get("mode", "text") not in ("text", "password"):
        yield f"the mode {entry['mode']!r}"


def _event(entry: Mapping[str, Any]) -> Iterator[str]:
    if entry.get("retain"):
        yield "a retained event"


def _device_tracker(entry: Mapping[str, Any]) -> Iterator[str]:
    if "state_topic" not in entry and "json_attributes_topic" not in entry:
        yield "a device_tracker with neither state_topic nor json_attributes_topic"


def _climate(entry: Mapping[str, Any]) -> Iterator[str]:
    if "none" in entry.get("preset_modes", []):
        yield "the preset none"
    if ("preset_modes" in entry) != ("preset_mode_command_topic" in entry):
        yield "preset_modes and preset_mode_command_topic come together"
    for mode in set(entry.get("modes", [])) - MODES:
        yield f"the mode {mode!r}"
    if entry.get("max_temp", 35) < entry.get("min_temp", 7):
        yield "max_temp below min_temp"
    if not 0 <= entry.get("min_humidity", 30) < entry.get("max_humidity", 99) <= 100:
        yield "humidities outside 0 to 100"


_CHECKS = {
    "sensor": _sensor,
    "number": _number,
    "text": _text,
    "event": _event,
    "device_tracker": _device_tracker,
    "climate": _climate,
}


def _is_topic(value: object) -> bool:
    """Whether something is a topic that can be published to (wildcards are for filters only)."""
    return isinstance(value, str) and 0 < len(value.encode()) <= 65535 and not set(value) & set("+#\0")
