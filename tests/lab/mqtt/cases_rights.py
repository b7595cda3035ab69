"""Who may do what, at a broker with these users and nobody else:

    all     may publish and subscribe everywhere
    panel   may publish on open/# and own/%c/#, and subscribe to open/#, own/%c/# and user/%u/#
    mute    may subscribe to open/#
    plug    may do what mute may; nobody has logged in as this one yet

Each has `NAME-secret` for a password.
"""

import paho.mqtt.client as paho
from client import V3, V5, about, expect, hold, properties
from paho.mqtt.packettypes import PacketTypes
from run import case

NO_SUBSCRIPTIONS = "2.0.11 grants every subscription, and looks at deliveries only"


def attach(lab, user, version=V5, client_id=None, given=None):
    """A client that is logged in."""
    client = lab.client(version, client_id)
    client.mqtt.username_pw_set(user, f"{user}-secret")
    return client.connect(given=given)


def end(lab, *clients):
    """Waits until everything published so far has reached these clients."""
    for client in clients:
        client.subscribe(f"open/{lab.root}-end", 1)
    attach(lab, "all").publish(f"open/{lab.root}-end", "end", 1)
    for client in clients:
        client.wait_text("end")


@case("rights")
def who_logs_in_is_let_in(lab):
    for version in (V3, V5):
        for user in ("all", "panel", "mute"):
            attach(lab, user, version)


@case("rights", mosquitto=NO_SUBSCRIPTIONS)
def a_subscription_to_what_one_may_not_hear_is_refused(lab):
    for version, refused in ((V3, 0x80), (V5, 0x87)):
        client = attach(lab, "panel", version)
        for topic in ("closed/a", "closed/#", "own/other/a", "user/other/#", "open", f"$share/{lab.root}/closed/#"):
            # To 3.1.1 a share is a topic like any other, and one that nobody may hear.
            expected = 0x01 if topic == "open" else refused
            got = client.subscribe(topic, 1)
            expect(f"the answer to a subscription to {topic}", got, expected)
        # Those beside it are granted.
        options = [(topic, 1) for topic in ("open/a", "closed/a", f"own/{client.id}/a", "user/panel/a")]
        if version == V5:
            options = [(topic, paho.SubscribeOptions(qos=qos)) for topic, qos in options]
        _, mid = client.mqtt.subscribe(options)
        client.wait("a SUBACK", lambda: mid in client.acks)
        expect("the answers", [code.value for code in client.acks[mid]], [1, refused, 1, 1])


@case("rights", mosquitto="its patterns hold for every user")
def a_wide_subscription_brings_only_what_one_may_hear(lab):
    panel, mute, says = attach(lab, "panel"), attach(lab, "mute"), attach(lab, "all")
    for client in (panel, mute):
        client.subscribe("#", 1)
        client.subscribe("+/+/+", 1)
    topics = {
        f"open/{lab.root}/a": "both",
        f"closed/{lab.root}/a": "nobody",
        f"own/{panel.id}/a": "panel",
        f"own/{mute.id}/a": "nobody",
        "user/panel/" + lab.root: "panel",
        "user/mute/" + lab.root: "nobody",
    }
    for topic, word in topics.items():
        says.publish(topic, f"{lab.root} {word}")
    end(lab, panel, mute)
    ours = lambda client: sorted({text.split()[1] for text in client.texts() if text.startswith(lab.root)})
    expect("what panel hears", ours(panel), ["both", "panel"])
    expect("what mute hears", ours(mute), ["both"])


@case("rights")
def a_retained_message_one_may_not_hear_does_not_greet(lab):
    says, panel = attach(lab, "all"), attach(lab, "panel")
    for topic in (f"open/{lab.root}", f"closed/{lab.root}"):
        says.publish(topic, lab.root, retain=True)
    panel.subscribe("#", 1)
    end(lab, panel)
    expect("what greets", [heard.topic for heard in panel.heard if heard.text == lab.root], [f"open/{lab.root}"])
    for topic in (f"open/{lab.root}", f"closed/{lab.root}"):
        says.publish(topic, "", retain=True)


