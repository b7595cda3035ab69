"""What MQTT 3.1.1 promises its clients. Sections are those of the OASIS standard 3.1.1."""

import time

from client import expect, hold
from run import case

EVERYTHING = ["a", "a/b", "a/b/c", "/a", "a/", "/", "a//c", "b/b", "ä/温度", "a b/c-d"]
# Section 4.7: which topics each filter matches, all others it does not.
WILDCARDS = {
    "a": ["a"],
    "a/b": ["a/b"],
    "+": ["a"],
    "+/b": ["a/b", "b/b"],
    "a/+": ["a/b", "a/"],
    "+/+": ["a/b", "/a", "a/", "/", "b/b", "ä/温度", "a b/c-d"],
    "/+": ["/a", "/"],
    "a/#": ["a", "a/b", "a/b/c", "a/", "a//c"],
    "a/b/#": ["a/b", "a/b/c"],
    "a/+/c": ["a/b/c", "a//c"],
    "+/+/c": ["a/b/c", "a//c"],
    "a/b/+": ["a/b/c"],
    "+/b/#": ["a/b", "a/b/c", "b/b"],
    "#": EVERYTHING,
    "/#": ["/a", "/"],
    "ä/+": ["ä/温度"],
    "a b/c-d": ["a b/c-d"],
    "A": [],
    "a/b/c/d/#": [],
}


@case("v3")
def what_is_published_arrives_as_it_was_sent(lab):
    a, b = lab.v3(), lab.v3()
    topic = lab.topic("t")
    expect("the QoS granted", b.subscribe(topic), 2)
    for qos in (0, 1, 2):
        a.publish(topic, f"qos {qos}", qos)
        heard = b.wait_text(f"qos {qos}")
        expect("QoS, retain flag, topic", (heard.qos, heard.retain, heard.topic), (qos, False, topic))
    for size in (0, 1, 127, 128, 16_383, 16_384, 20_000):
        b.forget()
        payload = bytes(index % 256 for index in range(size))
        a.publish(topic, payload, 1)
        hold(b.wait_count(1)[0].payload == payload, f"{size} bytes do not arrive as they were sent")


@case("v3")
def a_client_hears_itself(lab):
    a = lab.v3()
    a.subscribe(lab.topic("t"))
    a.publish(lab.topic("t"), "mine")
    a.wait_text("mine")


@case("v3")
def delivery_is_capped_by_the_qos_granted(lab):
    a = lab.v3()
    for qos in (0, 1):
        b = lab.v3()
        expect("the QoS granted", b.subscribe(lab.topic("t"), qos), qos)
        a.publish(lab.topic("t"), "x", 2)
        expect("the QoS delivered", b.wait_text("x").qos, qos)


@case("v3")
def subscribing_again_replaces_the_qos(lab):
    a, b = lab.v3(), lab.v3()
    b.subscribe(lab.topic("t"), 2)
    b.subscribe(lab.topic("t"), 0)
    a.publish(lab.topic("t"), "x", 2)
    a.publish(lab.topic("t"), "end", 2)
    b.wait_text("end")
    expect("what arrives", [(heard.text, heard.qos) for heard in b.heard], [("x", 0), ("end", 0)])


@case("v3")
def retained_messages_greet_a_new_subscriber(lab):
    a, watches = lab.v3(), lab.v3()
    watches.subscribe(lab.topic("#"))
    for qos in (0, 1, 2):
        a.publish(lab.topic(f"r/{qos}"), f"old {qos}", qos, retain=True)
        a.publish(lab.topic(f"r/{qos}"), f"kept {qos}", qos, retain=True)
    a.publish(lab.topic("r/other"), "not kept", 1)
    b = lab.v3()
    b.subscribe(lab.topic("r/+"))
    b.wait_count(3)
    a.publish(lab.topic("r/end"), "end", 2)
    b.wait_text("end")
    got = sorted((heard.text, heard.qos, heard.retain) for heard in b.heard if heard.text != "end")
    expect("what greets", got, [(f"kept {qos}", qos, True) for qos in (0, 1, 2)])
    # Section 3.3.1.3: to whom was subscribed already it is a message like any other.
    watches.wait_text("end")
    hold(not any(heard.retain for heard in watches.heard), "a retain flag in a message as it is published")


@case("v3")
def an_empty_retained_message_clears(lab):
    a, b = lab.v3(), lab.v3()
    b.subscribe(lab.topic("r"))
    a.publish(lab.topic("r"), "kept", 1, retain=True)
    a.publish(lab.topic("r"), "", 1, retain=True)
    # Who is subscribed gets it like any message.
    expect("what arrives", [heard.text for heard in b.wait_count(2)], ["kept", ""])
    late = lab.v3()
    late.subscribe(lab.topic("#"))
    a.publish(lab.topic("end"), "end", 1)
    late.wait_text("end")
    expect("what is left", late.texts(), ["end"])


@case("v3")
def subscribing_again_brings_the_retained_again(lab):
    a = lab.v3()
    a.publish(lab.topic("r"), "kept", 1, retain=True)
    b = lab.v3()
    b.subscribe(lab.topic("r"))
    b.wait_count(1)
    b.subscribe(lab.topic("r"))
    b.wait_count(2)


