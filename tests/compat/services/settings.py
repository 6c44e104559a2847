"""Services about configuration, state, logging and the command line, as their owners wrote them for 1.x."""

import logging
import sys
from pathlib import Path

import miqro

miqro.State.DATA_ROOT = Path("data").absolute()


class Names(miqro.Service):
    """What the package and the class offer."""

    SERVICE_NAME = "c_names"
    PACKAGE = (
        "Service Loop State loop handle handle_global accept_json run ha_sensors mqtt "
        "datetime timedelta Path json logging sleep"
    )
    CONSTANTS = (
        "JSON_FLOAT_PRECISION MAX_LOOP_INTERVAL MQTT_ONLINE_UPDATE_INTERVAL PAYLOAD_ON PAYLOAD_OFF "
        "USE_STATE_FILE QOS_MAX_ONCE QOS_AT_LEAST_ONCE QOS_EXACTLY_ONCE PREPARED_LOOPS CLASS_MQTT_HANDLERS "
        "CLASS_MQTT_GLOBAL_HANDLERS LOOPS ha_devices ha_entities is_connected state"
    )
    ATTRIBUTES = (
        "config service_config data_topic_prefix willtopic enabled stop is_connected state "
        "ha_devices ha_entities mqtt_global_handlers"
    )

    @miqro.loop(seconds=1)
    def work(self):
        """Nothing to do."""

    def __init__(self, *args):
        super().__init__(*args)
        for name in self.PACKAGE.split():
            print(name, type(getattr(miqro, name)).__name__.replace("ABCMeta", "type"))
        for name in self.CONSTANTS.split():
            print(name, repr(getattr(miqro.Service, name, None)))
        for name in self.ATTRIBUTES.split():
            print(name, repr(getattr(self, name)))
        print(dict(self.last_key_values), len(self.last_key_values))
        print([topic for topic, _ in self.mqtt_handlers], [str(loop) for loop in self.LOOPS], str(self))
        print(
            [type(path).__name__ for path in self.CONFIG_FILE_PATHS], [str(p) for p in self.CONFIG_FILE_PATHS]
        )
        print(self.log.name, self.mqtt_log.name, self.PREPARED_LOOPS[0][1], len(self.PREPARED_LOOPS))

    @miqro.handle("end")
    def end(self, payload):
        self.publish("state", repr((self.enabled, self.stop, self.is_connected)))


class Values(miqro.Service):
    """Prints what its section says, as Python has it."""

    SERVICE_NAME = "c_values"

    def __init__(self, *args):
        super().__init__(*args)
        for key, value in self.service_config.items():
            print(ascii(key), ascii(value), type(value).__name__)


class NoSection(miqro.Service):
    SERVICE_NAME = "c_nosection"


class NullSection(miqro.Service):
    SERVICE_NAME = "c_nullsection"


class EmptyFile(miqro.Service):
    """Only made, not run: it would connect to whatever is at the default address."""

    SERVICE_NAME = "c_emptyfile"

    def run(self):
        print(self.service_config, self.data_topic_prefix)


class NoFile(miqro.Service):
    """Without any configuration file."""

    SERVICE_NAME = "c_nofile"
    CONFIG_FILE_PATHS = [Path("nowhere.yml"), Path("neither/here.yml")]


class Twice(miqro.Service):
    """Gets its file from the constructor; the next one does not."""

    SERVICE_NAME = "c_twice"
    CONFIG_FILE_PATHS = [Path("miqro.yml")]

    def __init__(self, path=None):
        miqro.Service.__init__(self, path)
        print(self.service_config.get("which"))
        if path is None:
            Twice("other.yml")
            again = type("Again", (Twice,), {"__init__": lambda self: miqro.Service.__init__(self)})
            print(again().service_config.get("which"))


class Missing(miqro.Service):
    """Is given a file that does not exist."""

    SERVICE_NAME = "c_missing"

    def __init__(self):
        super().__init__(add_config_file_path="not_there.yml")
        print(self.service_config.get("known"))


class Level(miqro.Service):
    """The file has a `log_level`; the constructor says nothing."""

    SERVICE_NAME = "c_level"

    def __init__(self):
        super().__init__()
        print(logging.getLevelName(logging.getLogger().level))


