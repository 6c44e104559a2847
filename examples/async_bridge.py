"""An HTTP API as MQTT topics: sensors are asked concurrently, commands are handed on.

The API has `GET /sensors/<name>`, which answers with a JSON object, and `PUT /sensors/<name>`, which takes one.
In miqro.yml:

    broker:
      host: localhost
    services:
      async_bridge:
        url: http://192.168.1.20:8080
        sensors: [kitchen, cellar, attic]

Each sensor appears on `service/async_bridge/sensor/<name>`, retained, when it changes; what is published on
`service/async_bridge/set/<name>` is sent to the API, and the answer to `service/async_bridge/set_result/<name>`.
An API that is slow for one sensor holds up neither the others nor the commands.
"""

import asyncio
import json
import urllib.request

import miqro

TIMEOUT_SECONDS = 5


class AsyncBridge(miqro.Service):
    SERVICE_NAME = "async_bridge"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.url = self.service_config["url"].rstrip("/")
        self.sensors = self.service_config["sensors"]
        self.unreachable = set()

    @miqro.loop(seconds=10)
    async def poll(self):
        await asyncio.gather(*(self.poll_one(name) for name in self.sensors))

    async def poll_one(self, name):
        try:
            value = await self.call("GET", name)
        except OSError as error:
            if name not in self.unreachable:
                self.log.warning("%s does not answer: %s", name, error)
            self.unreachable.add(name)
            return
        self.unreachable.discard(name)
        # Not awaited: without a broker the next round of questions would wait for it.
        self.publish(f"sensor/{name}", value, retain=True, qos=1, only_if_changed=True)

    @miqro.handle("set/#", concurrency=4)
    async def command(self, payload, name):
        if name not in self.sensors:
            self.log.warning("there is no sensor %r", name)
            return
        try:
            result = await self.call("PUT", name, payload.encode())
        except OSError as error:
            result = {"error": str(error)}
        await self.publish(f"set_result/{name}", result, qos=1)

    async def call(self, method, name, body=None):
        # The standard library has no asynchronous HTTP client; with aiohttp or httpx there would be no thread.
        return await asyncio.to_thread(self.call_now, method, name, body)

    def call_now(self, method, name, body):
        request = urllib.request.Request(f"{self.url}/sensors/{name}", body, method=method)  # noqa: S310 - of the owner
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310 - as above
            try:
                return json.load(response)
            except ValueError as error:
                raise OSError(f"the answer is not JSON: {error}") from error


if __name__ == "__main__":
    miqro.run(AsyncBridge)