@case("rights")
def what_one_may_not_publish_reaches_nobody(lab):
    hears = attach(lab, "all")
    hears.subscribe("#", 1)
    for version in (V3, V5):
        panel, mute = attach(lab, "panel", version), attach(lab, "mute", version)
        forbidden = ((panel, f"closed/{lab.root}"), (panel, "own/other"), (panel, f"user/panel/{lab.root}"), (mute, f"open/{lab.root}"))
        for client, topic in forbidden:
            for qos in (0, 1, 2):
                code = client.publish(topic, f"{lab.root} forbidden", qos, retain=qos == 1)
                # With QoS 2 paho does not look at the code of the PUBREC.
                if qos == 1 and version == V5:
                    expect(f"the answer to {topic}", code, 0x87)
        panel.publish(f"open/{lab.root}", f"{lab.root} allowed")
        panel.publish(f"own/{panel.id}/x", f"{lab.root} own")
    end(lab, hears)
    heard = [text.split()[1] for text in hears.texts() if text.startswith(lab.root)]
    expect("what arrives", heard, ["allowed", "own", "allowed", "own"])


@case("rights")
def a_will_goes_where_its_client_may_publish_and_nowhere_else(lab):
    hears = attach(lab, "all")
    hears.subscribe("#", 1)
    for topic in (f"closed/{lab.root}", f"open/{lab.root}"):
        client = lab.client(V5)
        client.mqtt.username_pw_set("panel", "panel-secret")
        client.mqtt.will_set(topic, f"{lab.root} will", 1, properties=properties(PacketTypes.WILLMESSAGE))
        client.begin()
        # It may be refused at once as well.
        client.wait("an answer", lambda: client.answer)
        client.cut()
    hears.wait("the will", lambda: any(heard.topic == f"open/{lab.root}" for heard in hears.heard))
    end(lab, hears)
    hold(not any(heard.topic == f"closed/{lab.root}" for heard in hears.heard), "a will gets where its client may not publish")


@case("rights")
def a_request_is_answered_within_the_rights_of_both(lab):
    panel, says = attach(lab, "panel"), attach(lab, "all")
    panel.subscribe(f"own/{panel.id}/answers", 1)
    says.subscribe(f"open/{lab.root}/ask", 1)
    panel.publish(f"open/{lab.root}/ask", "?", given=about(ResponseTopic=f"own/{panel.id}/answers"))
    says.publish(says.wait_text("?").property("ResponseTopic"), "!")
    panel.wait_text("!")


@case("rights")
def thirty_clients_of_one_user_log_in_at_once(lab):
    """As after a power cut, when all plugs of a site come back in the same second."""
    clients = [lab.client(V5) for _ in range(30)]
    for client in clients:
        client.mqtt.username_pw_set("plug", "plug-secret")
        client.begin()
    for client in clients:
        client.wait("an answer", lambda: client.answer)
    codes = [client.code for client in clients]
    expect("how many are let in", codes.count(0), len(codes))


# The last one, because who tries too often has to wait.
@case("rights")
def who_brings_no_login_or_a_wrong_one_is_refused(lab):
    wrong = [(None, None), ("panel", "wrong"), ("panel", ""), ("nobody", "panel-secret")]
    for version, logins in ((V3, wrong[:2]), (V5, wrong)):
        for user, password in logins:
            client = lab.client(version)
            if user:
                client.mqtt.username_pw_set(user, password)
            client.begin()
            client.wait("an answer", lambda: client.answer)
            # Return codes 4 and 5 of MQTT 3.1.1 are shown as the reason codes of MQTT 5.
            hold(client.code in (0x86, 0x87), f"{user} with a wrong password: {client.code:#x}")
            client.wait_end()
