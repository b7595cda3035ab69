"""A conversation of the public client `mqttsn` with a gateway on the port given."""

import sys
import time

from mqttsn.client import Callback, Client


class Heard(Callback):
    def __init__(self):
        super().__init__()
        self.count = 0

    def message_arrived(self, topic_name, payload, qos, retained, msgid):
        text = payload.decode() if isinstance(payload, bytes) else payload
        print(f"heard {qos} {text}", flush=True)
        self.count += 1
        return True


heard = Heard()
client = Client(b"python", host="127.0.0.1", port=int(sys.argv[1]))
client.register_callback(heard)
client.connect()
# At QoS 0 it takes short topics only: others make it stumble.
code, _ = client.subscribe("py")
assert code == 0, code
code, topic = client.subscribe("python/topic", qos=2)
assert code == 0, code
for qos in range(3):
    client.publish(topic if qos else "py", f"qos{qos}", qos=qos)
    until = time.time() + 10
    while heard.count <= qos and time.time() < until:
        time.sleep(0.05)
time.sleep(0.5)
# Its farewell cannot be sent: it fails in the client itself.
