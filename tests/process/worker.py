"""A service that does on command what services do, and what they should not do; tests run it as a process.

Environment: ``NAME`` (SERVICE_NAME), ``TICK`` (seconds between the calls of its loop, 0 for no loop), and
``OVERRIDES``: class attributes, as ``KEY=VALUE;KEY=VALUE``.
"""

from __future__ import annotations

import ast
import os
import threading
import time

import miqro


class Worker(miqro.Service):
    """Every handler answers, so that a test can wait for it."""

    SERVICE_NAME = os.environ.get("NAME", "worker")

    ticks = 0

    @miqro.handle("echo")
    def on_echo(self, payload: str) -> None:
        """Answer at QoS 1."""
        self.publish("echo_response", payload, qos=self.QOS_AT_LEAST_ONCE)

    @miqro.handle("fail")
    def on_fail(self, payload: str) -> None:
        """Be a handler with a defect."""
        raise RuntimeError(f"this handler fails on {payload}")

    @miqro.handle("sleep")
    def on_sleep(self, payload: str) -> None:
        """Block the service."""
        self.publish("sleeping", payload)
        time.sleep(float(payload))
        self.publish("slept", payload, qos=self.QOS_AT_LEAST_ONCE)

    @miqro.handle("burst/#")
    def on_burst(self, payload: str, remainder: str) -> None:
        """Publish so many numbers at the QoS named by the topic."""
        for number in range(int(payload)):
            self.publish("number", str(number), qos=int(remainder))

    @miqro.handle("stop")
    def on_stop(self, _payload: str) -> None:
        """Leave from inside a handler."""
        self.publish("last_words", "goodbye", qos=self.QOS_AT_LEAST_ONCE)
        self.stop = True

    @miqro.handle("stop_from_thread")
    def on_stop_from_thread(self, _payload: str) -> None:
        """Leave on the word of another thread, a moment later."""

        def leave() -> None:
            self.stop = True

        threading.Timer(0.2, leave).start()

    @miqro.handle_global("secret/#")
    def on_secret(self, payload: str, _remainder: str) -> None:
        """Hear what a broker may forbid to hear."""
        self.publish("secret_heard", payload)

    @miqro.handle("health")
    def on_health(self, _payload: str) -> None:
        """Tell the health record."""
        self.publish_json("health_record", {"failures": self.failure_count, "healthy": self.healthy()})


if float(os.environ.get("TICK", "0")):

    class Worker(Worker):  # type: ignore[no-redef]
        """The same, with a loop."""

        @miqro.loop(seconds=float(os.environ["TICK"]))
        def tick(self) -> None:
            """Count, also where no broker hears it."""
            self.ticks += 1
            print("tick", self.ticks)
            self.publish("tick", self.ticks, qos=1)


for pair in filter(None, os.environ.get("OVERRIDES", "").split(";")):
    key, _, value = pair.partition("=")
    setattr(Worker, key, ast.literal_eval(value))

if __name__ == "__main__":
    service = Worker()
    service.run()
    print("run() has returned")
