"""What MQTT 5 promises its clients beyond what MQTT 3.1.1 does. Sections are those of the OASIS standard 5.0."""

import time

from client import V3, V5, about, expect, hold, properties
from paho.mqtt.packettypes import PacketTypes
from run import case

FOREVER = {"SessionExpiryInterval": 3600}


def end(lab, *clients):
    """Waits until everything published so far has reached these clients."""
    for client in clients:
        client.subscribe(f"{lab.root}-end")
    lab.v5().publish(f"{lab.root}-end", "end", 2)
    for client in clients:
        client.wait_text("end")


@case("v5")
def what_is_published_arrives_as_it_was_sent(lab):
    a, b = lab.v5(), lab.v5()
    expect("the reason code of a SUBACK", b.subscribe(lab.topic("t")), 2)
    for qos in (0, 1, 2):
        a.publish(lab.topic("t"), f"qos {qos}", qos)
        heard = b.wait_text(f"qos {qos}")
        expect("QoS, retain flag, topic", (heard.qos, heard.retain, heard.topic), (qos, False, lab.topic("t")))


@case("v5")
def properties_pass_from_end_to_end(lab):
    pairs = [("b", "2"), ("a", "1"), ("a", "1"), ("ä", "温"), ("", "")]
    given = about(
        PayloadFormatIndicator=1,
        ContentType="text/plain; ä",
        ResponseTopic=lab.topic("answers"),
        CorrelationData=bytes(range(256)),
        UserProperty=pairs,
    )
    a, b, old = lab.v5(), lab.v5(), lab.v3()
    b.subscribe(lab.topic("t"), identifier=7)
    old.subscribe(lab.topic("t"))
    for qos in (0, 1, 2):
        b.forget()
        old.forget()
        a.publish(lab.topic("t"), f"温 {qos}", qos, given=given)
        heard = b.wait_text(f"温 {qos}")
        for name in ("PayloadFormatIndicator", "ContentType", "ResponseTopic", "CorrelationData"):
            expect(name, heard.property(name), getattr(given, name))
        # Section 3.3.2.3.7: their order is kept, and the same one may come twice.
        expect("the user properties", heard.property("UserProperty"), pairs)
        expect("the subscription identifier", heard.property("SubscriptionIdentifier"), [7])
        expect("an alias nobody asked for", heard.property("TopicAlias"), None)
        old.wait_text(f"温 {qos}")
    # And nothing is made up.
    b.forget()
    a.publish(lab.topic("t"), "bare")
    expect("the properties of a bare message", b.wait_text("bare").properties.json(), {"SubscriptionIdentifier": [7]})


@case("v5")
def properties_are_kept_with_retained_messages_and_in_queues(lab):
    given = about(ContentType="x/y", CorrelationData=b"\x00\x01", UserProperty=[("k", "v")], ResponseTopic="back")
    b = lab.v5(given=FOREVER)
    b.subscribe(lab.topic("queued"))
    b.leave()
    a = lab.v5()
    a.publish(lab.topic("queued"), "queued", 1, given=given)
    a.publish(lab.topic("kept"), "kept", 1, retain=True, given=given)
    b = lab.v5(b.id, clean=False, given=FOREVER)
    b.subscribe(lab.topic("kept"))
    for text in ("queued", "kept"):
        got = b.wait_text(text)
        for name in ("ContentType", "CorrelationData", "UserProperty", "ResponseTopic"):
            expect(f"{name} of what was {text}", got.property(name), getattr(given, name))


@case("v5")
def both_versions_hear_each_other(lab):
    new, old = lab.v5(), lab.v3()
    new.subscribe(lab.topic("from/old"))
    old.subscribe(lab.topic("from/new"))
    old.publish(lab.topic("from/old"), "o", 2)
    new.publish(lab.topic("from/new"), "n", 2, given=about(UserProperty=[("k", "v")], MessageExpiryInterval=60))
    expect("the properties", new.wait_text("o").properties.json(), {})
    old.wait_text("n")


