#!/usr/bin/env python3
"""serial_lab.py - a serial line on ptys with the speed and the faults of a real one (stdlib only, Linux).

  serial_lab.py --dir line --ports a,b --baud 9600
makes line/a and line/b (links to /dev/pts/N): what one program writes the others read,
one character time per character.  More than two ports = a multi-drop bus.  See README.md.
"""
import argparse, ctypes, errno, heapq, json, os, random, select, signal, socket, sys, termios, time, tty

BAUDS = {getattr(termios, n): int(n[1:]) for n in dir(termios) if n[0] == "B" and n[1:].isdigit()}
now = time.monotonic


class Port:
    def __init__(self, name, path):
        self.name, self.path, self.fd, self.open, self.plugged = name, path, -1, False, False
        self.free = 0.0            # when this port's transmitter (or the shared bus) is free again
        self.quiet = self.read = now()     # when it was seen last that nothing unread was there, and when something was read
        self.said, self.hit, self.got = bytearray(), False, bytearray()
        self.plug()

    def plug(self):
        if self.plugged: return
        self.fd, s = os.openpty()
        tty.setraw(s)              # no echo, no CR/LF games until the program sets its own mode
        dev = os.ttyname(s)
        os.close(s)                # from here the master says POLLHUP until a program opens the port
        os.set_blocking(self.fd, False)
        tmp = self.path + ".new"
        if os.path.lexists(tmp): os.unlink(tmp)
        os.symlink(dev, tmp); os.rename(tmp, self.path)
        self.plugged, self.open = True, False

    def unplug(self):
        if not self.plugged: return
        if os.path.lexists(self.path): os.unlink(self.path)
        os.close(self.fd)          # programs that hold the port get EIO / hang-up, as with a pulled USB adapter
        self.fd, self.plugged, self.open = -1, False, False

    def line(self):
        """baud and bits per character the program has set on its side"""
        try: t = termios.tcgetattr(self.fd)
        except termios.error: return None
        c = t[2]
        bits = 1 + {termios.CS5: 5, termios.CS6: 6, termios.CS7: 7, termios.CS8: 8}[c & termios.CSIZE]
        bits += (1 if c & termios.PARENB else 0) + (2 if c & termios.CSTOPB else 1)
        return BAUDS.get(t[5], 0), bits


