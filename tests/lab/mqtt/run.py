"""Behaviours of MQTT brokers, as their clients see them, case by case against any broker.

    run.py HOST PORT [--groups v3,v5] [--as NAME] [--workers N] [--ws PORT] [CASE ...]

Each case prints a line, `ok GROUP.case` or `FAIL GROUP.case: why`. `--as` tells which broker it is:
where that one is known to be different the line is `differs GROUP.case: why`, and a case that is
said to differ and does not fails, unless it is said to do so sometimes. `--list` prints the cases.
"""

import argparse
import concurrent.futures
import importlib
import itertools
import sys
import threading
import traceback
import uuid

from client import V3, V5, Client, Failed

CASES = {}


def case(group, **differs):
    """A case: a function of a [`Lab`]. `differs` names the brokers that are known to be otherwise, and how."""

    def register(function):
        CASES[f"{group}.{function.__name__}"] = (function, differs)
        return function

    return register


class Lab:
    """What a case has: clients, topics and ids that nobody else uses."""

    def __init__(self, options):
        self.options, self.address = options, (options.host, options.port)
        self.root = f"lab-{uuid.uuid4().hex[:10]}"
        self._clients, self._count = [], itertools.count()
        self._lock = threading.Lock()

    def topic(self, rest):
        return f"{self.root}/{rest}"

    def id(self):
        with self._lock:
            return f"{self.root}-{next(self._count)}"

    def client(self, version=V3, client_id=None, **options):
        """A client that is not connected yet."""
        client = Client(self.address, self.id() if client_id is None else client_id, version, **options)
        self._clients.append(client)
        return client

    def v3(self, client_id=None, clean=True, **options):
        """A client of MQTT 3.1.1 that is connected."""
        return self.client(V3, client_id, **options).connect(clean)

    def v5(self, client_id=None, clean=True, given=None, **options):
        """A client of MQTT 5 that is connected."""
        return self.client(V5, client_id, **options).connect(clean, given=given)

    def close(self):
        for client in self._clients:
            client.close()


def run(name, options):
    function, differs = CASES[name]
    lab, why = Lab(options), None
    try:
        function(lab)
    except Failed as failed:
        why = str(failed)
    except Exception:  # a case that is broken has to say so like one that fails
        why = " | ".join(traceback.format_exc().strip().splitlines()[-6:])
    finally:
        lab.close()
    known = differs.get(options.broker)
    if known and why:
        return f"differs {name}: {known}"
    if known and known.startswith("sometimes "):
        return f"ok {name}"
    if known:
        return f"FAIL {name}: passes, though {options.broker} is said to differ: {known}"
    return f"FAIL {name}: {why}" if why else f"ok {name}"


def main():
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("host", nargs="?", default="127.0.0.1")
    words.add_argument("port", nargs="?", type=int, default=1883)
    words.add_argument("--groups", default="v3,v5,real")
    words.add_argument("--as", dest="broker", default="")
    words.add_argument("--workers", type=int, default=8)
    words.add_argument("--ws", type=int)
    words.add_argument("--list", action="store_true")
    words.add_argument("cases", nargs="*")
    options = words.parse_intermixed_args()
    groups = options.groups.split(",")
    # The cases find `case` in this very module, not in a second copy of it.
    sys.modules["run"] = sys.modules["__main__"]
    for group in groups:
        importlib.import_module(f"cases_{group}")
    names = [name for name in CASES if not options.cases or name in options.cases]
    if options.list:
        print("\n".join(names))
        return 0
    failed = False
    with concurrent.futures.ThreadPoolExecutor(options.workers) as pool:
        for line in pool.map(lambda name: run(name, options), names):
            failed |= line.startswith("FAIL")
            print(line, flush=True)
    return 1 if failed or not names else 0


if __name__ == "__main__":
    sys.exit(main())