@case("v5")
def a_message_expires_and_tells_what_is_left(lab):
    b = lab.v5(given=FOREVER)
    b.subscribe(lab.topic("#"))
    b.leave()
    a = lab.v5()
    for qos in (1, 2):
        a.publish(lab.topic("short"), f"short {qos}", qos, given=about(MessageExpiryInterval=1))
        a.publish(lab.topic("long"), f"long {qos}", qos, given=about(MessageExpiryInterval=600))
    time.sleep(2.5)
    b = lab.v5(b.id, clean=False, given=FOREVER)
    for qos in (1, 2):
        left = b.wait_text(f"long {qos}").property("MessageExpiryInterval")
        # Section 3.3.2.3.3: less the time it waited here.
        hold(left is not None and 500 < left <= 598, f"{left} of 600 s are left after 2.5 s")
    end(lab, b)
    expect("what is left", sorted(b.texts()), ["end", "long 1", "long 2"])


@case("v5")
def a_retained_message_expires(lab):
    a = lab.v5()
    a.publish(lab.topic("short"), "short", 1, retain=True, given=about(MessageExpiryInterval=1))
    a.publish(lab.topic("long"), "long", 1, retain=True, given=about(MessageExpiryInterval=600))
    time.sleep(2.5)
    b = lab.v5()
    b.subscribe(lab.topic("+"))
    left = b.wait_text("long").property("MessageExpiryInterval")
    hold(left is not None and 500 < left <= 598, f"{left} of 600 s are left after 2.5 s")
    end(lab, b)
    expect("what is left", b.texts(), ["long", "end"])


@case("v5")
def a_session_lives_as_long_as_it_asked_for(lab):
    for seconds, wait, present in ((None, 0, False), (0, 0, False), (1, 3.5, False), (3600, 1, True), (0xFFFFFFFF, 1, True)):
        given = {} if seconds is None else {"SessionExpiryInterval": seconds}
        b = lab.v5(clean=False, given=given)
        b.subscribe(lab.topic("t"))
        b.leave()
        time.sleep(wait)
        b = lab.v5(b.id, clean=False)
        expect(f"session present, {wait} s after one of {seconds} s", b.session_present, present)


@case("v5")
def a_session_starts_anew_if_the_client_wants(lab):
    b = lab.v5(given=FOREVER)
    b.subscribe(lab.topic("t"))
    b.leave()
    lab.v5().publish(lab.topic("t"), "missed")
    b = lab.v5(b.id, clean=True, given=FOREVER)
    expect("session present", b.session_present, False)
    end(lab, b)
    expect("what arrives", b.texts(), ["end"])


@case("v5")
def a_client_that_leaves_may_change_how_long_its_session_lives(lab):
    for first, last, present in ((3600, 0, False), (10, 3600, True)):
        b = lab.v5(given={"SessionExpiryInterval": first})
        b.leave(given={"SessionExpiryInterval": last})
        time.sleep(1)
        expect(f"session present, {first} s and then {last} s", lab.v5(b.id, clean=False).session_present, present)


@case("v5")
def no_session_is_made_to_last_by_leaving(lab):
    # Section 3.14.2.2.2: not if it was to end with the connection.
    b = lab.v5()
    b.mqtt.disconnect(None, properties(PacketTypes.DISCONNECT, SessionExpiryInterval=60))
    time.sleep(1)
    expect("session present", lab.v5(b.id, clean=False).session_present, False)


@case("v5")
def an_alias_stands_for_a_topic(lab):
    a, b = lab.v5(), lab.v5()
    most = a.told("TopicAliasMaximum") or 0
    hold(most > 0, "the broker takes no aliases")
    b.subscribe(lab.topic("#"))
    for qos, alias in ((0, 1), (1, most), (2, most)):
        a.publish(lab.topic("one"), "one", qos, given=about(TopicAlias=alias))
        a.publish("", "two", qos, given=about(TopicAlias=alias))
        a.publish(lab.topic("other"), "three", qos, given=about(TopicAlias=alias))
        a.publish("", "four", qos, given=about(TopicAlias=alias))
        heard = [(heard.topic, heard.text) for heard in b.wait_count(4)]
        expect("what arrives", heard, [(lab.topic(t), x) for t, x in zip(["one", "one", "other", "other"], ["one", "two", "three", "four"])])
        b.forget()


