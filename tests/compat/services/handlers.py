"""Services about handlers, as their owners wrote them for 1.x."""

import sys
import threading

import miqro


class Echo(miqro.Service):
    SERVICE_NAME = "h_echo"

    @miqro.handle("echo")
    def my_echo_handler(self, payload):
        self.publish("echo_response", payload)


class Postfix(miqro.Service):
    SERVICE_NAME = "h_postfix"

    @miqro.handle("sms/send/#")
    def send_sms(self, payload, topic_postfix):
        self.publish("sent", f"{topic_postfix}: {payload}")

    @miqro.handle_global("h_postfix/devices/TPMS/#")
    def handle_tpms(self, payload, topic_postfix):
        self.publish("tpms", f"{topic_postfix}: {payload}")

    @miqro.handle_global("h_postfix/Oregon-v1/temperature_C")
    def handle_temperature(self, payload):
        self.publish("temperature", payload)


class Parent(miqro.Service):
    """`set/#` is also about `set`."""

    SERVICE_NAME = "h_parent"

    @miqro.handle("set/#")
    def set_something(self, payload, what):
        self.publish("got", f"{what!r} {payload}")


class Plus(miqro.Service):
    SERVICE_NAME = "h_plus"

    @miqro.handle("room/+/light")
    def light(self, payload):
        self.publish("light", payload)

    @miqro.handle("end")
    def end(self, payload):
        self.publish("ended", payload)


class Text(miqro.Service):
    """Says what it got, as Python shows it."""

    SERVICE_NAME = "h_text"

    @miqro.handle("text")
    def text(self, payload):
        self.publish("repr", ascii(payload))


class Overlap(miqro.Service):
    """Several handlers for one topic."""

    SERVICE_NAME = "h_overlap"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.calls = []
        self.add_handler("go", self.third)
        self.add_handler("go", self.third)

    @miqro.handle("go")
    def first(self, payload):
        self.calls.append("first")

    @miqro.handle("go")
    def second(self, payload):
        self.calls.append("second")

    def third(self, svc, payload):
        assert svc is self
        self.calls.append("third")

    @miqro.handle_global("service/h_overlap/go")
    def whole(self, payload):
        self.calls.append("global")

    @miqro.handle("report")
    def report(self, payload):
        self.publish("calls", self.calls)


class Unhandled(miqro.Service):
    """Subscribes to more than it has handlers for."""

    SERVICE_NAME = "h_unhandled"

    def _on_connect(self, client, userdata, flags, rc):
        client.subscribe("service/h_unhandled/by_hand/#")
        client.subscribe("service/h_unhandled/by_hand_nobody")
        super()._on_connect(client, userdata, flags, rc)

    def handle_message(self, topic, payload):
        if topic.endswith("nobody"):
            return False
        self.publish("handled", f"{topic}={payload}")
        return True

    @miqro.handle("end")
    def end(self, payload):
        self.publish("ended", payload)


class Switch(miqro.Service):
    """Somebody sends to its topic `enabled`."""

    SERVICE_NAME = "h_switch"

    @miqro.handle("ping")
    def ping(self, payload):
        self.publish("pong", payload)


class Json(miqro.Service):
    SERVICE_NAME = "h_json"

    @miqro.handle("set")
    @miqro.accept_json
    def set_light(self, brightness, color="white", **more):
        self.publish("light", f"{brightness!r} {color!r} {sorted(more.items())!r}")

    @miqro.handle("end")
    def end(self, payload):
        self.publish("ended", payload)


class BadJson(Json):
    SERVICE_NAME = "h_malformed"


class JsonPostfix(miqro.Service):
    SERVICE_NAME = "h_below"

    @miqro.handle("lamp/#")
    @miqro.accept_json
    def lamp(self, which, brightness):
        self.publish("lamp_set", f"{which} {brightness}")


class Raises(miqro.Service):
    """One bad message, then a good one."""

    SERVICE_NAME = "h_raises"

    @miqro.handle("divide")
    def divide(self, payload):
        self.publish("quotient", str(1 / int(payload)))


class Stacked(miqro.Service):
    """Two decorators on one method."""

    SERVICE_NAME = "h_stacked"

    @miqro.handle("one")
    @miqro.handle("two")
    def both(self, payload):
        self.publish("both", payload)


class Callable(miqro.Service):
    """A handler is called like any method."""

    SERVICE_NAME = "h_callable"

    @miqro.handle("direct")
    def direct(self, payload):
        self.publish("direct_done", payload)

    @miqro.handle("indirect")
    def indirect(self, payload):
        self.direct(payload + "!")


class Base(miqro.Service):
    @miqro.handle("common")
    def common(self, payload):
        self.publish("common_done", payload)

    @miqro.loop(seconds=3600)
    def common_loop(self):
        self.log.info("common loop")


class Derived(Base):
    """Inherits a handler and a loop, and adds its own."""

    SERVICE_NAME = "h_derived"

    @miqro.handle("own")
    def own(self, payload):
        self.publish("own_done", payload)


class Overridden(miqro.Service):
    @miqro.handle("common")
    def common(self, payload):
        self.publish("common_done", payload)