class OwnLogging(miqro.Service):
    """The program has set logging up by itself."""

    SERVICE_NAME = "c_logging"

    def __init__(self):
        logging.basicConfig(
            level=logging.WARNING, format="%(levelname)s:%(name)s:%(message)s", stream=sys.stdout
        )
        super().__init__(log_level=logging.WARNING)
        self.log.info("not seen")
        self.log.warning("seen")
        print(logging.getLevelName(logging.getLogger().level), len(logging.getLogger().handlers))


class Overrides(miqro.Service):
    """Overrides `_read_config` and `_prepare_logger`."""

    SERVICE_NAME = "c_overrides"

    def _prepare_logger(self, log_level):
        print("level", log_level)
        super()._prepare_logger(log_level)

    def _read_config(self, add_config_file_path=None):
        super()._read_config(add_config_file_path)
        self.config["broker"]["keepalive"] = 23
        self.data_topic_prefix = "c_overrides/own/"
        self.willtopic = self.data_topic_prefix + "alive"

    @miqro.handle("ping")
    def ping(self, payload):
        self.publish("pong", payload)


class Counter(miqro.Service):
    """Counts its starts in its state file."""

    SERVICE_NAME = "c_state"
    USE_STATE_FILE = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        starts = self.state.get_path("starts", "count", default=0) + 1
        self.state.set_path("starts", "count", value=starts)
        self.state["name"] = "Zähler"
        self.state["nested"] = {
            "list": [1, 2.5, None, True, "yes", "1:30", {"a": "b"}],
            "empty": {},
            "date": "2024-01-01",
        }
        self.state.save()

    @miqro.handle("report")
    def report(self, payload):
        self.publish("report/done", repr((self.state["starts"], self.state["name"], self.state["nested"])))


class Upgraded(Counter):
    SERVICE_NAME = "c_upgraded"


class Downgraded(Counter):
    SERVICE_NAME = "c_downgraded"


class Paths(miqro.Service):
    """`get_path` and `set_path`, by keyword as 1.x had them and by position as it documented them."""

    SERVICE_NAME = "c_paths"
    USE_STATE_FILE = True

    @miqro.handle("keyword")
    def keyword(self, payload):
        self.state.set_path("a", "b", value=1)
        self.state.set_path("a", "c", value={"d": 2})
        found = [self.state.get_path(*keys, default="x") for keys in ("a", "ab", "acd", "ae", "z")]
        self.publish("keyword/done", found)

    @miqro.handle("position")
    def position(self, payload):
        try:
            self.state.set_path("p", "q", 3)
            self.publish("position/done", self.state.get_path("p", "q", 4))
        except TypeError as error:
            self.publish("position/done", type(error).__name__)

    @miqro.handle("dict")
    def like_a_dict(self, payload):
        try:
            self.publish("dict/done", repr(("a" in self.state, "z" in self.state)))
        except KeyError as error:
            self.publish("dict/done", type(error).__name__)

    @miqro.handle("missing")
    def missing(self, payload):
        try:
            self.state["missing"]
        except KeyError:
            self.publish("missing/done", "KeyError")


class MemoryState:
    """A double of the state, as tests have it."""

    def __init__(self, service):
        self.service = service
        self.data = {"level": 3}

    def __getitem__(self, key):
        return self.data[key]

    def save(self):
        self.service.log.info("saved")


class OwnState(miqro.Service):
    SERVICE_NAME = "c_ownstate"
    USE_STATE_FILE = True

    def __init__(self):
        super().__init__(state_cls=MemoryState)
        self.state.save()

    @miqro.handle("report")
    def report(self, payload):
        self.publish("report/done", self.state["level"])


class Command(miqro.Service):
    """Started with `miqro.run`."""

    SERVICE_NAME = "c_command"

    @miqro.handle("ping")
    def ping(self, payload):
        self.publish("pong", f"{payload} {logging.getLevelName(logging.getLogger().level)}")


class Verbose(Command):
    SERVICE_NAME = "c_verbose"


class Debugged(miqro.Service):
    SERVICE_NAME = "c_debugged"

    @miqro.handle("ping")
    def ping(self, payload):
        self.publish("pong", payload)


if __name__ == "__main__":
    service = globals()[sys.argv.pop(1)]
    if issubclass(service, (Command, Debugged)):
        miqro.run(service)
    else:
        service().run()
