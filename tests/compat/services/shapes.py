"""Shapes that services have in the field, as their owners wrote them for 1.x."""

import fcntl
import logging
import os
import select
import sys
import threading
import time
import tty
from datetime import timedelta
from pathlib import Path

import miqro


class OwnStep(miqro.Service):
    """Overrides `_loop_step` with a blocking read of a device."""

    SERVICE_NAME = "r_step"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.device, self.far_end = os.pipe()

    def _loop_step(self):
        ready, _, _ = select.select([self.device], [], [], 0.02)
        if ready:
            self.publish("read", os.read(self.device, 100).decode())
        for loop in self.LOOPS:
            loop.run_if_needed(self)

    @miqro.handle("write")
    def write(self, payload):
        os.write(self.far_end, payload.encode())

    @miqro.loop(hours=1)
    def hourly(self):
        self.log.info("hourly")


class StepAndMore(miqro.Service):
    """Overrides `_loop_step`, does its own work, and calls the original."""

    SERVICE_NAME = "r_super"
    steps = 0

    def _loop_step(self):
        self.steps += 1
        super()._loop_step()

    @miqro.handle("report")
    def report(self, payload):
        self.publish("stepped", str(self.steps > 0))


class Meter(miqro.Service):
    """Reads lines from a serial port in a loop; the port is a pseudo terminal."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        master, slave = os.openpty()
        tty.setraw(slave)
        self.port, self.meter = slave, master
        flags = fcntl.fcntl(slave, fcntl.F_GETFL)
        fcntl.fcntl(slave, fcntl.F_SETFL, flags | os.O_NONBLOCK)
        self.buffer = b""

    @miqro.handle("meter")
    def from_the_meter(self, payload):
        """What the test says is what the meter sends."""
        os.write(self.meter, payload.encode() + b"\r\n")

    @miqro.loop(milliseconds=10)
    def read(self):
        try:
            self.buffer += os.read(self.port, 4096)
        except BlockingIOError:
            return
        *lines, self.buffer = self.buffer.split(b"\r\n")
        for line in lines:
            self.publish("line", line.decode())


class Serial(Meter):
    SERVICE_NAME = "r_serial"


class WaitsForPort(Meter):
    """Waits on the port itself, where the version of miqro has `_wait_for_work`; 1.3.0 never calls that."""

    SERVICE_NAME = "r_waits"
    waited = False

    def _wait_for_work(self, timeout):
        self.waited = True
        select.select([self.port], [], [], 0.05 if timeout is None else min(timeout, 0.05))

    def handle_message(self, topic, payload):
        self.publish("waited", str(self.waited))
        return True

    def _on_connect(self, client, *args):
        client.subscribe("service/r_waits/by_hand")
        super()._on_connect(client, *args)


class Awaiting(miqro.Service):
    """An `async def` handler, whose coroutine 1.3.0 makes and forgets."""

    SERVICE_NAME = "r_awaiting"

    @miqro.handle("ask")
    async def ask(self, payload):
        self.publish("answer", payload)

    @miqro.handle("plain")
    def plain(self, payload):
        self.publish("plain_answer", payload)


class Threaded(miqro.Service, threading.Thread):
    """A service that is a thread."""

    SERVICE_NAME = "r_thread"

    def __init__(self, path=None):
        threading.Thread.__init__(self)
        miqro.Service.__init__(self, path)

    def run(self):
        miqro.Service.run(self)
        print("run returned")

    @miqro.handle("who")
    def who(self, payload):
        self.publish("alive", str(self.is_alive()))

    @miqro.handle("stop")
    def stop_it(self, payload):
        self.stop = True

    @classmethod
    def main(cls):
        service = cls()
        service.start()
        service.join(30)
        print("joined", not service.is_alive())


class Poller:
    """A helper that brings a loop of its own."""

    def __init__(self, service, name):
        self.service = service
        self.name = name
        self.loop = miqro.Loop(self.poll, timedelta(milliseconds=10), start=False)
        service.add_loop(self.loop)
        service.add_handler(f"{name}/start", self.on_start)
        service.add_handler(f"{name}/stop", self.on_stop)
        self.left = 0

    def on_start(self, service, payload):
        self.left = int(payload)
        self.loop.start()

    def on_stop(self, service, payload):
        self.loop.stop()
        service.publish(f"{self.name}/stop_done", str(self.loop.next_call))

    def poll(self, service):
        service.publish(f"{self.name}/left", self.left)
        self.left -= 1
        return self.left > 0


class Helpers(miqro.Service):
    """Made of helpers."""

    SERVICE_NAME = "r_helpers"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.pollers = [Poller(self, name) for name in ("links", "rechts")]


class Shared(miqro.Service):
    """A class attribute that is shared by mistake, by two instances in one process."""

    SERVICE_NAME = "r_shared"
    seen = []

    @miqro.handle("see")
    def see(self, payload):
        self.seen.append(payload)
        self.publish("seen", self.seen)

    @classmethod
    def main(cls):
        first = cls(log_level=logging.INFO)
        first.seen.append("by the first")
        second = cls()
        print(len(first.mqtt_handlers), len(second.mqtt_handlers), len(first.LOOPS), len(second.LOOPS))
        print(first.mqtt_handlers is second.mqtt_handlers, first.last_key_values is second.last_key_values)
        second.run()


class Rerun(miqro.Service):
    """`run()` a second time, on a new instance, in one process."""

    SERVICE_NAME = "r_again"

    @miqro.handle("stop")
    def stop_it(self, payload):
        self.stop = True

    @classmethod
    def main(cls):
        for number in range(2):
            service = cls()
            service.publish_number = number
            service.run()
            print("ended", number)
            # Two runs of one client id must not overlap; 1.x leaves its connection open.
            service.mqtt_client.disconnect()


class Attributes(miqro.Service):
    """Uses attribute names that a library may want for itself."""

    SERVICE_NAME = "r_names"

    def __init__(self, *args, **kwargs):
        self._session = self._wake = self._router = self._dispatcher = self._loop = "mine"
        super().__init__(*args, **kwargs)
        self._client = self._queue = self._thread = self._lock = self._timer = self._handlers = "mine"
        self._stop = self._running = self._connected = self._last = self._sending = self._birth = "mine"

    @miqro.handle("report")
    def report(self, payload):
        own = {
            name: value for name, value in self.__dict__.items() if name.startswith("_") and value == "mine"
        }
        self.publish("names", len(own), only_if_changed=True)


class Background(miqro.Service):
    """A thread of its own that publishes, and stops the service in the end."""

    SERVICE_NAME = "r_background"

    def work(self):
        for number in range(10):
            self.publish("measured", number)
        self.publish("measured/done", "1", qos=1)

    @miqro.handle("start")
    def start_thread(self, payload):
        threading.Thread(target=self.work, daemon=True).start()


class Waiting(miqro.Service):
    """Keeps what it got in a dict, and works it off in a loop."""

    SERVICE_NAME = "r_waiting"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.pending = {}

    @miqro.handle("set/#")
    def take(self, payload, key):
        self.pending[key] = (payload, time.monotonic())

    @miqro.loop(milliseconds=20)
    def work_off(self):
        for key in sorted(self.pending):
            payload, _since = self.pending.pop(key)
            self.publish(f"state/{key}", payload, retain=True, only_if_changed=timedelta(minutes=5))


class Backwards(miqro.Service):
    """A retained command waits for it."""

    SERVICE_NAME = "r_retained"

    @miqro.handle("mode")
    def mode(self, payload):
        self.publish("mode_is", payload)

    @miqro.handle_global("r_retained/weather/#")
    def weather(self, payload, what):
        self.publish("weather", f"{what}={payload}")


class Instance(miqro.Service):
    """Sets on the instance what is meant for the class, reads its file by itself, has a property and slots of names."""

    SERVICE_NAME = "r_instance"

    def __init__(self, *args, **kwargs):
        self.JSON_FLOAT_PRECISION = 2
        self.MQTT_ONLINE_UPDATE_INTERVAL = 3600
        super().__init__(*args, **kwargs)
        self.PAYLOAD_ON = "an"
        self.text = Path(self.config["broker"]["host"]).name

    @property
    def value(self):
        return 1.23456

    @miqro.handle("report")
    def report(self, payload):
        self.publish("value", self.value)
        self.publish("json", {"value": self.value})
        self.publish("on", True)
        self.publish("host", self.text)


if __name__ == "__main__":
    service = globals()[sys.argv.pop(1)]
    (service.main if hasattr(service, "main") else lambda: service().run())()