@case("v3")
def messages_wait_for_a_client_that_is_away(lab):
    a = lab.v3()
    b = lab.v3(clean=False)
    expect("session present", b.session_present, False)
    b.subscribe(lab.topic("+"), 2)
    b.leave()
    for index in range(20):
        a.publish(lab.topic(f"t{index % 3}"), str(index), 1 + index % 2)
    a.publish(lab.topic("zero"), "qos 0", 0)
    a.publish(lab.topic("end"), "end", 1)
    b = lab.v3(b.id, clean=False)
    expect("session present", b.session_present, True)
    b.wait_text("end")
    b.wait("all of them", lambda: sum(text.isdigit() for text in b.texts()) >= 20)
    # Section 3.1.2.4: whether QoS 0 waits is the broker's choice. Section 4.6: order holds for each QoS by itself.
    for qos in (1, 2):
        waited = [heard.text for heard in b.heard if heard.qos == qos and heard.text.isdigit()]
        expect(f"what waited with QoS {qos}", waited, [str(index) for index in range(qos - 1, 20, 2)])
    a.publish(lab.topic("t0"), "still subscribed", 1)
    b.wait_text("still subscribed")


@case("v3")
def a_clean_session_forgets(lab):
    a, b = lab.v3(), lab.v3(clean=False)
    b.subscribe(lab.topic("t"))
    b.leave()
    a.publish(lab.topic("t"), "missed", 1)
    again = lab.v3(b.id, clean=True)
    expect("session present", again.session_present, False)
    again.subscribe(lab.topic("end"))
    a.publish(lab.topic("t"), "missed too", 1)
    a.publish(lab.topic("end"), "end", 1)
    again.wait_text("end")
    expect("what arrives", again.texts(), ["end"])
    again.leave()
    expect("session present", lab.v3(b.id, clean=False).session_present, False)


@case("v3")
def a_will_is_published_for_who_breaks_off_and_not_for_who_leaves(lab):
    watches = lab.v3()
    watches.subscribe(lab.topic("#"))
    for word, retain in (("cut", True), ("left", False)):
        client = lab.client()
        client.mqtt.will_set(lab.topic(f"will/{word}"), word, 2, retain)
        client.connect()
        client.cut() if word == "cut" else client.leave()
    heard = watches.wait_text("cut")
    expect("QoS and retain flag of the will", (heard.qos, heard.retain), (2, False))
    lab.v3().publish(lab.topic("end"), "end", 1)
    watches.wait_text("end")
    expect("what arrives", watches.texts(), ["cut", "end"])
    late = lab.v3()
    late.subscribe(lab.topic("will/#"))
    expect("the will that was to be retained", late.wait_text("cut").retain, True)


@case("v3")
def overlapping_subscriptions_bring_the_highest_qos(lab):
    # Section 3.3.5: one message or one for each, but the highest QoS has to be among them.
    a, b = lab.v3(), lab.v3()
    for topic, qos in (("o/#", 1), ("o/+", 2), ("+/x", 0)):
        b.subscribe(lab.topic(topic), qos)
    a.publish(lab.topic("o/x"), "x", 2)
    a.publish(lab.topic("o/end"), "end", 2)
    # With QoS 2 it takes longer, and order holds for each QoS by itself.
    b.wait("the end with QoS 2", lambda: any(heard.text == "end" and heard.qos == 2 for heard in b.heard))
    got = [heard.qos for heard in b.heard if heard.text == "x"]
    hold(1 <= len(got) <= 3 and max(got) == 2, f"the message comes with QoS {got}")


@case("v3")
def who_says_nothing_is_dropped_and_who_pings_is_not(lab):
    watches = lab.v3()
    watches.subscribe(lab.topic("#"))
    for word in ("pings", "silent"):
        client, since = lab.client(), time.monotonic()
        client.mqtt.will_set(lab.topic("will"), word, 1)
        client.connect(keep_alive=2)
        if word == "silent":
            client.hush()
    heard = watches.wait_text("silent")
    # Section 3.1.2.10: after one and a half times the Keep Alive.
    hold(heard.at - since > 2.0, f"dropped after {heard.at - since:.1f} s with a Keep Alive of 2 s")
    time.sleep(3)
    expect("the wills", watches.texts(), ["silent"])


@case("v3")
def what_was_not_acknowledged_comes_again(lab):
    a = lab.v3()
    b = lab.v3(clean=False, manual_ack=True)
    b.subscribe(lab.topic("t"), 1)
    for word in ("first", "second", "third"):
        a.publish(lab.topic("t"), word, 1)
    first = b.wait_count(3)
    b.cut()
    b = lab.v3(b.id, clean=False, manual_ack=True)
    expect("session present", b.session_present, True)
    again = b.wait_count(3)
    for before, now in zip(first, again):
        expect("text and packet id", (now.text, now.mid), (before.text, before.mid))
        expect("the flag that says it may have come before", now.dup, True)
        b.ack(now)
    a.publish(lab.topic("t"), "end", 1)
    b.ack(b.wait_text("end"))
    # The SUBACK says that the broker has read what came before; a new connection may overtake the old one.
    b.subscribe(lab.topic("other"))
    b.leave()
    b = lab.v3(b.id, clean=False)
    a.publish(lab.topic("t"), "last", 1)
    b.wait_text("last")
    expect("what comes after everything was acknowledged", b.texts(), ["last"])


