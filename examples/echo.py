"""An echo service: what is sent to service/echo/echo comes back on service/echo/echo_response.

Run it:     cd examples && python echo.py      (it reads miqro.yml from there; Ctrl-C ends it)
Listen:     mosquitto_sub -v -t 'service/echo/#'
Speak:      mosquitto_pub -t service/echo/echo -m hello

`make demo` runs this file and shows what happens.
"""

import miqro


class EchoSvc(miqro.Service):
    SERVICE_NAME = "echo"

    @miqro.handle("echo")
    def my_echo_handler(self, payload):
        self.publish("echo_response", payload)

    @miqro.loop(seconds=2)
    def do_something(self):
        self.publish("foo", "bar")
        self.publish_json(
            "foofoo",
            {"answer": 42.01, "config_demo": self.service_config["custom_value"]},
        )


if __name__ == "__main__":
    echosvc = EchoSvc()
    echosvc.run()
