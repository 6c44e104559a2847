"""Services about publishing, as their owners wrote them for 1.x."""

import sys
import threading
from collections import OrderedDict
from datetime import timedelta

import miqro


class Types(miqro.Service):
    """Everything that can be published, each on its topic."""

    SERVICE_NAME = "p_types"
    VALUES = {
        "str": " as is \n",
        "empty": "",
        "umlaut": "ä\u20ac\U0001f600",
        "true": True,
        "false": False,
        "none": None,
        "int": 42,
        "negative": -7,
        "big": 10**30,
        "float_short": 1.5,
        "float_whole": 3.0,
        "float_inf": float("inf"),
        "float_nan": float("nan"),
        "float_large": 1e16,
        "bytes": b"\x00\xffraw",
        "bytearray": bytearray(b"array"),
        "dict": {"a": 1, "b": [True, None, "x"]},
        "list": [1, 2.5, "three"],
        "empty_dict": {},
        "empty_list": [],
    }

    @miqro.handle("go")
    def go(self, payload):
        for name, value in self.VALUES.items():
            self.publish(name, value)
        self.publish("done", "1")


class MoreTypes(Types):
    """What 1.x could not send, and said so in the log."""

    SERVICE_NAME = "p_more"
    VALUES = {
        "tuple": (1, 2.5),
        "ordered": OrderedDict(b=1, a=2),
        "set": {1},
        "object": timedelta(seconds=1),
        "complex": 1j,
    }


class Precision(Types):
    """Floats, with the default precision."""

    SERVICE_NAME = "p_floats"
    VALUES = {
        "pi": 3.14159265,
        "same": 20.25,
        "tiny": 0.00001,
        "json": {"deep": [{"x": 2.718281828}]},
        "in_list": [1 / 3],
    }


class OldPrecision(Precision):
    """The precision that 1.x had, set by hand."""

    SERVICE_NAME = "p_four"
    JSON_FLOAT_PRECISION = 4


class OnOff(miqro.Service):
    """Payloads of its own for truth values."""

    SERVICE_NAME = "p_onoff"
    PAYLOAD_ON = "ON"
    PAYLOAD_OFF = "OFF"

    @miqro.handle("go")
    def go(self, payload):
        self.publish("on", True, retain=True)
        self.publish("off", False)
        self.publish("json", [True, False])
        self.publish("done", "1")


class JsonText(miqro.Service):
    """Objects as JSON, byte for byte."""

    SERVICE_NAME = "p_json"

    @miqro.handle("go")
    def go(self, payload):
        objects = [
            {"answer": 42.01, "text": 'quo"te\\ \n\t\x00\x7f'},
            {"umlaut": "äöü", "astral": "\U0001f600", "nested": {"list": [[], {}, [[1]]]}},
            {1: "int", 2.5: "float", False: "bool", None: "none"},
            [10**20, -(10**20), 1e16, 1e-3, 1e22, 100000.0, -0.0, float("nan"), float("inf")],
            "text",
            None,
            True,
            (1, (2, 3)),
        ]
        for number, item in enumerate(objects):
            self.publish_json(f"object/{number}", item)
        try:
            self.publish_json("object/bad", {"x": object()})
        except TypeError as error:
            self.publish("refused", type(error).__name__)
        self.publish("done", "1")


class Keys(miqro.Service):
    SERVICE_NAME = "p_keys"

    @miqro.handle("go")
    def go(self, payload):
        self.publish_json_keys({"answer": 42, "deep": {"er": {"x": 1}, "list": [1, {"y": 2}]}, "none": None})
        self.publish_json_keys({"answer": True, "umlautä": "ß"}, "below")
        self.publish_json_keys({"a": 1}, "p_keys/global", retain=True, global_=True)
        self.publish_json_keys({}, "nothing")
        self.publish("done", "1")


class IntKeys(miqro.Service):
    SERVICE_NAME = "p_numbers"

    @miqro.handle("go")
    def go(self, payload):
        try:
            self.publish_json_keys({1: "one", "two": 2}, "relay")
        except TypeError as error:
            self.publish("refused", type(error).__name__)
        self.publish("done", "1")


class Flags(miqro.Service):
    """retain, qos and global_, through all three methods."""

    SERVICE_NAME = "p_flags"

    @miqro.handle("go")
    def go(self, payload):
        self.publish("plain", "1", retain=True, qos=self.QOS_AT_LEAST_ONCE)
        self.publish("plain", "2", True, self.QOS_EXACTLY_ONCE)
        self.publish("p_flags/plain", "3", global_=True, qos=1)
        self.publish_json("json", [1], retain=True)
        self.publish_json("p_flags/json", [2], global_=True)
        self.publish_json_keys({"a": 1}, "keys", retain=True)
        self.publish("done", "1")


class LostFlags(miqro.Service):
    """Those that 1.x lost on the way."""

    SERVICE_NAME = "p_lost"

    @miqro.handle("go")
    def go(self, payload):
        self.publish_json("json", [1], qos=1)
        self.publish("dict", {"a": 1}, qos=1)
        self.publish("p_lost/global", {"a": 1}, global_=True)
        self.publish_json_keys({"a": 1}, "keys", qos=1)
        self.publish("done", "1")


class Changed(miqro.Service):
    """Sends what has changed."""

    SERVICE_NAME = "p_changed"

    @miqro.handle("go")
    def go(self, payload):
        for value in (1, 1, 2, 2, 1, "1", 1.0, 1.000001):
            self.publish("value", value, only_if_changed=True)
        for value in ([1], [1], {"a": 0.1}, {"a": 0.1}):
            self.publish_json("json", value, only_if_changed=True)
        self.publish_json_keys({"a": 1, "b": {"c": 2}}, only_if_changed=True)
        self.publish_json_keys({"a": 1, "b": {"c": 3}}, only_if_changed=True)
        self.publish("value", 1)
        self.publish("truth", True, only_if_changed=True)
        self.publish("truth", True, only_if_changed=True)
        self.publish("done", "1")


