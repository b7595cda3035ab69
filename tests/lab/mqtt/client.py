"""A client of paho-mqtt that remembers everything, and waits for what is to happen.

It never comes back by itself: when a connection ends, and with what, is what the cases are about.
"""

import socket
import threading
import time

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

# How long something may take that is expected to happen: generous, because machines are slow.
PATIENCE = 20.0
V3, V5 = paho.MQTTv311, paho.MQTTv5


class Failed(AssertionError):
    """A broker that behaves otherwise than it should."""


def properties(kind, **values):
    """The properties of a packet: `properties(PacketTypes.PUBLISH, ContentType="x")`."""
    made = Properties(kind)
    for name, value in values.items():
        setattr(made, name, value)
    return made


def about(**values):
    """The properties of a publication."""
    return properties(PacketTypes.PUBLISH, **values)


def expect(what, got, wanted):
    """Fails unless both are the same."""
    if got != wanted:
        raise Failed(f"{what}: {got!r}, not {wanted!r}")


def hold(condition, words):
    """Fails with these words unless the condition holds."""
    if not condition:
        raise Failed(words)


class Paho(paho.Client):
    """paho-mqtt, made to see a reason code in a DISCONNECT without properties, where 2.1.0 sees none."""

    code = None

    def _handle_disconnect(self):
        packet = self._in_packet
        self.code = packet["packet"][0] if packet["remaining_length"] else 0
        super()._handle_disconnect()


class Heard:
    """One message as it arrived."""

    def __init__(self, message):
        self.topic, self.text = message.topic, message.payload.decode("utf-8", "replace")
        self.payload, self.qos, self.retain = message.payload, message.qos, message.retain
        self.dup, self.mid = message.dup, message.mid
        self.properties = getattr(message, "properties", None)
        self.at = time.monotonic()

    def property(self, name):
        """A property; None where it is not there."""
        return getattr(self.properties, name, None)

    def __repr__(self):
        return f"{self.topic}={self.text[:40]!r} qos {self.qos}{' retained' if self.retain else ''}"


