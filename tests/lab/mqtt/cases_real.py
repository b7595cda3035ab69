"""What sits at local brokers, doing what it does all day."""

import asyncio
import json

import aiomqtt

from client import PATIENCE, about, expect, hold
from run import case

SENSORS = 2000


@case("real")
def home_assistant_discovers_everything_that_is_retained(lab):
    """Home Assistant subscribes to `homeassistant/#` with QoS 0 and has to get every device's description."""
    a = lab.v5()
    configs = {}
    for index in range(SENSORS):
        topic = lab.topic(f"homeassistant/sensor/{lab.root}/{index}/config")
        config = {
            "name": f"Sensor {index}",
            "unique_id": f"{lab.root}-{index}",
            "state_topic": f"gw1-out/tank-{index}/level",
            "availability_topic": "gw1-sys/status/online",
            "unit_of_measurement": "°C",
            "device": {"identifiers": [f"tank-{index}"], "name": f"Tank {index}", "manufacturer": "none", "model": "x" * 300},
        }
        configs[topic] = json.dumps(config)
        a.send(topic, configs[topic], 1, retain=True)
    a.wait("all of them to be acknowledged", lambda: len(a.acks) >= SENSORS, 2 * PATIENCE)
    for version in (lab.v3, lab.v5):
        assistant = version()
        assistant.subscribe(lab.topic("homeassistant/#"), 0)
        heard = assistant.wait_count(SENSORS, 2 * PATIENCE)
        expect("how many come", len(heard), SENSORS)
        hold(all(message.retain for message in heard), "one comes without its retain flag")
        expect("what they say", {message.topic: message.text for message in heard}, configs)
    for topic in configs:
        a.send(topic, "", 1, retain=True)
    a.wait("all of them to be cleared", lambda: len(a.acks) >= 2 * SENSORS, 2 * PATIENCE)


@case("real")
def aiomqtt_speaks_to_itself(lab):
    async def talk(protocol):
        host, port = lab.address
        will = aiomqtt.Will(lab.topic("will"), "gone", 1, False)
        async with (
            aiomqtt.Client(host, port, identifier=lab.id(), protocol=protocol) as hears,
            aiomqtt.Client(host, port, identifier=lab.id(), protocol=protocol, will=will) as speaks,
        ):
            await hears.subscribe(lab.topic("+"), qos=2)
            for qos in (0, 1, 2):
                await speaks.publish(lab.topic("t"), f"qos {qos}", qos=qos)
                message = await anext(hears.messages)
                got = (message.topic.value, message.payload.decode(), message.qos)
                expect("what arrives", got, (lab.topic("t"), f"qos {qos}", qos))
            await hears.unsubscribe(lab.topic("+"))

    for protocol in (aiomqtt.ProtocolVersion.V311, aiomqtt.ProtocolVersion.V5):
        asyncio.run(asyncio.wait_for(talk(protocol), PATIENCE))


@case("real")
def fifty_aiomqtt_clients_talk_at_once(lab):
    async def one(index, count):
        host, port = lab.address
        # Each in a task of its own, as integrations do it.
        async with aiomqtt.Client(host, port, identifier=lab.id()) as client:
            await client.subscribe(lab.topic(f"{index}/#"), qos=1)
            for number in range(count):
                await client.publish(lab.topic(f"{index}/{number}"), str(number), qos=1)
            heard = [int((await anext(client.messages)).payload) for _ in range(count)]
            expect("what arrives", heard, list(range(count)))

    async def all_of_them():
        await asyncio.gather(*(one(index, 20) for index in range(50)))

    asyncio.run(asyncio.wait_for(all_of_them(), 2 * PATIENCE))


@case("real")
def a_tasmota_plug_and_what_switches_it(lab):
    """Tasmota's way: a retained last will on tele/…/LWT, commands on cmnd/…, answers on stat/…."""
    panel = lab.v3()
    panel.subscribe(lab.topic("tele/plug/LWT"), 1)
    plug = lab.client()
    plug.mqtt.will_set(lab.topic("tele/plug/LWT"), "Offline", 1, True)
    plug.connect(keep_alive=30)
    plug.publish(lab.topic("tele/plug/LWT"), "Online", 1, retain=True)
    plug.subscribe(lab.topic("cmnd/plug/#"), 0)
    panel.wait_text("Online")
    panel.subscribe(lab.topic("stat/plug/#"), 1)
    panel.publish(lab.topic("cmnd/plug/POWER"), "ON", 0)
    plug.wait_text("ON")
    plug.publish(lab.topic("stat/plug/RESULT"), '{"POWER":"ON"}', 0)
    panel.wait_text('{"POWER":"ON"}')
    plug.cut()
    panel.wait_text("Offline")
    late = lab.v3()
    late.subscribe(lab.topic("tele/+/LWT"), 0)
    expect("what a late one is greeted with", late.wait_text("Offline").retain, True)


@case("real")
def a_script_asks_and_is_answered_a_thousand_times(lab):
    asks, answers = lab.v5(), lab.v5()

    def answer(_client, _data, message):
        given = about(CorrelationData=message.properties.CorrelationData)
        answers.send(message.properties.ResponseTopic, message.payload, 1, given=given)

    answers.mqtt.on_message = answer
    answers.subscribe(lab.topic("ask"), 1)
    asks.subscribe(lab.topic("back"), 1)
    for index in range(1000):
        given = about(ResponseTopic=lab.topic("back"), CorrelationData=str(index).encode())
        asks.send(lab.topic("ask"), str(index), 1, given=given)
    heard = asks.wait_count(1000, 2 * PATIENCE)
    expect("the answers", [message.text for message in heard], [str(index) for index in range(1000)])
    hold(all(message.property("CorrelationData") == message.payload for message in heard), "mixed up")