class Aged(miqro.Service):
    """Sends what has changed, or is old; the second time the age has passed for certain."""

    SERVICE_NAME = "p_aged"

    @miqro.handle("go")
    def go(self, payload):
        for age in (timedelta(hours=1), timedelta(0)):
            topic = f"value/{age.total_seconds():g}"
            for value in ("a", "a", "b", "b"):
                self.publish(topic, value, only_if_changed=age)
        self.publish("done", "1")


class Between(miqro.Service):
    """Publishes without `only_if_changed` in between."""

    SERVICE_NAME = "p_between"

    @miqro.handle("go")
    def go(self, payload):
        self.publish("value", "a", only_if_changed=True)
        self.publish("value", "b")
        self.publish("value", "a", only_if_changed=True)
        self.publish("done", "1")


class Mixed(miqro.Service):
    """Both forms on one topic."""

    SERVICE_NAME = "p_mixed"

    @miqro.handle("go")
    def go(self, payload):
        hour = timedelta(hours=1)
        for form in (hour, True, hour, True):
            try:
                self.publish("value", "12", only_if_changed=form)
            except Exception as error:
                self.publish("raised", type(error).__name__)
        self.publish("done", "1")


class Cleared(miqro.Service):
    """Clears `last_key_values`, in the three ways that services do."""

    SERVICE_NAME = "p_cleared"

    def send(self):
        self.publish("value", "same", only_if_changed=True)

    @miqro.handle("go")
    def go(self, payload):
        self.send()
        self.last_key_values.clear()
        self.send()
        self.last_key_values = {}
        self.send()
        self.last_key_values.pop(self.data_topic_prefix + "value", None)
        self.send()
        self.send()
        self.publish("known", sorted(self.last_key_values))
        self.publish("done", str(self.data_topic_prefix + "value" in self.last_key_values))


class BadTopics(miqro.Service):
    SERVICE_NAME = "p_invalid"

    @miqro.handle("go")
    def go(self, payload):
        for topic in ("a/+/b", "a/#"):
            self.publish(topic, "1")
        self.publish("", "empty", global_=True)
        self.publish("done", "1")


class Burst(miqro.Service):
    """Many messages at once."""

    SERVICE_NAME = "p_burst"

    @miqro.handle("go")
    def go(self, payload):
        for number in range(500):
            self.publish("number", number)
        for number in range(100):
            self.publish("sure", number, qos=1)
        self.publish("done", "1", qos=1)


class Virtual(miqro.Service):
    """Overrides `publish`; everything goes through it."""

    SERVICE_NAME = "p_virtual"

    def publish(self, ext, message, *args, **kwargs):
        self.log.info("publishing %s", ext)
        if isinstance(message, str) and not kwargs.get("global_"):
            ext = f"v/{ext}"
        return super().publish(ext, message, *args, **kwargs)

    @miqro.handle("go")
    def go(self, payload):
        self.publish("text", "1")
        self.publish("json", {"a": 1})
        self.publish_json("direct", [1])
        self.publish_json_keys({"a": {"b": "c"}, "list": [1]})
        self.publish("done", "1")


class VirtualJson(miqro.Service):
    """Overrides `publish_json` and `_round_floats`."""

    SERVICE_NAME = "p_rounds"

    def publish_json(self, ext, message_json, *args, **kwargs):
        super().publish_json(ext, {"wrapped": message_json}, *args, **kwargs)

    def _round_floats(self, o):
        return "float" if isinstance(o, float) else super()._round_floats(o)

    @miqro.handle("go")
    def go(self, payload):
        self.publish("dict", {"a": [1.23456789, 2]})
        self.publish("list", [1.5])
        self.publish("float", 1.5)
        self.publish_json_keys({"x": [0.5]})
        self.publish("done", "1")


class Threads(miqro.Service):
    """Four threads publish at once, each on its topic."""

    SERVICE_NAME = "p_threads"

    def work(self, name):
        for number in range(50):
            self.publish(name, number, only_if_changed=True)

    @miqro.handle("go")
    def go(self, payload):
        threads = [threading.Thread(target=self.work, args=(f"thread/{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.publish("done", "1")


class Returned(miqro.Service):
    """Looks at what `publish` returns."""

    SERVICE_NAME = "p_returned"

    @miqro.handle("go")
    def go(self, payload):
        for returned in (self.publish("a", 1), self.publish_json("b", [1]), self.publish_json_keys({"c": 1})):
            print(type(returned).__name__)
        self.publish("done", "1")


class Early(miqro.Service):
    """Publishes in `__init__`."""

    SERVICE_NAME = "p_early"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.publish("version", "1.0", retain=True)
        self.publish("value", "5", only_if_changed=True)

    @miqro.handle("go")
    def go(self, payload):
        self.publish("value", "5", only_if_changed=True)
        self.publish("done", "1")


class Prefixed(miqro.Service):
    """Has a `data_topic` in its configuration."""

    SERVICE_NAME = "p_topic"

    @miqro.handle("go")
    def go(self, payload):
        self.publish("done", payload)
        self.publish("p_topic/absolute", self.willtopic, global_=True)


class Glued(miqro.Service):
    """Its `data_topic` has no slash at the end."""

    SERVICE_NAME = "p_glued"

    @miqro.handle("go")
    def go(self, payload):
        self.publish("done", payload)


if __name__ == "__main__":
    globals()[sys.argv.pop(1)]().run()