class Line:
    def __init__(self, a):
        self.a, self.rnd = a, random.Random(a.seed)
        os.makedirs(a.dir, exist_ok=True)
        self.ports = {n: Port(n, os.path.join(a.dir, n)) for n in a.ports.split(",")}
        self.heap, self.n, self.bus_free, self.busy, self.t0 = [], 0, 0.0, 0.0, now()
        self.stat = dict(chars=0, dropped=0, flipped=0, inserted=0, collided=0, lost_closed=0, gaps=0)
        self.gap_min, self.short = None, {n: 0 for n in self.ports}
        self.log = open(a.log, "a", buffering=1) if a.log else None
        self.lines = open(a.lines, "a", buffering=1) if a.lines else None
        self.ctl = None
        if a.control:
            if os.path.exists(a.control): os.unlink(a.control)
            self.ctl = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); self.ctl.bind(a.control); self.ctl.setblocking(False)
        self.next_idle = now() + self.rnd.expovariate(a.idle_noise) if a.idle_noise else None

    def speed(self, p):
        a = self.a
        if a.baud < 0: return p.line() or (9600, 10)
        bits = 1 + int(a.frame[0]) + (a.frame[1] != "N") + int(a.frame[2])
        return a.baud, bits

    def put(self, when, port, byte):
        self.n += 1
        heapq.heappush(self.heap, (when, self.n, port, byte))

    def send(self, src, data):
        a, st = self.a, self.stat
        baud, bits = self.speed(src)
        ct = bits / baud if baud > 0 else 0.0
        if now() > src.free and ct and self.last is not None:     # a new frame begins: was the line silent for t3.5?
            gap, need = now() - self.bus_free, 3.5 * ct if baud <= 19200 else 0.00175
            st["gaps"] += 1; self.short[src.name] += gap < need
            self.gap_min = gap if self.gap_min is None else min(gap, self.gap_min)
        t = max(now(), self.bus_free if a.half_duplex else src.free)
        clash = a.half_duplex and self.bus_free > now() and self.last is not src
        self.last = src
        if self.log: self.log.write("%.6f %s %s\n" % (now() - self.t0, src.name, data.hex()))
        t += a.delay / 1000.0
        held = self.held_up() if self.lines else 0.0
        for b in data:
            before = self.damage()
            t += ct
            st["chars"] += 1; self.busy += ct
            for d in self.ports.values():
                if d is src:
                    if src.name in a.echo: self.put(t, src, b)
                    continue
                x, r = b, self.rnd.random
                if clash: x = b ^ self.rnd.randrange(1, 256); st["collided"] += 1
                if a.drop and r() < a.drop: st["dropped"] += 1; continue
                if a.flip and r() < a.flip: x ^= 1 << self.rnd.randrange(8); st["flipped"] += 1
                if a.insert and r() < a.insert: self.put(t, d, self.rnd.randrange(256)); st["inserted"] += 1
                if a.baud < 0:             # --baud follow: two ends set differently = garbage
                    o = d.line()
                    if o and o != (baud, bits): x = self.rnd.randrange(256)
                self.put(t, d, x)
            if self.lines: self.note_said(src, b, before, held)
        src.free = t; self.bus_free = max(self.bus_free, t)

    last = None

    def damage(self):
        st = self.stat
        return st["dropped"] + st["flipped"] + st["collided"], st["inserted"]

    def held_up(self):
        """for how long the threads of the watched process have been ready and not run, in seconds, all together"""
        total, tasks = 0, "/proc/%d/task" % self.a.watch
        try:
            for t in os.listdir(tasks) if self.a.watch else ():
                with open("%s/%s/schedstat" % (tasks, t)) as f: total += int(f.read().split()[1])
        except (OSError, IndexError): pass      # a thread has just ended, or a kernel that does not tell
        return total / 1e9

    def note_said(self, p, byte, before, held):
        after = self.damage()
        p.hit |= after != before
        p.said.append(byte)
        if byte != 10: return
        self.note(said=p.name, after=p.quiet, at=p.read, hit=p.hit, held=held, line=p.said)
        p.said, p.hit = bytearray(), after[0] != before[0]       # a line whose predecessor lost its end is hit as well

    def note_got(self, p, data, at, held):
        for byte in data:
            p.got.append(byte)
            if byte == 10:
                self.note(got=p.name, at=at, held=held, line=p.got)
                p.got = bytearray()

    def note(self, line, **fields):
        fields["line"] = line[:-1].decode("latin-1")
        self.lines.write(json.dumps(fields) + "\n")

    def deliver(self):
        """write every character that is due; with --usb-latency hold them as an FTDI chip does"""
        t, out = now(), {}
        while self.heap and self.heap[0][0] <= t:
            _, _, p, b = heapq.heappop(self.heap)
            out.setdefault(p, bytearray()).append(b)
        lat = self.a.usb_latency / 1000.0
        for p, d in out.items():
            if lat:
                h = self.held.setdefault(p, [t + lat, bytearray()])
                h[1] += d
            else: self.write(p, d)
        for p in list(self.held):
            dl, d = self.held[p]
            while len(d) >= 62: self.write(p, d[:62]); del d[:62]; self.held[p][0] = t + lat
            if not d: del self.held[p]
            elif t >= dl: self.write(p, d); del self.held[p]

    held = {}

    def write(self, p, d):
        if not p.plugged or not p.open: self.stat["lost_closed"] += len(d); return
        held = self.held_up() if self.lines and 10 in d else 0.0
        try:
            n = os.write(p.fd, d)
            if self.lines: self.note_got(p, d[:n], now(), held)
            if n < len(d): self.stat["lost_closed"] += len(d) - n   # receiver overrun: nobody reads
        except OSError: self.stat["lost_closed"] += len(d)

    def command(self, s):
        w = s.split()
        try:
            if w[0] == "unplug": [self.ports[n].unplug() for n in w[1:]]
            elif w[0] == "plug": [self.ports[n].plug() for n in w[1:]]
            elif w[0] == "set":
                for kv in w[1:]:
                    k, v = kv.split("=", 1); k = k.replace("-", "_")
                    old = getattr(self.a, k)
                    setattr(self.a, k, v if isinstance(old, str) else type(old)(v))
            elif w[0] == "noise":
                for n in self.ports.values(): self.write(n, bytes(self.rnd.randrange(256) for _ in range(int(w[1]))))
            elif w[0] == "reset": self.busy, self.t0, self.gap_min = 0.0, now(), None; self.short = dict.fromkeys(self.short, 0); self.stat.update(dict.fromkeys(self.stat, 0))
            elif w[0] != "stats": return "unknown: " + s
            e = now() - self.t0
            return json.dumps(dict(self.stat, seconds=round(e, 3), gaps_short=self.short, line_busy=round(self.busy / e, 4), gap_min_ms=self.gap_min and round(self.gap_min * 1e3, 3),
                                   ports={n: dict(plugged=p.plugged, open=p.open, set_to=p.plugged and p.line()) for n, p in self.ports.items()}))
        except Exception as x: return "error: %r" % x

    def run(self):
        print("ready " + " ".join("%s=%s" % (p.path, os.readlink(p.path)) for p in self.ports.values()), flush=True)
        po, poll_at = select.poll(), 0.0
        while True:
            t = now()
            if t >= poll_at:                                     # who has the port open? (no event tells that)
                poll_at = t + (0.002 if self.lines else 0.01)
                for p in self.ports.values():
                    if p.plugged:
                        q = select.poll(); q.register(p.fd, select.POLLIN)
                        ev = dict(q.poll(0)).get(p.fd, 0)
                        p.open = not ev & select.POLLHUP
            fds = [p.fd for p in self.ports.values() if p.open]
            wake = [poll_at] + ([self.heap[0][0]] if self.heap else []) + [h[0] for h in self.held.values()]
            if self.next_idle: wake.append(self.next_idle)
            listen, r = fds + ([self.ctl] if self.ctl else []), []
            if self.lines:                                       # a look that says since when there was nothing
                looked = now()
                r, _, _ = select.select(listen, [], [], 0)
                for p in self.ports.values():
                    if p.fd not in r: p.quiet = looked
            if not r: r, _, _ = select.select(listen, [], [], max(0.0, min(wake) - now()))
            for p in list(self.ports.values()):
                if p.fd in r and p.open:
                    try: d = os.read(p.fd, 4096)
                    except OSError as e:
                        if e.errno in (errno.EIO, errno.EAGAIN): p.open = e.errno != errno.EIO; continue
                        raise
                    p.read = now()
                    if d: self.send(p, d)
            if self.ctl and self.ctl in r:
                m, who = self.ctl.recvfrom(4096)
                ans = self.command(m.decode())
                if who: self.ctl.sendto(ans.encode(), who)
            if self.next_idle and now() >= self.next_idle:
                self.next_idle = now() + self.rnd.expovariate(self.a.idle_noise)
                if not self.heap: [self.write(p, bytes([self.rnd.randrange(256)])) for p in self.ports.values()]; self.stat["inserted"] += 1
            self.deliver()


