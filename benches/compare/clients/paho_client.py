"""paho-mqtt 2 with its own network thread."""

from __future__ import annotations

import threading
from typing import Any

import paho.mqtt.client as paho
from control import GO, PAYLOAD, SPEC, Counter, obey, say

QOS, WHAT = SPEC.get("qos", 0), SPEC["what"]
connected = threading.Event()
counter = Counter()
client = paho.Client(paho.CallbackAPIVersion.VERSION2, "paho-bench")


def on_connect(*_: Any) -> None:
    if WHAT == "receive":
        client.subscribe("service/bench/in/00000", QOS)
    elif WHAT == "echo":
        client.subscribe("service/bench/ping")
    connected.set()


def count(_client: Any, _data: Any, message: Any) -> None:
    message.payload.decode()
    counter.count()


def echo(_client: Any, _data: Any, message: Any) -> None:
    for _ in range(SPEC.get("answers", 1)):
        client.publish("service/bench/pong", message.payload.decode())


client.on_connect = on_connect
client.on_message = echo if WHAT == "echo" else count
client.connect("127.0.0.1", SPEC["port"])
obey()
if WHAT == "publish":
    client.loop_start()
    connected.wait()
    say(ready=True)
    GO.wait()
    for _ in range(SPEC["count"]):
        client.publish("service/bench/out/00000", PAYLOAD, QOS)
    threading.Event().wait()
else:
    client.loop_forever()