@case("v5")
def an_alias_ends_with_its_connection(lab):
    a = lab.v5(given=FOREVER)
    a.publish(lab.topic("t"), "x", given=about(TopicAlias=1))
    a.leave()
    a = lab.v5(a.id, clean=False, given=FOREVER)
    a.send("", "y", 1, given=about(TopicAlias=1))
    code = a.wait_end()
    hold(code in (0x82, 0x94), f"the reason code {code}")


@case("v5")
def an_alias_beyond_the_broker_s_maximum_ends_the_connection(lab):
    a = lab.v5()
    a.send(lab.topic("t"), "x", 1, given=about(TopicAlias=(a.told("TopicAliasMaximum") or 0) + 1))
    expect("the reason code", a.wait_end(), 0x94)


@case("v5", mosquitto="sometimes 2.0.11 sends one too many, when its queue runs out")
def the_broker_keeps_to_the_client_s_receive_maximum(lab):
    a = lab.v5()
    b = lab.v5(given={"ReceiveMaximum": 3}, manual_ack=True)
    b.subscribe(lab.topic("t"), 1)
    for index in range(10):
        a.publish(lab.topic("t"), str(index), 1)
    numbers = lambda: [heard for heard in b.heard if heard.text.isdigit()]
    b.wait("three messages", lambda: len(numbers()) >= 3)
    for index in range(10):
        b.wait("one more", lambda: len(numbers()) > index)
        # The SUBACK comes after what the broker would have sent by now.
        b.subscribe(lab.topic("other"), 0)
        hold(len(numbers()) <= index + 3, f"{len(numbers())} have come and {index} are acknowledged")
        expect("the order", numbers()[index].text, str(index))
        b.ack(numbers()[index])


@case("v5")
def a_message_that_is_too_large_for_a_client_is_left_out(lab):
    a = lab.v5()
    for given in ({"MaximumPacketSize": 200}, {"MaximumPacketSize": 200, "SessionExpiryInterval": 60}):
        b = lab.v5(given=given)
        b.subscribe(lab.topic("t"))
        for qos in (0, 1, 2):
            a.publish(lab.topic("t"), "x" * 1000, qos)
            # The properties count as well.
            a.publish(lab.topic("t"), "y", qos, given=about(UserProperty=[("k", "v" * 300)]))
            a.publish(lab.topic("t"), f"small {qos}", qos)
            b.wait_text(f"small {qos}")
        expect("what arrives", b.texts(), ["small 0", "small 1", "small 2"])


@case("v5")
def a_packet_that_is_too_large_for_the_broker_ends_the_connection(lab):
    a, b = lab.v5(), lab.v5()
    most = a.told("MaximumPacketSize")
    hold(most is not None, "the broker tells no Maximum Packet Size")
    b.subscribe(lab.topic("#"))
    a.publish(lab.topic("t"), "x" * (most - 200))
    b.wait_count(1)
    a.send(lab.topic("t"), "x" * most)
    expect("the reason code", a.wait_end(), 0x95)


@case("v5")
def a_request_finds_its_answer(lab):
    asks, answers = lab.v5(), lab.v5()
    answers.subscribe(lab.topic("ask"))
    asks.subscribe(lab.topic("back"))
    for index in range(3):
        given = about(ResponseTopic=lab.topic("back"), CorrelationData=bytes([index]))
        asks.publish(lab.topic("ask"), f"question {index}", 1, given=given)
        question = answers.wait_text(f"question {index}")
        answer = about(CorrelationData=question.property("CorrelationData"))
        answers.publish(question.property("ResponseTopic"), f"answer {index}", 1, given=answer)
        expect("correlation", asks.wait_text(f"answer {index}").property("CorrelationData"), bytes([index]))


@case("v5")
def members_of_a_group_share_messages(lab):
    members = [lab.v5() for _ in range(3)]
    other, alone = lab.v5(), lab.v5()
    for member in members:
        expect("SUBACK", member.subscribe(f"$share/{lab.root}/{lab.topic('#')}", 1), 1)
    alone.subscribe(f"$share/{lab.root}-2/{lab.topic('#')}", 1)
    other.subscribe(lab.topic("#"), 1)
    a = lab.v5()
    for index in range(60):
        a.publish(lab.topic(f"t{index % 2}"), str(index))
    for client in (other, alone):
        client.wait_count(60)
    both = lambda: [text for member in members for text in member.texts()]
    members[0].wait("all of them", lambda: len(both()) >= 60)
    expect("what the members hear together", sorted(map(int, both())), list(range(60)))
    hold(all(len(member.heard) > 5 for member in members), f"uneven: {[len(member.heard) for member in members]}")