class Client:
    """A connection, or an attempt at one."""

    def __init__(self, address, client_id, version=V3, manual_ack=False, transport="tcp"):
        self.address, self.version, self.id = address, version, client_id
        self.heard, self.acks, self.ended, self.answer = [], {}, None, None
        self.changed = threading.Condition()
        self.mqtt = Paho(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=version,
            manual_ack=manual_ack,
            transport=transport,
            reconnect_on_failure=False,
            # For MQTT 5 it is a matter of connecting.
            clean_session=True if version == V3 else None,
        )
        if transport == "websockets":
            self.mqtt.ws_set_options(path="/mqtt")
        self.mqtt.on_connect = self._on_connect
        self.mqtt.on_disconnect = self._on_disconnect
        self.mqtt.on_message = lambda _client, _data, message: self._note(self.heard.append, Heard(message))
        self.mqtt.on_publish = lambda _client, _data, mid, code, given: self._ack(mid, (code, given))
        self.mqtt.on_subscribe = lambda _client, _data, mid, codes, given: self._ack(mid, codes)
        self.mqtt.on_unsubscribe = lambda _client, _data, mid, codes, given: self._ack(mid, codes)

    # What happens to it.

    def _note(self, act, *what):
        with self.changed:
            act(*what)
            self.changed.notify_all()

    def _ack(self, mid, what):
        self._note(self.acks.__setitem__, mid, what)

    def _on_connect(self, _client, _data, flags, code, given):
        self._note(setattr, self, "answer", (flags.session_present, code.value, given))

    def _on_disconnect(self, _client, _data, _flags, _code, given):
        # After a DISCONNECT the end of the connection is told once more.
        if self.ended is None:
            self._note(setattr, self, "ended", (self.mqtt.code, given))

    # What it does.

    def begin(self, clean=True, keep_alive=60, given=None):
        """Sends its CONNECT, and does not wait for the answer."""
        host, port = self.address
        if self.version == V5:
            wanted = properties(PacketTypes.CONNECT, **(given or {}))
            self.mqtt.connect(host, port, keep_alive, clean_start=clean, properties=wanted)
        else:
            self.mqtt._clean_session = clean
            self.mqtt.connect(host, port, keep_alive)
        self.mqtt.loop_start()
        return self

    def connect(self, clean=True, keep_alive=60, given=None):
        """Connects, and has to be let in."""
        self.begin(clean, keep_alive, given)
        self.wait("an answer to the CONNECT", lambda: self.answer)
        expect("the answer to a CONNECT", self.code, 0)
        return self

    @property
    def session_present(self):
        return self.answer[0]

    @property
    def code(self):
        return self.answer[1]

    def told(self, name):
        """A property of the CONNACK; None where it is not there."""
        return getattr(self.answer[2], name, None)

    def subscribe(self, topic, qos=2, identifier=None, **options):
        """Subscribes, and returns the reason code."""
        given = {}
        if identifier:
            given["properties"] = properties(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=identifier)
        if self.version == V5:
            _, mid = self.mqtt.subscribe(topic, options=SubscribeOptions(qos=qos, **options), **given)
        else:
            _, mid = self.mqtt.subscribe(topic, qos)
        self.wait("a SUBACK", lambda: mid in self.acks)
        return self.acks.pop(mid)[0].value

    def unsubscribe(self, topic):
        """Unsubscribes, and returns the reason code, which only MQTT 5 has."""
        _, mid = self.mqtt.unsubscribe(topic)
        self.wait("an UNSUBACK", lambda: mid in self.acks)
        codes = self.acks.pop(mid)
        return codes[0].value if codes else None

    def publish(self, topic, payload="", qos=1, retain=False, given=None):
        """Publishes, waits for the last acknowledgement, and returns its reason code."""
        mid = self.send(topic, payload, qos, retain, given)
        # With QoS 0 it is paho's word that it is sent.
        self.wait(f"what was published on {topic} to be acknowledged", lambda: mid in self.acks)
        code, _ = self.acks.pop(mid)
        return code.value

    def send(self, topic, payload="", qos=1, retain=False, given=None):
        """Publishes, and does not wait."""
        return self.mqtt.publish(topic, payload, qos, retain, given).mid

    def ack(self, heard):
        """Acknowledges, where that is left to the case."""
        self.mqtt.ack(heard.mid, heard.qos)

    def leave(self, code=None, given=None):
        """Takes its leave."""
        if self.version == V5 and (code is not None or given is not None):
            reason = None
            if code is not None:
                reason = paho.ReasonCode(PacketTypes.DISCONNECT, identifier=code)
            self.mqtt.disconnect(reason, properties(PacketTypes.DISCONNECT, **given) if given else None)
        else:
            self.mqtt.disconnect()
        self.mqtt.loop_stop()

    def cut(self):
        """Breaks off: the socket closes and nothing is said."""
        connection = self.mqtt.socket()
        if connection is not None:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except (OSError, AttributeError):
                # It is gone already, or it is a web socket, which is simply closed.
                pass
        self.mqtt.loop_stop()
        self.mqtt._sock_close()

    def hush(self):
        """Says nothing more and reads nothing more; the connection stays."""
        self.mqtt.loop_stop()

    def close(self):
        """Ends it, however it is."""
        self.cut()

    # What it waits for.

    def wait(self, what, happened, patience=PATIENCE):
        """Waits until something is so."""
        deadline = time.monotonic() + patience
        with self.changed:
            while not (found := happened()):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise Failed(f"waited {patience:.0f} s in vain for {what}; heard {len(self.heard)}: {self.heard[-5:]}, ended {self.ended}")
                self.changed.wait(min(left, 0.1))
        return found

    def wait_text(self, text, patience=PATIENCE):
        """Waits for a message with this payload."""
        return self.wait(f"{text!r}", lambda: next((m for m in self.heard if m.text == text), None), patience)

    def wait_count(self, count, patience=PATIENCE):
        """Waits for so many messages."""
        self.wait(f"{count} messages", lambda: len(self.heard) >= count, patience)
        return list(self.heard)

    def wait_end(self, patience=PATIENCE):
        """Waits for the broker to close the connection; returns the reason code it gave, if it gave one."""
        return self.wait("the broker to close the connection", lambda: self.ended, patience)[0]

    def texts(self):
        """The payloads so far."""
        return [heard.text for heard in self.heard]

    def forget(self):
        """Forgets what was heard."""
        self._note(self.heard.clear)
