"""What a service says: values and objects as messages (contract C30 to C37)."""

from __future__ import annotations

from _thread import RLock
from datetime import timedelta

from . import mqtt
from ._errors import ForkError
from ._native import LastKeyValues, Properties, PublishInfo, check_topic, json_dumps, json_key
from ._native import payload as to_payload

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping
    from typing import Any

    from typing_extensions import Unpack

    from . import ha_sensors
    from ._properties import PropertyArguments

#: What `publish` returns for a value that is not sent because it has not changed.
_UNCHANGED = PublishInfo()


class Publisher:
    """The publishing half of `Service`."""

    JSON_FLOAT_PRECISION: int = 5
    PAYLOAD_ON: str | int = "1"
    PAYLOAD_OFF: str | int = "0"

    QOS_MAX_ONCE = 0
    QOS_AT_LEAST_ONCE = 1
    QOS_EXACTLY_ONCE = 2

    log: logging.Logger
    data_topic_prefix: str
    mqtt_client: Any
    is_connected: bool = False

    if TYPE_CHECKING:

        def note_failure(self, text: str) -> None:
            """Records that something went wrong."""

    def __init__(self) -> None:
        self._miqro_last = LastKeyValues()
        self._miqro_sending = RLock()
        #: Messages refused by a full queue since the last one that was accepted while connected.
        self._miqro_refusals = 0

    @property
    def last_key_values(self) -> LastKeyValues:
        """The payloads last sent on the topics that are deduplicated, a live mapping.

        Popping a topic, or clearing it, makes the next unchanged value go out. Assigning a dict, as services of
        1.x did to clear it, replaces the content.
        """
        return self._miqro_last

    @last_key_values.setter
    def last_key_values(self, values: Mapping[str, str | bytes]) -> None:
        self._miqro_last.clear()
        for topic, payload in values.items():
            self._miqro_last[topic] = payload

    def publish(
        self,
        ext: str | ha_sensors.EntityWithoutStateTopic,
        message: object,
        retain: bool = False,
        qos: int = QOS_MAX_ONCE,
        only_if_changed: bool | timedelta = False,
        global_: bool = False,
        **properties: Unpack[PropertyArguments],
    ) -> Any:
        """Publishes `message` on `<data_topic_prefix><ext>`.

        Args:
            ext: The end of the topic; with `global_` all of it; or an entity: its state topic.
            message: Text, bytes, a number, a bool (`PAYLOAD_ON`/`PAYLOAD_OFF`), `None` (nothing), or a dict or
                list, which goes through `publish_json`.
            retain: Whether the broker keeps it.
            qos: 0, 1 or 2.
            only_if_changed: Send nothing if the payload is the one last sent on the topic; a timedelta: unless
                it was sent that long ago.
            global_: Whether `ext` is a whole topic.
            properties: What else the message says, with MQTT 5 (`protocol: 5`, or `auto`): `expiry` (seconds that it is
                worth delivering), `content_type`, `response_topic`, `correlation_data`, `user_properties`, `is_text`.

        Returns:
            What became of it, with `rc`, `mid`, `wait_for_publish()`; it can be awaited. On a client of another
            library: what that returned. What cannot be sent is logged and counted, not raised.
        """
        if type(message) is str and type(ext) is str:
            payload: Any = message
        else:
            try:
                ext, payload = self._miqro_payload(ext, message)
            except TypeError as error:
                return self._miqro_refused(str(error), mqtt.MQTT_ERR_INVAL)
            if payload is None:
                return self.publish_json(
                    ext,
                    message,
                    retain=retain,
                    qos=qos,
                    only_if_changed=only_if_changed,
                    global_=global_,
                    **properties,
                )
        topic = ext if global_ else self.data_topic_prefix + ext
        last = self._miqro_last
        max_age = None
        try:
            if only_if_changed is False:
                if topic not in last:
                    return self._miqro_send(topic, payload, retain, qos, properties)
            else:
                if only_if_changed is not True and isinstance(only_if_changed, timedelta):
                    max_age = only_if_changed.total_seconds()
                # Asked here already, for most messages end with it: who publishes at the same time may come before
                # or after this one.
                if (only_if_changed or max_age is not None) and last.unchanged(topic, payload, max_age):
                    if self.log.isEnabledFor(10):
                        self.log.debug("%s not changed, not publishing.", topic)
                    return _UNCHANGED
            dedup = max_age is not None or bool(only_if_changed)
            # What is noted as last sent has to be what was sent last, whoever publishes at the same time.
            with self._miqro_sending:
                if dedup and last.unchanged(topic, payload, max_age):
                    return _UNCHANGED
                info = self._miqro_send(topic, payload, retain, qos, properties)
                if getattr(info, "rc", 0) == 0:
                    note = last.note if dedup else last.note_if_tracked
                    note(topic, payload, info)
                return info
        except ValueError as error:
            return self._miqro_refused(f"publishing on {topic!r}: {error}", mqtt.MQTT_ERR_INVAL)

    def _miqro_payload(
        self, ext: str | ha_sensors.EntityWithoutStateTopic, message: object
    ) -> tuple[str, str | bytes | None]:
        """The topic of what is published on an entity, and the payload of what is no text; `None`: it goes as JSON.

        Raises:
            TypeError: There is none; in a sentence.
        """
        on: object = self.PAYLOAD_ON
        off: object = self.PAYLOAD_OFF
        precision: int | None = self.JSON_FLOAT_PRECISION
        if not isinstance(ext, str):
            entity, ext = ext, ext.publish_postfix
            own_on, own_off = entity.state_payload(True), entity.state_payload(False)
            on = on if own_on is None else own_on
            off = off if own_off is None else own_off
        if isinstance(message, (dict, list, tuple)):
            return ext, None
        if isinstance(message, float) and self._miqro_rounds_by_itself():
            message, precision = self._round_floats(message), None
        try:
            return ext, to_payload(message, on, off, precision)
        except TypeError as error:
            if _is_mapping(message):
                return ext, None
            raise TypeError(f"publishing on {ext!r}: {error}") from None

    def _miqro_send(
        self, topic: str, payload: str | bytes, retain: bool, qos: int, properties: PropertyArguments
    ) -> Any:
        client = self.mqtt_client
        if not isinstance(client, mqtt.Client):
            # Ours checks by itself.
            check_topic(topic)
        if self.log.isEnabledFor(10):
            self.log.debug("MQTT publish: %s: %s", topic, payload)
        if properties and not (isinstance(client, mqtt.Client) or hasattr(client, "takes_properties")):
            raise ValueError(f"{', '.join(properties)}: only miqro's own MQTT client takes them")
        how = Properties(**properties) if properties else None
        try:
            if how is None:
                info = client.publish(topic, payload, retain=retain, qos=qos)
            else:
                info = client.publish(topic, payload, retain=retain, qos=qos, properties=how)
        except (ValueError, ForkError):
            raise
        except Exception as error:  # another client may raise anything; the service goes on
            self.log.error("publishing on %r failed: %s", topic, error, exc_info=error)
            self.note_failure(f"publishing on {topic!r} failed: {error}")
            return PublishInfo(mqtt.MQTT_ERR_NOMEM)
        rc = getattr(info, "rc", 0)
        if rc == 0:
            if self._miqro_refusals and self.is_connected:
                self.log.warning(
                    "%d messages were refused meanwhile: the queue was full", self._miqro_refusals
                )
                self._miqro_refusals = 0
        elif rc == mqtt.MQTT_ERR_QUEUE_SIZE:
            self._miqro_no_room(topic)
        return info

    def _miqro_no_room(self, topic: str) -> None:
        """Counts each message that is refused; the first one of an outage is news."""
        text = f"publishing on {topic!r}: the queue is full, the message is not sent"
        self.log.log(10 if self._miqro_refusals else 40, "%s", text)
        self._miqro_refusals += 1
        self.note_failure(text)

    def _miqro_refused(self, text: str, rc: int) -> PublishInfo:
        self.log.error("%s", text)
        self.note_failure(text)
        return PublishInfo(rc)

    def publish_json(
        self,
        ext: str | ha_sensors.EntityWithoutStateTopic,
        message_json: object,
        retain: bool = False,
        qos: int = QOS_MAX_ONCE,
        only_if_changed: bool | timedelta = False,
        global_: bool = False,
        **properties: Unpack[PropertyArguments],
    ) -> Any:
        """Publishes an object as JSON, floats rounded to `JSON_FLOAT_PRECISION`; else as `publish`.

        Raises:
            TypeError: The object cannot be said in JSON.
            ValueError: It contains itself.
        """
        if self._miqro_rounds_by_itself():
            text = json_dumps(self._round_floats(message_json), None, True)
        else:
            text = json_dumps(message_json, self.JSON_FLOAT_PRECISION, True)
        return self.publish(
            ext,
            text,
            retain=retain,
            qos=qos,
            only_if_changed=only_if_changed,
            global_=global_,
            **properties,
        )

    def publish_json_keys(
        self,
        message_dict: dict[Any, Any],
        ext: str | None = None,
        retain: bool = False,
        qos: int = QOS_MAX_ONCE,
        only_if_changed: bool | timedelta = False,
        global_: bool = False,
        **properties: Unpack[PropertyArguments],
    ) -> list[Any]:
        """Publishes each entry of a dict under its key: `{"a": {"b": 1}}` on `a/b`. Lists go as JSON.

        Returns:
            What `publish` returned for each, in order.

        Raises:
            TypeError: A key is none that JSON knows.
        """
        how: dict[str, Any] = {
            "retain": retain,
            "qos": qos,
            "only_if_changed": only_if_changed,
            "global_": global_,
            **properties,
        }
        infos: list[Any] = []
        for name, value in message_dict.items():
            key = name if isinstance(name, str) else json_key(name)
            topic = f"{ext}/{key}" if ext else key
            if isinstance(value, dict) or _is_mapping(value):
                infos += self.publish_json_keys(value, topic, **how)
            else:
                infos.append(self.publish(topic, value, **how))
        return infos

    def _miqro_rounds_by_itself(self) -> bool:
        return getattr(self._round_floats, "__func__", None) is not Publisher._round_floats

    def _round_floats(self, o: object) -> object:
        if isinstance(o, float):
            return round(o, self.JSON_FLOAT_PRECISION)
        if isinstance(o, dict):
            return {key: self._round_floats(value) for key, value in o.items()}
        if isinstance(o, (list, tuple)):
            return [self._round_floats(value) for value in o]
        return o


def _is_mapping(value: object) -> bool:
    if value is None or isinstance(value, (str, bytes, int, float, list, tuple)):
        return False
    from collections.abc import Mapping

    return isinstance(value, Mapping)