@case("v5", mosquitto="shares messages also with members that are away")
def a_group_goes_on_without_a_member_that_left(lab):
    a = lab.v5()
    stays, goes = lab.v5(), lab.v5(given=FOREVER)
    share = f"$share/{lab.root}/{lab.topic('t')}"
    for member in (stays, goes):
        member.subscribe(share, 1)
    goes.leave()
    time.sleep(0.3)
    for index in range(20):
        a.publish(lab.topic("t"), str(index))
    # Section 4.8.2: the broker may choose among the members, and one is here.
    stays.wait_count(20)


@case("v5", mosquitto="2.0.11 greets groups with retained messages")
def a_group_gets_no_retained_messages(lab):
    a, b = lab.v5(), lab.v5()
    a.publish(lab.topic("t"), "kept", retain=True)
    b.subscribe(f"$share/{lab.root}/{lab.topic('t')}", 1)
    end(lab, b)
    expect("what arrives", b.texts(), ["end"])


@case("v5")
def who_leaves_a_group_hears_no_more(lab):
    a, b = lab.v5(), lab.v5()
    share = f"$share/{lab.root}/{lab.topic('t')}"
    b.subscribe(share, 1)
    expect("the reason code", b.unsubscribe(share), 0)
    a.publish(lab.topic("t"), "x")
    end(lab, b)
    expect("what arrives", b.texts(), ["end"])


@case("v5", mosquitto="2.0.11 lets it pass")
def a_share_with_no_local_is_a_protocol_error(lab):
    b = lab.v5()
    b.mqtt.subscribe(f"$share/{lab.root}/{lab.topic('t')}", options=_options(qos=1, noLocal=True))
    expect("the reason code", b.wait_end(), 0x82)


@case("v5")
def a_will_waits_as_long_as_it_asked_for(lab):
    watches = lab.v5()
    watches.subscribe(lab.topic("#"))
    _with_will(lab, "late", 2, 3600).cut()
    cut = time.monotonic()
    _with_will(lab, "at once", None, 3600).cut()
    watches.wait_text("at once")
    waited = watches.wait_text("late").at - cut
    hold(waited > 1.5, f"a will with a delay of 2 s comes after {waited:.1f} s")


@case("v5")
def a_will_is_forgotten_if_its_client_comes_back_in_time(lab):
    watches = lab.v5()
    watches.subscribe(lab.topic("#"))
    client = _with_will(lab, "will", 5, 3600)
    client.cut()
    lab.v5(client.id, clean=False, given=FOREVER)
    time.sleep(6.5)
    end(lab, watches)
    expect("what arrives", watches.texts(), ["end"])


@case("v5", mosquitto="2.0.11 waits although the session is over")
def a_will_does_not_outwait_its_session(lab):
    watches = lab.v5()
    watches.subscribe(lab.topic("#"))
    for session in (0, 1):
        _with_will(lab, f"session {session}", 3600, session).cut()
        watches.wait_text(f"session {session}")
    # A clean start ends the session as well.
    client = _with_will(lab, "clean", 3600, 3600)
    client.cut()
    lab.v5(client.id, clean=True)
    watches.wait_text("clean")


@case("v5")
def a_client_may_leave_and_have_its_will_published(lab):
    watches = lab.v5()
    watches.subscribe(lab.topic("#"))
    _with_will(lab, "left", None, 0).leave()
    _with_will(lab, "with will", None, 0).leave(0x04)
    watches.wait_text("with will")
    end(lab, watches)
    expect("what arrives", watches.texts(), ["with will", "end"])