class Overriding(Overridden):
    """Overrides an inherited handler, and decorates it again."""

    SERVICE_NAME = "h_overriding"

    @miqro.handle("common")
    def common(self, payload):
        self.publish("common_done", "overridden " + payload)


class Parents(miqro.Service):
    @miqro.handle("common")
    def common(self, payload):
        self.publish("common_done", payload)


class Elder(Parents):
    """Has nothing of its own; what its sibling adds is not its business."""

    SERVICE_NAME = "h_elder"


class Younger(Parents):
    SERVICE_NAME = "h_younger"

    @miqro.handle("younger")
    def younger(self, payload):
        self.publish("younger_done", payload)


class Lamp(miqro.Service):
    @miqro.handle("lamp")
    def lamp(self, payload):
        self.publish("lamp_done", payload)


class Fan(miqro.Service):
    @miqro.handle("fan")
    def fan(self, payload):
        self.publish("fan_done", payload)


class Mixed(Lamp, Fan):
    """Made of two mixins."""

    SERVICE_NAME = "h_mixed"

    @miqro.handle("own")
    def own(self, payload):
        self.publish("own_done", payload)


class Later(miqro.Service):
    """Registers handlers in `__init__`, and more at run time."""

    SERVICE_NAME = "h_later"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.add_handler("early", self.early)
        self.add_global_handler("h_later/early/#", self.early_global)

    def early(self, svc, payload):
        self.publish("early_done", payload)

    def early_global(self, svc, payload, rest):
        self.publish("early_global_done", f"{rest} {payload}")

    @miqro.handle("add")
    def add(self, payload):
        self.add_handler(payload, lambda svc, text: svc.publish("late_done", text))
        self.add_global_handler("h_later/" + payload, late_global)
        self.publish("added", payload)


def late_global(svc, payload):
    svc.publish("late_global_done", payload)


class Appended(miqro.Service):
    """Writes into the list of handlers itself."""

    SERVICE_NAME = "h_appended"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for name in ("red", "green"):
            self.mqtt_handlers.append(
                (f"color/{name}", lambda svc, payload, name=name: svc.color(name, payload))
            )

    def color(self, name, payload):
        self.publish("color", f"{name} {payload}")


class BoundOneArgument(miqro.Service):
    """A bound method without the service: the way that 1.x did not know."""

    SERVICE_NAME = "h_bound"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.add_handler("bound", self.bound)

    def bound(self, payload):
        self.publish("bound_done", payload)


class Umlaut(miqro.Service):
    SERVICE_NAME = "h_küche"

    @miqro.handle("tür/öffnen")
    def open_door(self, payload):
        self.log.info("Tür geöffnet für %s", payload)
        self.publish("tür/zustand", f"geöffnet für {payload} \N{DOOR}")
        self.publish("tür/json", {"tür": payload, "größe": [1.5, "ß"]})
        self.publish_json_keys({"schlüssel": {"groß": "Ä"}}, "tür")


class Watching(miqro.Service):
    """Overrides what the client calls."""

    SERVICE_NAME = "h_watching"
    count = 0

    def _on_message(self, client, userdata, msg):
        self.count += 1
        if not msg.topic.endswith("ignored"):
            super()._on_message(client, userdata, msg)

    @miqro.handle("ignored")
    def ignored(self, payload):
        self.publish("never", payload)

    @miqro.handle("seen")
    def seen(self, payload):
        self.publish("count", self.count)


class Thread(miqro.Service):
    """Asks which thread it is on."""

    SERVICE_NAME = "h_thread"

    @miqro.handle("who")
    def who(self, payload):
        self.publish("on_main_thread", str(threading.current_thread() is threading.main_thread()))

    @miqro.loop(milliseconds=20)
    def loop_who(self):
        if self.is_connected:
            self.publish("loop_on_main_thread", str(threading.current_thread() is threading.main_thread()))
            return False


class Waits(miqro.Service):
    """A handler waits for what a loop does."""

    SERVICE_NAME = "h_waits"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.asked = threading.Event()
        self.answered = threading.Event()

    @miqro.handle("ask")
    def ask(self, payload):
        self.asked.set()
        self.publish("answered", str(self.answered.wait(0.5)))

    @miqro.loop(milliseconds=20)
    def work(self):
        if self.asked.is_set():
            self.answered.set()


class BadFilter(miqro.Service):
    """A filter that MQTT does not allow."""

    SERVICE_NAME = "h_filter"

    @miqro.handle("add")
    def add(self, payload):
        try:
            self.add_handler("a/#/b", lambda svc, payload: None)
        except ValueError as error:
            self.publish("refused", type(error).__name__)


class NoPayload(miqro.Service):
    """A handler that forgot the payload, and one that did not."""

    SERVICE_NAME = "h_forgot"

    @miqro.handle("reset")
    def reset(self):
        self.publish("reset_done", "1")

    @miqro.handle("ping")
    def ping(self, payload):
        self.publish("pong", payload)


if __name__ == "__main__":
    globals()[sys.argv.pop(1)]().run()