@case("v3")
def a_client_without_id_is_given_one(lab):
    # That it is refused if it wants to leave a session behind is for a client that can do wrong: paho
    # would make up an id.
    a, b = lab.v3(client_id=""), lab.v3(client_id="")
    a.subscribe(lab.topic("t"))
    b.publish(lab.topic("t"), "x")
    a.wait_text("x")


@case("v3")
def a_second_client_of_that_id_takes_over(lab):
    a = lab.v3()
    b = lab.v3(clean=False)
    b.subscribe(lab.topic("t"))
    second = lab.v3(b.id, clean=False)
    b.wait_end()
    expect("session present", second.session_present, True)
    a.publish(lab.topic("t"), "x")
    second.wait_text("x")


@case("v3")
def who_unsubscribes_hears_no_more(lab):
    a, b = lab.v3(), lab.v3()
    for topic in ("one", "two"):
        b.subscribe(lab.topic(topic))
    b.unsubscribe(lab.topic("one"))
    b.unsubscribe(lab.topic("never"))
    a.publish(lab.topic("one"), "one")
    a.publish(lab.topic("two"), "two")
    b.wait_text("two")
    expect("what arrives", b.texts(), ["two"])


@case("v3")
def topics_with_a_dollar_are_apart(lab):
    b, system = lab.v3(), lab.v3()
    for topic in ("#", "+/broker/#", "+/+/version"):
        b.subscribe(topic)
    expect("the QoS granted", system.subscribe("$SYS/#", 0), 0)
    system.wait_count(1)
    lab.v3().publish(lab.topic("end"), "end")
    b.wait_text("end")
    hold(not any(heard.topic.startswith("$") for heard in b.heard), "wildcards match the first level of $SYS")


@case("v3", mosquitto="lets clients publish on topics with a dollar of their own")
def clients_do_not_publish_on_topics_with_a_dollar(lab):
    # Section 4.7.2: the broker SHOULD prevent it.
    a, b = lab.v3(), lab.v3()
    b.subscribe("$made-up/#")
    b.subscribe(lab.topic("#"))
    a.send(f"$made-up/{lab.root}", "x", 0)
    lab.v3().publish(lab.topic("end"), "end")
    b.wait_text("end")
    other = lab.v3()
    other.publish(lab.topic("end"), "end 2")
    b.wait_text("end 2")
    hold("x" not in b.texts(), "it is delivered")


@case("v3")
def wildcards_match_what_they_should(lab):
    a, b = lab.v3(), lab.v3()
    for filter_, wanted in WILDCARDS.items():
        b.forget()
        b.subscribe(lab.topic(filter_))
        for topic in EVERYTHING:
            a.publish(lab.topic(topic), topic, 1)
        b.subscribe(lab.topic("$end"))
        a.publish(lab.topic("$end"), "end")
        b.wait_text("end")
        b.unsubscribe(lab.topic(filter_))
        b.unsubscribe(lab.topic("$end"))
        got = [heard.text for heard in b.heard if heard.text != "end"]
        expect(f"what {filter_} matches", got, wanted)


@case("v3")
def order_is_kept(lab):
    b = lab.v3()
    b.subscribe(lab.topic("#"))
    a = lab.v3()
    for qos in (1, 2):
        b.forget()
        for index in range(300):
            a.send(lab.topic(f"t{index % 7}"), str(index), qos)
        b.wait_count(300)
        expect(f"the order with QoS {qos}", [int(text) for text in b.texts()], list(range(300)))


@case("v3")
def a_message_that_nobody_wants_is_acknowledged(lab):
    a = lab.v3()
    for qos in (1, 2):
        a.publish(lab.topic("nobody"), "x", qos)


@case("v3")
def many_subscribers_get_everything(lab):
    all_of_them = [lab.v3() for _ in range(20)]
    for client in all_of_them:
        client.subscribe(lab.topic("#"))
    a = lab.v3()
    for index in range(100):
        a.send(lab.topic("t"), str(index), index % 3)
    for client in all_of_them:
        client.wait_count(100)
        expect("what arrives", sorted(map(int, client.texts())), list(range(100)))


@case("v3")
def web_sockets_carry_the_same(lab):
    if not lab.options.ws:
        return
    b = lab.client(transport="websockets")
    b.address = (lab.options.host, lab.options.ws)
    b.connect()
    b.subscribe(lab.topic("t"))
    a = lab.v3()
    for size in (1, 125, 126, 20_000):
        a.publish(lab.topic("t"), "x" * size, 2)
        b.wait_text("x" * size)
    a.subscribe(lab.topic("back"))
    b.publish(lab.topic("back"), "y" * 20_000, 2)
    a.wait_text("y" * 20_000)