@case("v5")
def a_will_brings_its_properties(lab):
    watches, client = lab.v5(), lab.client(V5)
    watches.subscribe(lab.topic("#"))
    given = properties(
        PacketTypes.WILLMESSAGE,
        PayloadFormatIndicator=1,
        MessageExpiryInterval=100,
        ContentType="a/b",
        ResponseTopic="back",
        CorrelationData=b"\x01",
        UserProperty=[("k", "v"), ("k", "v")],
    )
    client.mqtt.will_set(lab.topic("will"), "will", 2, True, given)
    client.connect()
    client.cut()
    got = watches.wait_text("will")
    for name in ("PayloadFormatIndicator", "ContentType", "ResponseTopic", "CorrelationData", "UserProperty"):
        expect(name, got.property(name), getattr(given, name))
    left = got.property("MessageExpiryInterval")
    hold(left is not None and 50 < left <= 100, f"{left} of 100 s are left")


@case("v5")
def subscription_identifiers_tell_why_a_message_comes(lab):
    a, b = lab.v5(), lab.v5()
    a.publish(lab.topic("i/kept"), "kept", retain=True)
    b.subscribe(lab.topic("i/#"), 1, identifier=1)
    expect("with a retained message", b.wait_text("kept").property("SubscriptionIdentifier"), [1])
    b.subscribe(lab.topic("i/+"), 1, identifier=268_435_455)
    b.subscribe(lab.topic("i/x"), 1)
    b.forget()
    a.publish(lab.topic("i/x"), "x", 1)
    end(lab, b)
    # Section 3.3.4: one message with all of them, or one for each.
    got = [n for heard in b.heard if heard.text == "x" for n in heard.property("SubscriptionIdentifier") or []]
    expect("the identifiers", sorted(got), [1, 268_435_455])
    # A subscription made again loses it.
    b.unsubscribe(lab.topic("i/#"))
    b.subscribe(lab.topic("i/+"), 2, retainHandling=2)
    b.forget()
    a.publish(lab.topic("i/y"), "y", 2)
    expect("after subscribing without one", b.wait_text("y").property("SubscriptionIdentifier"), None)


@case("v5")
def a_client_without_id_is_told_the_one_it_got(lab):
    a = lab.client(V5, client_id="").connect(given=FOREVER)
    given = a.told("AssignedClientIdentifier")
    hold(bool(given), "no Assigned Client Identifier")
    a.leave()
    expect("session present", lab.v5(given, clean=False).session_present, True)
    hold(lab.v5().told("AssignedClientIdentifier") is None, "who has an id is told one")


@case("v5")
def reason_codes_tell_what_became_of_it(lab):
    a, b = lab.v5(), lab.v5()
    for qos in (0, 1, 2):
        expect("SUBACK", b.subscribe(lab.topic(f"t{qos}"), qos), qos)
    for qos in (1, 2):
        expect("a message that someone hears", a.publish(lab.topic("t1"), "x", qos), 0)
        code = a.publish(lab.topic("nobody"), "x", qos)
        hold(code in (0x00, 0x10), f"a message that nobody hears: {code:#x}")
    expect("UNSUBACK", b.unsubscribe(lab.topic("t1")), 0x00)
    expect("UNSUBACK of what was not subscribed", b.unsubscribe(lab.topic("t1")), 0x11)


@case("v5")
def a_subscriber_says_which_retained_messages_it_wants(lab):
    a = lab.v5()
    a.publish(lab.topic("r"), "kept", retain=True)
    for handling, first, again in ((0, ["kept"], ["kept"]), (1, ["kept"], []), (2, [], [])):
        b = lab.v5()
        for wanted in (first, again):
            b.forget()
            b.subscribe(lab.topic("r"), 1, retainHandling=handling)
            a.publish(lab.topic("r"), "live")
            b.wait_text("live")
            expect(f"retain handling {handling}", b.texts(), [*wanted, "live"])


@case("v5")
def the_retain_flag_stays_if_the_subscriber_wants(lab):
    a, plain, kept = lab.v5(), lab.v5(), lab.v5()
    plain.subscribe(lab.topic("r"))
    kept.subscribe(lab.topic("r"), retainAsPublished=True)
    a.publish(lab.topic("r"), "retained", retain=True)
    a.publish(lab.topic("r"), "not")
    for client, flags in ((plain, [False, False]), (kept, [True, False])):
        client.wait_text("not")
        expect("the flags", [heard.retain for heard in client.heard], flags)


