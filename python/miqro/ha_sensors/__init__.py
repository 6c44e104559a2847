"""Home Assistant discovery: devices and entities of a service, announced over MQTT.

Make a `Device` with the service, and entities with the device; both register themselves:

    device = ha_sensors.Device(self, "Fridge")
    self.door = ha_sensors.BinarySensor(device, "Door", state_topic_postfix="door")
    self.publish(self.door, True)
"""

from __future__ import annotations

from ._common import clean_string
from .climate import ClimateController
from .controls import Button, Number, Select, Switch, Text
from .device import Device
from .entity import Entity, EntityWithoutStateTopic
from .sensors import BinarySensor, DeviceTracker, Event, Sensor

__all__ = [
    "BinarySensor",
    "Button",
    "ClimateController",
    "Device",
    "DeviceTracker",
    "Entity",
    "EntityWithoutStateTopic",
    "Event",
    "Number",
    "Select",
    "Sensor",
    "Switch",
    "Text",
    "clean_string",
]