def ctl(path, words):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); me = "%s.%d" % (path, os.getpid())
    s.bind(me); s.settimeout(3)
    try: s.sendto(" ".join(words).encode(), path); print(s.recv(65536).decode())
    finally: os.unlink(me)


def limit():
    print("Modbus RTU, FC3, req/s. t3.5 = 3.5 chars, fixed 1.75 ms above 19200 baud. two gaps = master and slave both wait t3.5;")
    print("one gap = a slave that answers at once (libmodbus, pymodbus); none = nobody keeps t3.5 (a poller above 'one gap' breaks the rule)")
    for fr, bits in (("8N1", 10), ("8E1/8N2", 11)):
        for baud in (9600, 19200, 38400, 57600, 115200):
            c = bits / baud; gap = 3.5 * c if baud <= 19200 else 0.00175
            print("%-8s %6d baud: " % (fr, baud) + "; ".join("%3d registers: two gaps %7.2f (%.2f ms), one %7.2f, none %7.2f" % (
                n, 1 / (w + 2 * gap), 1e3 * (w + 2 * gap), 1 / (w + gap), 1 / w) for n in (10, 100) for w in [c * (13 + 2 * n)]))


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "ctl": ctl(sys.argv[2], sys.argv[3:]); sys.exit()
    if len(sys.argv) > 1 and sys.argv[1] == "limit": limit(); sys.exit()
    P = argparse.ArgumentParser()
    P.add_argument("--dir", default="serial-lab"); P.add_argument("--ports", default="a,b")
    P.add_argument("--baud", default="9600", help="number, 0 = no pacing, 'follow' = what each program sets on its port")
    P.add_argument("--frame", default="8N1"); P.add_argument("--half-duplex", action="store_true", help="one shared wire (RS-485): overlapping senders garble each other")
    P.add_argument("--echo", default="", help="ports that hear their own characters, e.g. a")
    P.add_argument("--delay", type=float, default=0.0, help="ms before each burst"); P.add_argument("--usb-latency", type=float, default=0.0, help="ms, FTDI default 16, low_latency 1")
    for k in ("drop", "flip", "insert"): P.add_argument("--" + k, type=float, default=0.0, help="probability per character")
    P.add_argument("--idle-noise", type=float, default=0.0, help="random characters a second on the idle line")
    P.add_argument("--seed", type=int, default=1); P.add_argument("--log"); P.add_argument("--lines", help="file for a record of each line"); P.add_argument("--watch", type=int, default=0, help="process whose waiting for a processor goes into that record")
    P.add_argument("--control", help="path of a unix socket for 'ctl'")
    a = P.parse_args(); a.baud = -1 if a.baud == "follow" else int(a.baud)
    try: ctypes.CDLL(None).prctl(29, 1, 0, 0, 0)      # PR_SET_TIMERSLACK 1 ns
    except Exception: pass
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    L = Line(a)
    try: L.run()
    except KeyboardInterrupt: pass
    finally:
        for p in L.ports.values(): p.unplug()
        if a.control and os.path.exists(a.control): os.unlink(a.control)
