"""Services about the connection and their life, as their owners wrote them for 1.x."""

import sys

import miqro


class Will(miqro.Service):
    SERVICE_NAME = "s_will"


class Terminated(miqro.Service):
    SERVICE_NAME = "s_sigterm"


class Interrupted(miqro.Service):
    SERVICE_NAME = "s_sigint"


class Stops(miqro.Service):
    """Sets `stop` in a handler."""

    SERVICE_NAME = "s_stops"

    @miqro.handle("stop")
    def stop_it(self, payload):
        self.publish("stopping", payload)
        self.stop = True

    def run(self):
        self.log.info("before")
        super().run()
        self.log.info("after")


class Cut(miqro.Service):
    """Its connection is lost; it comes back with the handlers that it had."""

    SERVICE_NAME = "s_cut"

    @miqro.handle("ping")
    def ping(self, payload):
        self.publish("pong", payload)

    @miqro.handle("add")
    def add(self, payload):
        self.add_handler("added", lambda svc, text: svc.publish("added_pong", text))
        self.publish("add_done", "1")


class Hooked(miqro.Service):
    """Overrides `_on_connect` and `_on_disconnect`."""

    SERVICE_NAME = "s_hooked"
    connects = 0

    def _on_connect(self, client, userdata, flags, rc):
        super()._on_connect(client, userdata, flags, rc)
        self.connects += 1
        self.publish("connects", f"{self.connects} {self.is_connected} {rc} {sorted(flags)}")

    def _on_disconnect(self, client, userdata, rc):
        super()._on_disconnect(client, userdata, rc)
        self.log.info("gone, connected: %s", self.is_connected)


class Offline(miqro.Service):
    """Publishes while the connection is away, on a sign that comes by file."""

    SERVICE_NAME = "s_offline"
    said = False

    @miqro.loop(milliseconds=20)
    def look(self):
        if not self.is_connected and not self.said and miqro.Path("go").exists():
            self.said = True
            self.publish("while_offline", "1")
            self.publish("while_offline_sure", "2", qos=1)
            miqro.Path("said").touch()

    @miqro.handle("ping")
    def ping(self, payload):
        self.publish("pong", payload)


class Late(miqro.Service):
    """Starts before its broker does."""

    SERVICE_NAME = "s_late"


class Settings(miqro.Service):
    """Has settings for its connection."""

    SERVICE_NAME = "s_settings"


class Unknown(miqro.Service):
    """Has a setting that the broker section does not know."""

    SERVICE_NAME = "s_unknown"


class Login(miqro.Service):
    SERVICE_NAME = "s_login"

    @miqro.handle("ping")
    def ping(self, payload):
        self.publish("pong", payload)


class Encrypted(miqro.Service):
    """Is told to use TLS."""

    SERVICE_NAME = "s_encrypted"

    @miqro.handle("ping")
    def ping(self, payload):
        self.publish("pong", payload)


class NeverPlain(miqro.Service):
    """Is told to use TLS, where the broker has none."""

    SERVICE_NAME = "s_never_plain"


class OldTls(miqro.Service):
    """Is told to use TLS of a version that nobody speaks any more."""

    SERVICE_NAME = "s_old_tls"


class Heartbeat(miqro.Service):
    SERVICE_NAME = "s_beats"
    MQTT_ONLINE_UPDATE_INTERVAL = 1


class OwnHeartbeat(miqro.Service):
    """Does something of its own with each heartbeat."""

    SERVICE_NAME = "s_ownbeat"
    MQTT_ONLINE_UPDATE_INTERVAL = 1
    beats = 0

    def _update_online_status(self, _):
        super()._update_online_status(_)
        self.beats += 1
        if self.beats == 3:
            self.publish("beats", "three")


class PrefixingClient(miqro.mqtt.Client):
    """As those do who want all their messages elsewhere."""

    def publish(self, topic, *args, **kwargs):
        return super().publish("s_client/" + topic, *args, **kwargs)

    def will_set(self, topic, *args, **kwargs):
        return super().will_set("s_client/" + topic, *args, **kwargs)


class OwnClient(miqro.Service):
    SERVICE_NAME = "s_client"

    def __init__(self):
        super().__init__(mqtt_client_cls=PrefixingClient)

    @miqro.handle("ping")
    def ping(self, payload):
        self.publish("pong", payload)


class RealPaho(miqro.Service):
    """Insists on paho's own client."""

    SERVICE_NAME = "s_paho"

    def __init__(self):
        import paho.mqtt.client

        super().__init__(mqtt_client_cls=paho.mqtt.client.Client)

    @miqro.handle("ping")
    def ping(self, payload):
        self.publish("pong", payload, qos=1, retain=True)
        self.publish_json("pong_json", {"payload": payload})


class ByHand(miqro.Service):
    """Talks to its client directly, as with paho."""

    SERVICE_NAME = "s_byhand"

    @miqro.handle("go")
    def go(self, payload):
        client = self.mqtt_client
        print(client.subscribe("s_byhand/by_hand/#")[0], client.is_connected())
        info = client.publish("s_byhand/raw", b"\x00\x01", qos=1, retain=True)
        print(info.rc, info.mid > 0)
        client.publish("s_byhand/number", 5)
        client.publish("s_byhand/nothing")
        print(client.unsubscribe("s_byhand/by_hand/#")[0])
        client.publish("s_byhand/done", payload)


class Recorder:
    """A double of the client, as tests of services have it."""

    def __init__(self, client_id):
        print("client id", client_id)
        self.on_connect = self.on_message = None

    def enable_logger(self, logger):
        print("logger", logger.name)

    def will_set(self, topic, payload=None, qos=0, retain=False):
        print("will", topic, payload, qos, retain)

    def connect_async(self, **broker):
        print("connect", broker["host"], sorted(broker))

    def loop_start(self):
        print("loop_start")
        self.on_connect(self, None, {}, 0)

    def loop_stop(self):
        print("loop_stop")

    def subscribe(self, topic):
        print("subscribe", topic)

    def publish(self, topic, payload=None, retain=False, qos=0):
        print("publish", topic, repr(payload), retain, qos)


class Message:
    topic = "service/s_double/twice"
    payload = b" 21 "
    retain = False


class Doubled(miqro.Service):
    """Runs on a double, without any broker."""

    SERVICE_NAME = "s_double"

    def __init__(self):
        super().__init__(mqtt_client_cls=Recorder)

    @miqro.loop(milliseconds=1)
    def feed(self):
        self.mqtt_client.on_message(self.mqtt_client, None, Message())
        return False

    @miqro.handle("twice")
    def twice(self, payload):
        self.publish("result", 2 * int(payload))
        self.publish("flag", True, retain=True)
        self.publish("number", 7)
        self.stop = True


if __name__ == "__main__":
    globals()[sys.argv.pop(1)]().run()
