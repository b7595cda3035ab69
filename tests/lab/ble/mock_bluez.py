#!/usr/bin/env python3
"""A mock org.bluez on a private D-Bus system bus: BLE client code (btleplug, bluer, ...) runs against it unmodified.
Needs dbus-daemon (Debian: dbus-daemon) and PyPI `dbus-fast`. No root, no Bluetooth, no VM.

  mock_bluez.py [--world world.json] -- CMD ARGS...   run CMD with DBUS_SYSTEM_BUS_ADDRESS set; exit with its status
  mock_bluez.py [--world world.json]                  serve: first stdout line is {"ready":true,"address":"unix:..."};
                                                      control lines are read from stdin; ends with stdin
  --control SOCKET   also take control lines on a Unix socket
World: the same JSON as sim.py (name, address, interval, rssi, jitter, connectable, ad, gatt). interval 0: never by itself.
Of one with "gatt", besides: values {char: hex}, notify_interval (0: never by itself), stubborn [char]: takes what is written
and keeps its own.
"encrypted" [char]: read and written by those alone it has a bond with; "passkey": the number it wants for that, or none.
Control, one JSON object per line; each is answered by one line {"ok":true,...}:
  {"adv":"NAME"}                     one advertisement now        {"burst":"NAME","count":N,"gap":S}
  {"set":"NAME", ...fields}          change a sensor              {"on":"NAME"} {"off":"NAME"}
  {"drop":"NAME"}                    cut the connection           {"forget":"NAME"} remove the device object
  {"notify":"NAME","char":"2a6e","value":"dc09"}                  {"power":true|false}
  {"adapter":"remove"|"add"}         unplug / plug the adapter, with "name":"hci1" under another name
  {"restart":S,"busy":B}             bluetoothd gone for S seconds; then StartDiscovery says InProgress for B seconds
                                     (default 4), as after kill -9
  {"fail":"Connect","error":"org.bluez.Error.Failed","message":"...","count":1}   next call(s) of a method fail
  {"hang":"ReadValue","count":1}     next call(s) get no reply    {"bus":"die"|"start"} end the bus, start it again
  {"monitors":true|false}            whether advertisement monitors are offered
  {"reset":"NAME"}                   the device has forgotten its bonds, the daemon has not; with "error" and "words", what
                                     the daemon then says to Connect
  {"bond":"NAME","is":true|false}    paired with by hand, or removed by hand
  {"ask":"METHOD","about":"NAME","args":[...],"sig":"u","stranger":true}   the daemon, or a stranger, asks all agents about a device
                                     -> {"answers":[value or error name]}
  {"flood":N}                        N devices with random addresses, each heard once
  {"stats":1}                        -> method call counts, filters, written values
How close it is to BlueZ 5.66: README.md, "Fidelity". As with BlueZ, a link outlives the client that made it.
"""
import argparse, asyncio, collections, json, os, random, shutil, signal, socket, sys, tempfile
from xml.sax.saxutils import quoteattr

from dbus_fast import BusType, ErrorType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

