"""Services that announce devices to Home Assistant, as their owners wrote them for 1.x."""

import sys

import miqro
from miqro import ha_sensors


class Sensors(miqro.Service):
    """A device with sensors of several kinds, with umlauts."""

    SERVICE_NAME = "ha_sensors"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.boiler = ha_sensors.Device(
            self, "Heizung Küche", model="X-1", manufacturer="ACME", sw_version="1.2", suggested_area="Küche"
        )
        self.temperature = ha_sensors.Sensor(
            self.boiler,
            "Temperatur außen",
            state_topic_postfix="temperature",
            device_class="temperature",
            unit_of_measurement="°C",
            state_class="measurement",
            suggested_display_precision=1,
        )
        self.mode = ha_sensors.Sensor(
            self.boiler, "Mode", state_topic_postfix="mode", options=["eco", "full"]
        )
        self.hub = ha_sensors.Device(
            self,
            "Hub",
            via_device=self.boiler,
            identifiers=["hub-1"],
            connections=[("mac", "02:5b:26:a8:dc:12")],
        )
        self.event = ha_sensors.Event(self.hub, "Button", state_topic_postfix="event", event_types=["press"])

    @miqro.handle("go")
    def go(self, payload):
        self.publish(self.temperature, 21.25, only_if_changed=True)
        self.publish(self.temperature, 21.25, only_if_changed=True)
        self.publish(self.mode, "eco", retain=True)
        self.publish_json(self.event, {"event_type": "press"})
        self.publish("done", "1")


class NoDevice(miqro.Service):
    """An entity without a device."""

    SERVICE_NAME = "ha_nodevice"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.uptime = ha_sensors.Sensor(None, "Uptime", service=self, state_topic_postfix="uptime")

    @miqro.handle("go")
    def go(self, payload):
        self.publish(self.uptime, 12)


class Controls(miqro.Service):
    """A switch, a number, a select, a text and a button, with callbacks."""

    SERVICE_NAME = "ha_controls"
    is_on = False

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        device = ha_sensors.Device(self, "Pump")
        self.power = ha_sensors.Switch(
            device,
            "Power",
            state_topic_postfix="power",
            command_topic_postfix="power/set",
            command_callback=self.toggle,
        )
        self.level = ha_sensors.Number(
            device,
            "Level",
            state_topic_postfix="level",
            command_topic_postfix="level/set",
            command_callback=self.set_level,
            min=0,
            max=10,
        )
        ha_sensors.Select(
            device,
            "Program",
            state_topic_postfix="program",
            command_topic_postfix="program/set",
            options=["a", "b"],
        )
        ha_sensors.Text(device, "Note", state_topic_postfix="note", command_topic_postfix="note/set")
        ha_sensors.Button(device, "Reset", command_topic_postfix="reset")

    def toggle(self, svc, payload):
        self.is_on = not self.is_on
        self.publish(self.power, self.is_on)

    def set_level(self, svc, payload):
        self.publish(self.level, float(payload))

    @miqro.handle("end")
    def end(self, payload):
        self.publish("ended", payload)


class LooseSwitch(miqro.Service):
    """A switch without a device, with a callback."""

    SERVICE_NAME = "ha_loose"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        try:
            self.lamp = ha_sensors.Switch(
                None,
                "Lamp",
                service=self,
                state_topic_postfix="lamp",
                command_topic_postfix="lamp/set",
                command_callback=lambda svc, payload: svc.publish("lamp", payload),
            )
        except AttributeError as error:
            print(type(error).__name__)

    @miqro.handle("end")
    def end(self, payload):
        self.publish("ended", payload)


class Binary(miqro.Service):
    """Binary sensors with payloads of their own, and without."""

    SERVICE_NAME = "ha_binary"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        device = ha_sensors.Device(self, "Door")
        self.own = ha_sensors.BinarySensor(
            device, "Own", state_topic_postfix="own", payload_on="open", payload_off="closed"
        )
        self.plain = ha_sensors.BinarySensor(device, "Plain", state_topic_postfix="plain", off_delay=3)
        self.switch = ha_sensors.Switch(
            device, "Latch", state_topic_postfix="latch", command_topic_postfix="latch/set"
        )

    @miqro.handle("go")
    def go(self, payload):
        for entity in (self.plain, self.switch, self.own):
            self.publish(entity, True)
            self.publish(entity, False)
        self.publish("done", "1")


class Thermostat(miqro.Service):
    """A climate controller; modes have no callback in 1.x, so the handler is its own."""

    SERVICE_NAME = "ha_climate"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        device = ha_sensors.Device(self, "Room")
        self.climate = ha_sensors.ClimateController(
            device,
            "Heating",
            current_temperature_topic_postfix="current",
            mode_command_topic_postfix="mode/set",
            mode_state_topic_postfix="mode",
            modes=["off", "heat"],
            temperature_command_topic_postfix="target/set",
            temperature_state_topic_postfix="target",
            min_temp=5,
            max_temp=30,
            temp_step=0.5,
        )
        self.tracker = ha_sensors.DeviceTracker(device, "Phone", json_attributes_topic_postfix="phone")

    @miqro.handle("mode/set")
    def set_mode(self, payload):
        self.publish("mode", payload)


class Elsewhere(miqro.Service):
    """Another discovery prefix, a `data_topic`."""

    SERVICE_NAME = "ha_elsewhere"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        ha_sensors.Sensor(ha_sensors.Device(self, "Meter"), "Power", state_topic_postfix="power")


class Born(miqro.Service):
    """Home Assistant is restarted."""

    SERVICE_NAME = "ha_born"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        ha_sensors.Sensor(ha_sensors.Device(self, "Meter"), "Power", state_topic_postfix="power")

    @miqro.handle("go")
    def go(self, payload):
        self.publish("done", payload)


class Listens(miqro.Service):
    """Has a handler of its own for Home Assistant's status."""

    SERVICE_NAME = "ha_listens"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        ha_sensors.Sensor(ha_sensors.Device(self, "Meter"), "Power", state_topic_postfix="power")

    @miqro.handle_global("ha_listens_discovery/status")
    def status(self, payload):
        self.publish("status", payload)


class First(miqro.Service):
    """Two services with devices in one process."""

    SERVICE_NAME = "ha_first"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        ha_sensors.Device(self, "Mine")
        other = type("Other", (miqro.Service,), {"SERVICE_NAME": "ha_first_other"})(log_level=20)
        ha_sensors.Device(other, "Theirs")
        print(len(self.ha_devices), len(other.ha_devices))


class Merged(miqro.Service):
    """Two devices share a list of identifiers; a select has nobody to command."""

    SERVICE_NAME = "ha_merged"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        serials = ["serial-1"]
        first = ha_sensors.Device(self, "One", identifiers=serials)
        ha_sensors.Device(self, "Two", identifiers=serials)
        ha_sensors.Select(first, "Program", state_topic_postfix="program", options=["a"])
        print(serials)


class OwnDiscovery(miqro.Service):
    """Overrides `_publish_ha_discovery`."""

    SERVICE_NAME = "ha_own"

    def _publish_ha_discovery(self):
        super()._publish_ha_discovery()
        self.publish_json("homeassistant/sensor/ha_own/config", {"by": "hand"}, retain=True, global_=True)


if __name__ == "__main__":
    globals()[sys.argv.pop(1)]().run()
