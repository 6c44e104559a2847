"""A sensor: it measures in a loop, sends what has changed, and remembers its highest value over restarts.

Run it:     cd examples && python sensor.py    (it reads miqro.yml from there, and keeps its state in ./sensor.yaml)
Listen:     mosquitto_sub -v -t 'service/sensor/#'
Reset:      mosquitto_pub -t service/sensor/reset -n
"""

import os
from datetime import timedelta
from pathlib import Path

import miqro


class StateHere(miqro.State):
    # The default, /var/lib/miqro/data, is for services that the system runs.
    DATA_ROOT = Path.cwd()


class Sensor(miqro.Service):
    SERVICE_NAME = "sensor"
    USE_STATE_FILE = True

    @miqro.loop(seconds=5)
    def measure(self):
        load = os.getloadavg()[0]
        # Floats are rounded to JSON_FLOAT_PRECISION decimals, then compared with what was sent last.
        self.publish("load", load, only_if_changed=True)
        # Sent when it changes, and at least every ten minutes, for who listens to nothing else.
        self.publish("busy", load > os.cpu_count(), retain=True, only_if_changed=timedelta(minutes=10))
        if load > self.state.get_path("load", "highest", 0.0):
            self.state.set_path("load", "highest", load)
            self.state.save()
            self.publish_json("highest", {"load": load}, retain=True)

    @miqro.handle("reset")
    def reset(self, _payload):
        self.state.set_path("load", "highest", 0.0)
        self.state.save()


if __name__ == "__main__":
    Sensor(state_cls=StateHere).run()