@case("v5")
def no_local_keeps_away_what_one_published_oneself(lab):
    a, b = lab.v5(), lab.v5()
    for client in (a, b):
        client.subscribe(lab.topic("t"), 1, noLocal=True)
    a.publish(lab.topic("t"), "of a")
    b.publish(lab.topic("t"), "of b")
    a.wait_text("of b")
    b.wait_text("of a")
    end(lab, a, b)
    expect("what a hears", a.texts(), ["of b", "end"])
    expect("what b hears", b.texts(), ["of a", "end"])


@case("v5", mosquitto="2.0.11 closes without a DISCONNECT")
def who_is_taken_over_is_told(lab):
    b = lab.v5(given=FOREVER)
    b.subscribe(lab.topic("t"))
    second = lab.v5(b.id, clean=False, given=FOREVER)
    expect("the reason code", b.wait_end(), 0x8E)
    expect("session present", second.session_present, True)
    lab.v5().publish(lab.topic("t"), "x")
    second.wait_text("x")


@case("v5")
def a_session_passes_from_one_version_to_the_other(lab):
    old = lab.v3(clean=False)
    old.subscribe(lab.topic("t"))
    old.leave()
    lab.v5().publish(lab.topic("t"), "x", given=about(ContentType="a/b"))
    new = lab.v5(old.id, clean=False, given=FOREVER)
    expect("session present", new.session_present, True)
    expect("the content type", new.wait_text("x").property("ContentType"), "a/b")


@case("v5")
def a_method_of_authentication_that_is_not_known_is_refused(lab):
    a = lab.client(V5).begin(given={"AuthenticationMethod": "MADE-UP", "AuthenticationData": b"x"})
    a.wait("an answer", lambda: a.answer)
    expect("the reason code", a.code, 0x8C)


@case("v5")
def what_was_not_acknowledged_comes_again(lab):
    a = lab.v5()
    b = lab.v5(given=FOREVER, manual_ack=True)
    b.subscribe(lab.topic("t"), 1)
    a.publish(lab.topic("t"), "x", 1, given=about(ContentType="a/b"))
    first = b.wait_text("x")
    b.cut()
    b = lab.v5(b.id, clean=False, given=FOREVER)
    again = b.wait_text("x")
    expect("the flag that says it may have come before", again.dup, True)
    expect("packet id and content type", (again.mid, again.property("ContentType")), (first.mid, "a/b"))


@case("v5")
def a_bound_on_keep_alive_is_told(lab):
    asked = 65_535
    a = lab.client(V5).connect(keep_alive=asked)
    told = a.told("ServerKeepAlive")
    # Only brokers that have such a bound tell it (section 3.2.2.3.14).
    hold(told is None or 0 < told < asked, f"the Server Keep Alive {told}")
    expect("where it is short enough", lab.client(V5).connect(keep_alive=30).told("ServerKeepAlive"), None)


@case("v5")
def everything_of_the_standard_is_said_to_be_there(lab):
    a = lab.v5()
    for name in ("MaximumQoS", "RetainAvailable", "WildcardSubscriptionAvailable", "SharedSubscriptionAvailable"):
        # Left out, they mean 2 and 1 (section 3.2.2.3).
        hold(a.told(name) in (None, 1 if name != "MaximumQoS" else 2), f"{name} {a.told(name)}")
    hold(a.told("SubscriptionIdentifierAvailable") in (None, 1), "no subscription identifiers")
    hold(a.told("ReceiveMaximum") != 0, "a Receive Maximum of 0")


def _options(**given):
    from paho.mqtt.subscribeoptions import SubscribeOptions

    return SubscribeOptions(**given)


def _with_will(lab, text, delay, session):
    """A client whose will has this delay, and whose session is to live so long."""
    client = lab.client(V5)
    given = {} if delay is None else {"WillDelayInterval": delay}
    client.mqtt.will_set(lab.topic("will"), text, 1, False, properties(PacketTypes.WILLMESSAGE, **given))
    return client.connect(given={"SessionExpiryInterval": session})