ADAPTER, DEVICE = "org.bluez.Adapter1", "org.bluez.Device1"
SVC, CHR, DSC = "org.bluez.GattService1", "org.bluez.GattCharacteristic1", "org.bluez.GattDescriptor1"
AGENTMGR, AGENT = "org.bluez.AgentManager1", "org.bluez.Agent1"
MONMGR, MON = "org.bluez.AdvertisementMonitorManager1", "org.bluez.AdvertisementMonitor1"
PROPS, OM, INTRO = "org.freedesktop.DBus.Properties", "org.freedesktop.DBus.ObjectManager", "org.freedesktop.DBus.Introspectable"
WORLD = [
    {"name": "bthome", "address": "C0:00:00:00:00:01", "interval": 1.0, "rssi": -60, "jitter": 3,
     "ad": [[1, "06"], [22, "d2fc4000{n:02x}02c409"], [9, b"bthome".hex()]]},
    {"name": "same", "address": "C0:00:00:00:00:02", "interval": 1.0, "rssi": -70,
     "ad": [[1, "06"], [255, "990405" + "11" * 23]]},
    {"name": "counter", "address": "C0:00:00:00:00:03", "interval": 0.25, "rssi": -50,
     "ad": [[1, "06"], [255, "ffff{n:08x}"]]},
    {"name": "gattsensor", "address": "C0:00:00:00:00:04", "interval": 0.2, "rssi": -55, "gatt": True,
     "ad": [[1, "06"], [9, b"gattsensor".hex()], [3, "0f181a18"]]},
]
BUSCONF = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=%s</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
<allow send_requested_reply="true"/><allow receive_type="method_call"/><allow receive_type="signal"/>
<allow receive_type="method_return"/><allow receive_type="error"/></policy></busconfig>
"""


class Err(Exception):
    def __init__(self, name, text=""):
        self.name, self.text = (name if "." in name else "org.bluez.Error." + name), text


def u128(u):
    u = u.lower()
    return u if len(u) == 36 else f"{int(u, 16):08x}-0000-1000-8000-00805f9b34fb"


def parse_ad(ad, n):
    """AD structures -> the Device1 properties BlueZ makes of them."""
    p, uuids = {}, []
    for kind, text in ad or []:
        b = bytes.fromhex(text.format(n=n, b=n & 255, h=n >> 8 & 255) if "{" in text else text)
        if kind in (2, 3):
            uuids += [u128(b[i + 1:i + 2].hex() + b[i:i + 1].hex()) for i in range(0, len(b) - 1, 2)]
        elif kind in (6, 7):
            for i in range(0, len(b) - 15, 16):
                h = b[i:i + 16][::-1].hex()
                uuids.append(f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}")
        elif kind in (8, 9):
            p["Name"] = Variant("s", b.decode("utf-8", "replace"))
        elif kind == 10:
            p["TxPower"] = Variant("n", int.from_bytes(b[:1], "little", signed=True))
        elif kind == 0x16:
            p.setdefault("ServiceData", Variant("a{sv}", {})).value[u128(b[1::-1].hex())] = Variant("ay", b[2:])
        elif kind == 0x21:
            h = b[15::-1].hex()
            p.setdefault("ServiceData", Variant("a{sv}", {})).value[
                f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"] = Variant("ay", b[16:])
        elif kind == 0xFF:
            p.setdefault("ManufacturerData", Variant("a{qv}", {})).value[int.from_bytes(b[:2], "little")] = Variant("ay", b[2:])
    return p, uuids


class Sensor:
    def __init__(self, mock, spec):
        self.m, self.s, self.n, self.on, self.task = mock, spec, 0, True, None
        self.known = self.connected = False
        # Whether the daemon has a bond with it, whether it knows that itself, and whether a passkey went into it.
        self.paired = self.has_bond = self.bond_is_safe = False
        self.value = {"2a19": bytes([87]), "2a6e": (2500).to_bytes(2, "little"), "2a56": b"\0\0"}
        self.value.update({k: bytes.fromhex(v) for k, v in spec.get("values", {}).items()})
        self.notifying, self.forget = {}, None

    @property
    def path(self):
        return f"{self.m.hci}/dev_{self.s['address'].replace(':', '_')}"

    async def run(self, phase=0.0):
        await asyncio.sleep(phase * self.s.get("interval", 1.0))
        while True:
            i = self.s.get("interval", 1.0)
            if i and self.on and not self.connected:
                self.advertise()
            await asyncio.sleep(i or 0.5)

    def advertise(self):
        self.n += 1
        m = self.m
        if not (m.up and m.powered and (m.discovering or m.monitors)):
            return
        j = self.s.get("jitter", 0)
        rssi = int(self.s.get("rssi", -60) + (random.randint(-j, j) if j else 0))
        props, uuids = parse_ad(self.s["ad"] + self.s.get("scan_rsp", []), self.n)
        monitored = m.monitor_match(self)
        if not m.filter_accepts(rssi, uuids) and not monitored:
            return
        props["RSSI"] = Variant("n", rssi)
        if not self.known:
            self.known = True
            a = self.s["address"]
            base = {"Address": Variant("s", a), "AddressType": Variant("s", self.s.get("address_type", "random")),
                    "Alias": Variant("s", props["Name"].value if "Name" in props else a.replace(":", "-")),
                    "Paired": Variant("b", self.paired), "Bonded": Variant("b", self.paired), "Trusted": Variant("b", False), "Blocked": Variant("b", False),
                    "LegacyPairing": Variant("b", False), "Connected": Variant("b", False), "UUIDs": Variant("as", uuids),
                    "Adapter": Variant("o", m.hci), "ServicesResolved": Variant("b", False)}
            m.add(self.path, DEVICE, {**base, **props})
        else:
            cur, out = m.objects[self.path][DEVICE], {}
            for k, v in props.items():
                old = cur.get(k)
                if k in ("ManufacturerData", "ServiceData") and old and not m.duplicates:  # BlueZ replaces only with DuplicateData
                    v = Variant(v.signature, {**old.value, **v.value})
                if m.duplicates and k in ("RSSI", "ManufacturerData", "ServiceData"):
                    out[k] = v
                elif k == "RSSI" and old and not m.filtered and abs(old.value - rssi) < 8:
                    continue  # without a filter BlueZ hides small RSSI changes
                elif old is None or old.value != v.value:
                    out[k] = v
            if uuids and set(uuids) - set(cur["UUIDs"].value):
                out["UUIDs"] = Variant("as", sorted(set(uuids) | set(cur["UUIDs"].value)))
            m.change(self.path, DEVICE, out)
        if self.forget:
            self.forget.cancel()
            self.forget = None
        for mon in monitored:
            m.device_found(mon, self.path)

    def gone(self, connected_too=True):
        if self.connected:
            self.set_disconnected()
        if self.known:
            self.known = False
            self.m.remove(self.path)

    def set_bond(self, there, safe=True):
        self.paired, self.bond_is_safe = there, safe
        if there:
            self.has_bond = True
            self.m.change(self.path, DEVICE, {"Paired": Variant("b", True), "Bonded": Variant("b", True)})
        else:
            self.gone()

    async def connect(self):
        if not self.s.get("gatt") and not self.s.get("connectable"):
            await asyncio.sleep(self.s.get("connect_time", 0.05))
            raise Err("Failed", "le-connection-abort-by-local")
        if self.connected:
            return
        await asyncio.sleep(self.s.get("connect_time", 0.05))
        self.connected = True
        self.m.most_connected = max(self.m.most_connected, sum(s.connected for s in self.m.sensors.values()))
        self.m.change(self.path, DEVICE, {"Connected": Variant("b", True)})
        asyncio.get_running_loop().call_later(self.s.get("resolve_time", 0.05), self.resolve)

    def resolve(self):
        if not self.connected:
            return
        services = self.s.get("services") or {"180f": {"2a19": ["read"]}, "181a": {"2a6e": ["read", "notify"], "2a56": ["read", "write"]}}
        h, uuids = 0x10, []
        for su, chars in services.items():
            sp = f"{self.path}/service{h:04x}"
            h, uuids = h + 1, uuids + [u128(su)]
            self.m.add(sp, SVC, {"UUID": Variant("s", u128(su)), "Device": Variant("o", self.path),
                                 "Primary": Variant("b", True), "Includes": Variant("ao", [])})
            for cu, flags in chars.items():
                cp = f"{sp}/char{h:04x}"
                self.m.chars[cp] = (self, cu)
                p = {"UUID": Variant("s", u128(cu)), "Service": Variant("o", sp), "Flags": Variant("as", flags),
                     "Value": Variant("ay", b""), "MTU": Variant("q", self.s.get("mtu", 247))}
                if "notify" in flags or "indicate" in flags:
                    p["Notifying"], p["NotifyAcquired"] = Variant("b", False), Variant("b", False)
                self.m.add(cp, CHR, p)
                if "Notifying" in p:
                    self.m.add(f"{cp}/desc{h + 2:04x}", DSC, {"UUID": Variant("s", u128("2902")), "Characteristic": Variant("o", cp)})
                h += 3
        cur = set(self.m.objects[self.path][DEVICE]["UUIDs"].value)
        self.m.change(self.path, DEVICE, {"UUIDs": Variant("as", sorted(cur | set(uuids)))})
        self.m.change(self.path, DEVICE, {"ServicesResolved": Variant("b", True)})

    def set_disconnected(self):
        self.connected = False
        for t in self.notifying.values():
            t.cancel()
        self.notifying = {}
        for p in sorted((p for p in self.m.objects if p.startswith(self.path + "/")), reverse=True):
            self.m.chars.pop(p, None)
            self.m.remove(p)
        self.m.change(self.path, DEVICE, {"ServicesResolved": Variant("b", False)})
        self.m.change(self.path, DEVICE, {"Connected": Variant("b", False)})

    async def notify(self, path, char):
        while self.s.get("notify_interval", 0.3):
            await asyncio.sleep(self.s.get("notify_interval", 0.3))
            v = (int.from_bytes(self.value[char], "little") + 1) & 0xFFFF
            self.push(path, char, v.to_bytes(2, "little"))

    def push(self, path, char, value):
        self.value[char] = value
        if path in self.notifying:
            self.m.change(path, CHR, {"Value": Variant("ay", value)})


class Patient:
    """The bus's socket, as dbus-fast's writer sees it. That takes "not now" for the end of the connection, closes it, and then
    fails on the closed descriptor (EBADF); "nothing yet" it takes for what it is, and goes on when there is room again."""

    def __init__(self, sock):
        self.sock, self.held = sock, False

    def send(self, data):
        try:
            return 0 if self.held else self.sock.send(data)
        except BlockingIOError:
            return 0


class Mock:
    def __init__(self, specs):
        self.objects, self.chars, self.sensors = {}, {}, {}
        self.hci, self.offers_monitors = "/org/bluez/hci0", True
        self.up, self.powered, self.clients, self.filters = True, True, set(), {}
        self.agents = {}  # who has registered one: where it is, and what it can do
        self.monitors, self.faults, self.hangs, self.busy_until = {}, {}, {}, 0.0
        self.tries, self.calls, self.written, self.answering, self.most_connected = [], collections.Counter(), [], 0, 0
        for s in specs:
            self.sensors[s["name"]] = Sensor(self, s)

    # ---- bus
    async def start(self, address):
        await self.join(address)
        for s in self.sensors.values():
            s.task = asyncio.ensure_future(s.run())

    async def join(self, address):
        self.address = address
        self.bus = await MessageBus(bus_address=address).connect()
        self.bus._writer.sock = Patient(self.bus._sock)
        self.bus.add_message_handler(self.handle)
        await self.call(Message(destination="org.freedesktop.DBus", path="/org/freedesktop/DBus", interface="org.freedesktop.DBus",
                                member="AddMatch", signature="s",
                                body=["type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged'"]))
        self.add_adapter()
        await self.bus.request_name("org.bluez")

    async def call(self, m):
        r = await self.bus.call(m)
        if r.message_type == MessageType.ERROR:
            raise Err(r.error_name, str(r.body))
        return r

    def signal(self, path, iface, member, sig, body):
        if self.up and self.bus.connected:
            self.bus.send(Message.new_signal(path, iface, member, sig, body))

    def add(self, path, iface, props):
        self.objects.setdefault(path, {})[iface] = props
        self.signal("/", OM, "InterfacesAdded", "oa{sa{sv}}", [path, {iface: props}])

    def remove(self, path):
        for p in sorted((p for p in self.objects if p == path or p.startswith(path + "/")), reverse=True):
            self.signal("/", OM, "InterfacesRemoved", "oas", [p, list(self.objects.pop(p))])

    def change(self, path, iface, props, gone=()):
        if path in self.objects and (props or gone):
            self.objects[path][iface].update(props)
            for g in gone:
                self.objects[path][iface].pop(g, None)
            self.signal(path, PROPS, "PropertiesChanged", "sa{sv}as", [iface, props, list(gone)])

    # ---- adapter
    def add_adapter(self):
        self.objects.setdefault("/org/bluez", {})[AGENTMGR] = {}
        self.add(self.hci, ADAPTER, {
            "Address": Variant("s", "00:1A:7D:00:00:01"), "AddressType": Variant("s", "public"), "Name": Variant("s", "mock"),
            "Alias": Variant("s", "mock"), "Class": Variant("u", 0), "Powered": Variant("b", self.powered),
            "PowerState": Variant("s", "on" if self.powered else "off"), "Discoverable": Variant("b", False),
            "DiscoverableTimeout": Variant("u", 180), "Pairable": Variant("b", True), "PairableTimeout": Variant("u", 0),
            "Discovering": Variant("b", False), "UUIDs": Variant("as", []), "Modalias": Variant("s", "usb:v1D6Bp0246d0542"),
            "Roles": Variant("as", ["central", "peripheral"]), "ExperimentalFeatures": Variant("as", [])})
        if self.offers_monitors:
            self.objects[self.hci][MONMGR] = {"SupportedMonitorTypes": Variant("as", ["or_patterns"]), "SupportedFeatures": Variant("as", [])}

    def drop_all(self):
        for s in self.sensors.values():
            s.gone()
        self.clients.clear(), self.filters.clear(), self.monitors.clear(), self.agents.clear()

    @property
    def discovering(self):
        return bool(self.clients)

    @property
    def active_filters(self):
        return [self.filters.get(c) for c in self.clients]

    @property
    def filtered(self):
        return any(self.active_filters)

    @property
    def duplicates(self):
        return any(f and f.get("DuplicateData") and f["DuplicateData"].value for f in self.active_filters)

    def filter_accepts(self, rssi, uuids):
        for f in self.active_filters:  # BlueZ merges the filters of all clients
            if not f:
                return True
            if "UUIDs" in f and f["UUIDs"].value and not {u128(u) for u in f["UUIDs"].value} & set(uuids):
                continue
            if "RSSI" in f and rssi < f["RSSI"].value:
                continue
            return True
        return False

    def update_discovering(self):
        if self.hci not in self.objects:
            return
        if self.objects[self.hci][ADAPTER]["Discovering"].value != self.discovering:
            self.change(self.hci, ADAPTER, {"Discovering": Variant("b", self.discovering)})
            if not self.discovering:
                for s in self.sensors.values():
                    if s.known and not s.connected:
                        self.change(s.path, DEVICE, {}, ["RSSI"])
                        s.forget = asyncio.get_running_loop().call_later(30, s.gone)  # TemporaryTimeout

    def set_power(self, on):
        self.powered = on
        if not on:
            self.clients.clear()
            for s in self.sensors.values():
                if s.connected:
                    s.set_disconnected()
        self.change(self.hci, ADAPTER, {"Powered": Variant("b", on), "PowerState": Variant("s", "on" if on else "off")})
        self.update_discovering()

    # ---- advertisement monitors (passive scan)
    async def register_monitor(self, sender, root):
        r = await self.call(Message(destination=sender, path=root, interface=OM, member="GetManagedObjects"))
        for path, ifaces in r.body[0].items():
            if MON in ifaces:
                pats = [(p[0], p[1], bytes(p[2])) for p in ifaces[MON].get("Patterns", Variant("a(yyay)", [])).value]
                self.monitors[(sender, path)] = {"root": root, "patterns": pats}
                self.bus.send(Message(destination=sender, path=path, interface=MON, member="Activate"))

    def monitor_match(self, s):
        return [k for k, m in self.monitors.items() if any(
            kind == t and bytes.fromhex(text.format(n=s.n) if "{" in text else text)[off:off + len(c)] == c
            for off, t, c in m["patterns"] for kind, text in s.s["ad"])]

    def device_found(self, key, path):  # once per matching advertisement, as BlueZ 5.66 does
        self.bus.send(Message(destination=key[0], path=key[1], interface=MON, member="DeviceFound", signature="o", body=[path]))

    # ---- requests
    def handle(self, m):
        if m.message_type == MessageType.SIGNAL and m.member == "NameOwnerChanged":
            name, _old, new = m.body
            if not new:
                self.clients.discard(name), self.filters.pop(name, None), self.agents.pop(name, None)
                for k in [k for k in self.monitors if k[0] == name]:
                    del self.monitors[k]
                self.update_discovering()
            return
        if m.message_type != MessageType.METHOD_CALL or not self.up:
            return
        asyncio.ensure_future(self.answer(m))
        return True

    async def answer(self, m):
        self.calls[m.member] += 1
        self.answering += 1
        try:
            if self.hangs.get(m.member, 0) > 0:
                self.hangs[m.member] -= 1
                return
            if m.member in self.faults and self.faults[m.member]["count"] > 0:
                f = self.faults[m.member]
                f["count"] -= 1
                raise Err(f.get("error", "Failed"), f.get("message", "injected"))
            sig, body = await self.method(m)
            self.bus.send(Message.new_method_return(m, sig, body))
        except Err as e:
            self.bus.send(Message.new_error(m, e.name, e.text))
        except Exception as e:
            print("mock_bluez:", m.member, repr(e), file=sys.stderr)
            self.bus.send(Message.new_error(m, "org.freedesktop.DBus.Error.Failed", repr(e)))
        finally:
            self.answering -= 1

    async def method(self, m):
        path, iface, name, b = m.path, m.interface, m.member, m.body
        if iface == OM and name == "GetManagedObjects":
            return "a{oa{sa{sv}}}", [{p: i for p, i in self.objects.items() if i}]
        if iface == INTRO:
            return "s", [self.introspect(path)]
        if iface == "org.freedesktop.DBus.Peer":
            return "", []
        obj = self.objects.get(path)
        if obj is None:
            raise Err("org.freedesktop.DBus.Error.UnknownObject",
                      f'Method "{name}" with signature "{m.signature}" on interface "{iface}" doesn\'t exist')
        if iface == PROPS:
            if b[0] not in obj:
                raise Err("org.freedesktop.DBus.Error.InvalidArgs", f"No such interface '{b[0]}'")
            if name == "GetAll":
                return "a{sv}", [obj[b[0]]]
            if name == "Get":
                if b[1] not in obj[b[0]]:
                    raise Err("org.freedesktop.DBus.Error.InvalidArgs", f"No such property '{b[1]}'")
                return "v", [obj[b[0]][b[1]]]
            if b[0] == ADAPTER and b[1] == "Powered":
                if b[2].value != self.powered:
                    self.set_power(b[2].value)
            else:
                self.change(path, b[0], {b[1]: b[2]})
            return "", []
        if iface not in obj:
            raise Err("org.freedesktop.DBus.Error.UnknownMethod", f"no {iface} at {path}")
        if iface == ADAPTER:
            return await self.adapter_method(m.sender, name, b)
        if iface == AGENTMGR:
            if name == "RegisterAgent":
                if m.sender in self.agents:
                    raise Err("AlreadyExists", "Already Exists")
                self.agents[m.sender] = (b[0], b[1])
            elif self.agents.get(m.sender, [None])[0] != b[0]:
                raise Err("DoesNotExist", "Does Not Exist")
            elif name == "UnregisterAgent":
                del self.agents[m.sender]
            return "", []
        if iface == MONMGR:
            if name == "RegisterMonitor":
                asyncio.ensure_future(self.register_monitor(m.sender, b[0]))
            else:
                for k in [k for k, v in self.monitors.items() if k[0] == m.sender and v["root"] == b[0]]:
                    del self.monitors[k]
            return "", []
        if iface == DEVICE:
            s = next(s for s in self.sensors.values() if s.path == path)
            if name in ("Connect", "Pair") and not self.powered:
                raise Err("NotReady", "Resource Not Ready")
            if name == "Connect":
                if s.paired and not s.has_bond:
                    raise Err(*s.stranger)
                await s.connect()
            elif name == "Pair":
                await self.pair(m.sender, s)
            elif name == "CancelPairing":
                raise Err("DoesNotExist", "Does Not Exist")
            elif name == "Disconnect":
                if s.connected:
                    await asyncio.sleep(0.02)
                    s.set_disconnected()
            return "", []
        if iface == CHR:
            s, char = self.chars[path]
            flags = obj[CHR]["Flags"].value
            if char in s.s.get("encrypted", []) and not (s.has_bond and s.bond_is_safe):
                raise Err("NotPermitted", "Not paired")
            if name == "ReadValue":
                if "read" not in flags:
                    raise Err("NotPermitted", "Read not permitted")
                await asyncio.sleep(s.s.get("att_time", 0.005))
                v = s.value[char][b[0]["offset"].value if "offset" in b[0] else 0:]
                self.change(path, CHR, {"Value": Variant("ay", v)})  # BlueZ also announces a read value
                return "ay", [v]
            if name == "WriteValue":
                if not {"write", "write-without-response"} & set(flags):
                    raise Err("NotPermitted", "Write not permitted")
                await asyncio.sleep(s.s.get("att_time", 0.005))
                if char not in s.s.get("stubborn", []):  # characteristics that take a value and keep their own
                    s.value[char] = bytes(b[0])
                self.written.append([s.s["name"], char, bytes(b[0]).hex()])
                return "", []
            if name == "StartNotify":
                if "Notifying" not in obj[CHR]:
                    raise Err("NotSupported", "Operation is not supported")
                if path not in s.notifying:
                    s.notifying[path] = asyncio.ensure_future(s.notify(path, char))
                    self.change(path, CHR, {"Notifying": Variant("b", True)})
                return "", []
            if name == "StopNotify":
                if path not in s.notifying:
                    raise Err("Failed", "No notify session started")
                s.notifying.pop(path).cancel()
                self.change(path, CHR, {"Notifying": Variant("b", False)})
                return "", []
        if iface == DSC and name in ("ReadValue", "WriteValue"):
            return ("ay", [b"\0\0"]) if name == "ReadValue" else ("", [])
        raise Err("org.freedesktop.DBus.Error.UnknownMethod", f"{iface}.{name}")

    async def pair(self, sender, s):
        if s.paired:
            raise Err("AlreadyExists", "Already Exists")
        await s.connect()
        s.bond_is_safe = True
        agent = self.agents.get(sender)
        if agent and agent[1].startswith("Keyboard") and "passkey" in s.s:
            try:
                told = await self.call(Message(destination=sender, path=agent[0], interface=AGENT, member="RequestPasskey",
                                               signature="o", body=[s.path]))
            except Err as e:
                s.set_disconnected()
                raise Err("AuthenticationCanceled" if e.name.endswith("Canceled") else "AuthenticationRejected", e.name)
            await asyncio.sleep(s.s.get("pair_time", 0.02))
            self.tries.append(told.body[0])
            if told.body[0] != s.s["passkey"]:
                s.set_disconnected()
                raise Err("AuthenticationFailed", "Authentication Failed")
        else:
            s.bond_is_safe = "passkey" not in s.s
        s.set_bond(True, s.bond_is_safe)

    async def ask_agents(self, c):
        """As a daemon does about a device that comes by itself; or as somebody who is none."""
        bus, answers = self.bus, []
        if c.get("stranger"):
            bus = await MessageBus(bus_address=self.address).connect()
        for sender, (path, _) in self.agents.items():
            r = await bus.call(Message(destination=sender, path=path, interface=AGENT, member=c["ask"],
                                       signature="o" + c.get("sig", ""), body=[self.sensors[c["about"]].path, *c.get("args", [])]))
            answers.append(r.error_name if r.message_type == MessageType.ERROR else r.body)
        if bus is not self.bus:
            bus.disconnect()
        return answers

    async def adapter_method(self, sender, name, b):
        if name == "SetDiscoveryFilter":
            self.filters[sender] = b[0] or None
        elif name == "GetDiscoveryFilters":
            return "as", [["UUIDs", "RSSI", "Pathloss", "Transport", "DuplicateData", "Discoverable", "Pattern"]]
        elif name == "StartDiscovery":
            if not self.powered:
                raise Err("NotReady", "Resource Not Ready")
            if sender in self.clients or asyncio.get_running_loop().time() < self.busy_until:
                raise Err("InProgress", "Operation already in progress")
            self.clients.add(sender)
            self.update_discovering()
        elif name == "StopDiscovery":
            if not self.powered:
                raise Err("NotReady", "Resource Not Ready")
            if sender not in self.clients:
                raise Err("Failed", "No discovery started")
            self.clients.discard(sender)
            self.update_discovering()
        elif name == "RemoveDevice":
            s = next((s for s in self.sensors.values() if s.path == b[0] and s.known), None)
            if not s:
                raise Err("DoesNotExist", "Does Not Exist")
            s.set_bond(False)
        else:
            raise Err("org.freedesktop.DBus.Error.UnknownMethod", name)
        return "", []

    METHODS = {ADAPTER: "StartDiscovery StopDiscovery SetDiscoveryFilter:a{sv} RemoveDevice:o", DEVICE: "Connect Disconnect Pair CancelPairing",
               CHR: "ReadValue:a{sv}>ay WriteValue:ay,a{sv} StartNotify StopNotify", SVC: "", DSC: "ReadValue:a{sv}>ay",
               AGENTMGR: "RegisterAgent:o,s UnregisterAgent:o RequestDefaultAgent:o", MONMGR: "RegisterMonitor:o UnregisterMonitor:o"}

    def introspect(self, path):
        x = [f"<interface name={quoteattr(i)}/>" for i in (INTRO, PROPS)]
        for iface, props in self.objects.get(path, {}).items():
            x.append(f"<interface name={quoteattr(iface)}>")
            for mth in self.METHODS.get(iface, "").split():
                n, _, args = mth.partition(":")
                ins, _, outs = args.partition(">")
                x.append(f'<method name="{n}">' + "".join(f'<arg type="{t}" direction="in"/>' for t in ins.split(",") if t) +
                         "".join(f'<arg type="{t}" direction="out"/>' for t in outs.split(",") if t) + "</method>")
            x += [f'<property name="{k}" type="{v.signature}" access="read"/>' for k, v in props.items()] + ["</interface>"]
        pre = path.rstrip("/") + "/"
        kids = sorted({p[len(pre):].split("/")[0] for p in self.objects if p.startswith(pre)})
        return ('<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN" '
                '"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd"><node>' + "".join(x) +
                "".join(f'<node name="{k}"/>' for k in kids) + "</node>")

    # ---- control
    async def control(self, c, daemon):
        S = self.sensors
        if "adv" in c:
            S[c["adv"]].advertise()
        elif "burst" in c:
            sensor, way_out = S[c["burst"]], self.bus._writer.sock
            way_out.held = not c.get("gap")  # nothing leaves before everything is there, so that it is a burst on a busy machine, too
            for _ in range(c["count"]):
                sensor.advertise()
                if c.get("gap"):
                    await asyncio.sleep(c["gap"])
            way_out.held = False
        elif "set" in c:
            n = c.pop("set")
            if n not in S:
                S[n] = Sensor(self, {"name": n, **c})
                S[n].task = asyncio.ensure_future(S[n].run(random.random()))
            S[n].s.update(c)
            S[n].value.update({k: bytes.fromhex(v) for k, v in c.get("values", {}).items()})
        elif "on" in c or "off" in c:
            S[c.get("on") or c["off"]].on = "on" in c
        elif "drop" in c:
            if S[c["drop"]].connected:
                S[c["drop"]].set_disconnected()
        elif "forget" in c:
            S[c["forget"]].gone()
        elif "notify" in c:
            path = next(p for p, (s, ch) in self.chars.items() if s is S[c["notify"]] and ch == c["char"])
            S[c["notify"]].push(path, c["char"], bytes.fromhex(c["value"]))
        elif "power" in c:
            self.set_power(c["power"])
        elif "adapter" in c:
            if c["adapter"] == "remove":
                self.drop_all()
                self.remove(self.hci)
            else:
                self.powered = c.get("powered", False)  # a plugged adapter comes up unpowered unless AutoEnable
                self.hci = "/org/bluez/" + c.get("name", "hci0")
                self.add_adapter()
        elif "restart" in c:  # as by kill -9: the bus tells of the name, nobody of the objects
            self.up = False
            self.drop_all()
            self.remove(self.hci)
            await self.bus.release_name("org.bluez")
            await asyncio.sleep(c["restart"])
            self.up = True
            self.busy_until = asyncio.get_running_loop().time() + c.get("busy", 4)
            self.add_adapter()
            await self.bus.request_name("org.bluez")
        elif "fail" in c:
            self.faults[c["fail"]] = {"count": 1, **c}
        elif "hang" in c:
            self.hangs[c["hang"]] = c.get("count", 1)
        elif "monitors" in c:
            self.offers_monitors = c["monitors"]
            self.remove(self.hci), self.add_adapter()
        elif "reset" in c:
            S[c["reset"]].has_bond = False
            S[c["reset"]].stranger = c.get("error", "AuthenticationFailed"), c.get("words", "Authentication Failed")
            if S[c["reset"]].connected:
                S[c["reset"]].set_disconnected()
        elif "bond" in c:
            S[c["bond"]].set_bond(c["is"])
        elif "ask" in c:
            return {"answers": await self.ask_agents(c)}
        elif "flood" in c:
            await self.flood(c["flood"])
        elif "bus" in c:
            if c["bus"] == "die":
                self.up = False
                await daemon.stop()
            else:
                await daemon.start()
                await self.rejoin(daemon.address)
        elif "stats" in c:
            return {"calls": dict(self.calls), "written": self.written, "most_connected": self.most_connected,
                    "agents": list(self.agents.values()), "tries": self.tries, "trusted": [s.s["name"] for s in S.values() if
                    s.known and self.objects[s.path][DEVICE]["Trusted"].value], "discovering": self.discovering, "monitors": len(self.monitors), "sent": {k: s.n for k, s in S.items()},
                    "filters": [{k: v.value for k, v in (f or {}).items()} for f in self.filters.values()]}
        else:
            raise ValueError("unknown control")
        return {}

    async def flood(self, count):
        """Phones passing by: so many devices with random addresses, each heard once."""
        for i in range(count):
            address = ":".join(f"{b:02X}" for b in random.Random(i).randbytes(6))
            s = Sensor(self, {"name": address, "address": address, "rssi": -90, "ad": [[1, "06"], [255, f"4c00{i:08x}"]]})
            s.advertise()
            if i % 50 == 49:
                await asyncio.sleep(0.01)  # let the answers out
                while self.answering > 200:
                    await asyncio.sleep(0.01)

    async def rejoin(self, address):
        """On a bus that was started again: as a daemon that was, too."""
        self.objects, self.chars = {}, {}
        for s in self.sensors.values():
            s.known = s.connected = False
        self.clients.clear(), self.filters.clear(), self.monitors.clear(), self.agents.clear()
        await self.join(address)
        self.up = True

    async def lines(self, reader, write, daemon):
        while line := await reader.readline():
            try:
                r = {"ok": True, **await self.control(json.loads(line), daemon)}
            except Exception as e:
                r = {"ok": False, "error": repr(e)}
            write((json.dumps(r) + "\n").encode())


class Bus:
    """A system bus of our own, always at the same place."""

    def __init__(self, folder):
        self.folder, self.process = folder, None
        self.address = f"unix:path={folder}/bus"
        with open(f"{folder}/bus.conf", "w") as f:
            f.write(BUSCONF % f"{folder}/bus")

    async def start(self):
        self.process = await asyncio.create_subprocess_exec(
            shutil.which("dbus-daemon") or "dbus-daemon", f"--config-file={self.folder}/bus.conf", "--nofork", "--nopidfile",
            "--print-address=1", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL)
        await self.process.stdout.readline()

    async def stop(self):
        if self.process and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        if os.path.exists(f"{self.folder}/bus"):
            os.unlink(f"{self.folder}/bus")


async def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument("--world")
    p.add_argument("--control")
    p.add_argument("cmd", nargs=argparse.REMAINDER)
    a = p.parse_args()
    cmd = a.cmd[1:] if a.cmd[:1] == ["--"] else a.cmd
    for sig in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sig, asyncio.current_task().cancel)
    tmp = tempfile.mkdtemp(prefix="mock_bluez.")
    daemon, child = Bus(tmp), None
    try:
        await daemon.start()
        mock = Mock(json.load(open(a.world)) if a.world else json.loads(json.dumps(WORLD)))
        await mock.start(daemon.address)
        if a.control:
            async def serve(r, w):
                await mock.lines(r, w.write, daemon)
            await asyncio.start_unix_server(serve, a.control)
        if cmd:
            child = await asyncio.create_subprocess_exec(*cmd, env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": daemon.address})
            return await child.wait()
        print(json.dumps({"ready": True, "address": daemon.address}), flush=True)
        r = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(r), sys.stdin)

        def out(b):
            sys.stdout.write(b.decode())
            sys.stdout.flush()

        await mock.lines(r, out, daemon)
        return 0
    finally:
        if child and child.returncode is None:
            child.send_signal(signal.SIGTERM)
        await daemon.stop()
        shutil.rmtree(tmp, ignore_errors=True)


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except asyncio.CancelledError:
        sys.exit(143)
