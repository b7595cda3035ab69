"""A MySensors controller: pymysensors, attached as Home Assistant attaches it.

    controller.py mqtt HOST PORT OUT IN [--version V] [--live]    topics OUT/… come from the gateway, IN/… go to it
    controller.py tcp HOST PORT
    controller.py serial PATH

On stdout, a line of JSON each: {"event": "connected"} when it is attached; {"event": "message", …} for every
message that pymysensors took; {"event": "sent", …} for what it sent; {"event": "nodes", "nodes": …} for what it
knows, when asked; {"event": "lost"} when the connection broke.
On stdin, a line of JSON each: {"do": "set", "node", "child", "type", "value", "ack"}, {"do": "send", "line"},
{"do": "nodes"}. It ends when stdin closes.

    controller.py tables

prints which value types fit which presentation, as pymysensors has it: {"S": {"6": [0, 42, 43], …}}; then for
each line `TYPE PAYLOAD` on stdin whether the payload is valid for that value type.
"""

import argparse
import asyncio
import json
import logging
import sys
import threading


def say(event, **fields):
    """One line, whole, whichever thread it comes from."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def heard(message):
    """Called by pymysensors when it has taken a message."""
    say(
        "message",
        node=message.node_id,
        child=message.child_id,
        command=int(message.type),
        ack=message.ack,
        type=int(message.sub_type),
        payload=str(message.payload),
    )


def known(gateway):
    """What pymysensors knows of each node."""
    return {
        str(node.sensor_id): {
            "type": node.type,
            "version": node.protocol_version,
            "sketch": node.sketch_name,
            "sketch_version": node.sketch_version,
            "battery": node.battery_level,
            "children": {
                str(child.id): {
                    "type": child.type,
                    "description": child.description,
                    "values": {str(kind): value for kind, value in child.values.items()},
                }
                for child in node.children.values()
            },
        }
        for node in gateway.sensors.values()
    }


def over_mqtt(args, loop):
    """A gateway behind a broker."""
    import paho.mqtt.client as paho
    from mysensors.gateway_mqtt import AsyncMQTTGateway

    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    callbacks = {}

    def publish(topic, payload, qos, retain):
        say("sent", topic=topic, payload=payload, qos=qos, retain=retain)
        client.publish(topic, payload, qos, retain)

    def subscribe(topic, callback, qos):
        callbacks[topic] = callback
        client.subscribe(topic, qos)

    def on_message(_client, _data, message):
        for pattern, callback in list(callbacks.items()):
            if paho.topic_matches_sub(pattern, message.topic):
                payload = message.payload.decode()
                loop.call_soon_threadsafe(callback, message.topic, payload, message.qos)
                return

    client.on_message = on_message
    connected = threading.Event()
    client.on_connect = lambda *_: connected.set()
    client.connect(args.where[0], int(args.where[1]))
    client.loop_start()
    connected.wait(20)
    return AsyncMQTTGateway(
        publish,
        subscribe,
        in_prefix=args.where[2],
        out_prefix=args.where[3],
        event_callback=heard,
        protocol_version=args.version,
        retain=not args.live,
    )


def over_a_stream(args):
    """A gateway behind a socket or a port."""
    if args.how == "tcp":
        from mysensors.gateway_tcp import AsyncTCPGateway

        gateway = AsyncTCPGateway(
            args.where[0], int(args.where[1]), event_callback=heard, protocol_version=args.version
        )
    else:
        from mysensors.gateway_serial import AsyncSerialGateway

        gateway = AsyncSerialGateway(args.where[0], event_callback=heard, protocol_version=args.version)
    # How often it is asked whether the gateway is there; after twice as long it is given up. 10 s as it is.
    gateway.tasks.transport.reconnect_timeout = args.reconnect
    gateway.on_conn_made = lambda _: say("connected")
    gateway.on_conn_lost = lambda _, why: say("lost", why=str(why))
    send = gateway.tasks.transport.send

    def told(message):
        if message:
            say("sent", line=message.strip())
        send(message)

    gateway.tasks.transport.send = told
    return gateway


def obey(gateway, order):
    """One order from stdin."""
    if order["do"] == "set":
        node, child, kind = order["node"], order["child"], order["type"]
        gateway.set_child_value(node, child, kind, order["value"], ack=order.get("ack", 0))
    elif order["do"] == "send":
        gateway.tasks.transport.send(order["line"] + "\n")
    elif order["do"] == "nodes":
        say("nodes", nodes=known(gateway))


async def main(args):
    """Attaches, and obeys until stdin closes."""
    loop = asyncio.get_running_loop()
    gateway = over_mqtt(args, loop) if args.how == "mqtt" else over_a_stream(args)
    starting = loop.create_task(gateway.start())
    if args.how == "mqtt":
        await starting
        say("connected")
    orders = asyncio.Queue()

    def read():
        for line in sys.stdin:
            loop.call_soon_threadsafe(orders.put_nowait, line)
        loop.call_soon_threadsafe(orders.put_nowait, None)

    threading.Thread(target=read, daemon=True).start()
    while (line := await orders.get()) is not None:
        try:
            obey(gateway, json.loads(line))
        except Exception as why:  # pylint: disable=broad-except
            say("refused", why=str(why))


def tables():
    """What pymysensors takes to be valid."""
    import voluptuous
    from mysensors.const import get_const

    const = get_const("2.2")
    fits = {str(int(kind)): [int(value) for value in values] for kind, values in const.VALID_TYPES.items()}
    print(json.dumps({"S": fits}), flush=True)
    for line in sys.stdin:
        kind, _, payload = line.rstrip("\n").partition(" ")
        check = const.VALID_SETREQ[const.SetReq(int(kind))]
        try:
            voluptuous.Schema(check)(payload)
            print(json.dumps(True), flush=True)
        except voluptuous.Invalid as why:
            print(json.dumps(str(why)), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("how", choices=["mqtt", "tcp", "serial", "tables"])
    parser.add_argument("where", nargs="*")
    parser.add_argument("--live", action="store_true", help="without the retain flag (MQTT)")
    parser.add_argument("--version", default="2.2")
    parser.add_argument("--reconnect", type=float, default=10.0)
    arguments = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.DEBUG, format="%(asctime)s %(name)s %(message)s")
    if arguments.how == "tables":
        tables()
    else:
        asyncio.run(main(arguments))
