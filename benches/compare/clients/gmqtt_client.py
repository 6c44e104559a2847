"""gmqtt on asyncio."""

from __future__ import annotations

import asyncio
from typing import Any

import gmqtt
from control import GO, PAYLOAD, SPEC, Counter, obey, say

QOS, WHAT = SPEC.get("qos", 0), SPEC["what"]
#: Publishes between two looks at the network.
WINDOW = 100
counter = Counter()


def on_message(client: Any, _topic: str, payload: bytes, _qos: int, _properties: Any) -> int:
    text = payload.decode()
    if WHAT == "echo":
        for _ in range(SPEC.get("answers", 1)):
            client.publish("service/bench/pong", text)
    else:
        counter.count()
    return 0


async def main() -> None:
    client = gmqtt.Client("gmqtt-bench")
    client.on_message = on_message
    await client.connect("127.0.0.1", SPEC["port"], version=gmqtt.constants.MQTTv311)
    obey()
    if WHAT == "publish":
        say(ready=True)
        await asyncio.to_thread(GO.wait)
        for number in range(1, SPEC["count"] + 1):
            client.publish("service/bench/out/00000", PAYLOAD, qos=QOS)
            if number % WINDOW == 0:
                # It has nothing to await.
                await asyncio.sleep(0)
    else:
        client.subscribe("service/bench/" + ("ping" if WHAT == "echo" else "in/00000"), qos=QOS)
    await asyncio.Event().wait()


asyncio.run(main())
