"""Several hundred points with their registers and the values they have to come to, as JSON.

Registers and values are made here, with Python's struct, decimal and datetime modules, from what the
protocol and the manuals say. None of it comes from the driver. What is printed:

  image   table -> values from address 0 on, as a slave has to hold them
  reads   name, point (as the site file has it), and value, or bad: words the reason has to contain
  writes  name, point, value to write, registers that have to stand there afterwards
"""

import calendar
import datetime
import itertools
import json
import struct
from decimal import Decimal

ORDERS = ["ABCD", "CDAB", "BADC", "DCBA"]


def swap(word):
    return (word & 0xFF) << 8 | word >> 8


def arrange(data, order):
    """Bytes, the most significant first, as registers in an order."""
    words = list(struct.unpack(">%dH" % (len(data) // 2), data))
    if order in ("CDAB", "DCBA"):
        words.reverse()
    if order in ("BADC", "DCBA"):
        words = [swap(word) for word in words]
    return words


def in_registers(data, order):
    """Bytes that stand one after the other: the order of words has no meaning there."""
    return arrange(data, {"CDAB": "ABCD", "DCBA": "BADC"}.get(order, order))


image = {"coil": [], "discrete": [], "holding": [], "input": []}
reads, writes = [], []


def place(table, cells):
    image[table].extend(cells)
    return len(image[table]) - len(cells)


turn = itertools.cycle(["holding", "input"])


def read(name, words, expected, table=None, **point):
    table = table or next(turn)
    point[table] = place(table, words)
    case = {"name": name, "point": point}
    case.update(expected if isinstance(expected, dict) else {"value": expected})
    reads.append(case)


def write(name, value, words, table="holding", **point):
    at = place(table, [0] * len(words))
    point[table] = at
    point["write"] = {}
    writes.append({"name": name, "point": point, "value": value, "table": table, "at": at, "registers": words})


def both(name, words, value, **point):
    read(name, words, value, **point)
    write(name, value, words, **point)


def bad(words):
    return {"bad": words}


# Whole numbers and floats, in all four orders.
NUMBERS = {
    "u16": ("H", [0, 1, 255, 256, 32767, 32768, 65535, 0x1234]),
    "i16": ("h", [0, 1, -1, -2, 32767, -32768, 0x1234]),
    "u32": ("I", [0, 1, 65535, 65536, 100000, 2**31, 2**32 - 1, 0x12345678]),
    "i32": ("i", [0, -1, -65536, 100000, 2**31 - 1, -(2**31), 0x12345678]),
    "u64": ("Q", [0, 1, 2**32, 2**40 + 7, 2**63 - 1, 0x123456789ABCDEF0]),
    "i64": ("q", [0, -1, -(2**40), 2**63 - 1, -(2**63), 0x123456789ABCDEF0]),
    "f16": ("e", [0.0, 1.0, -2.5, 0.1, 230.5, 65504.0, 6e-8, 0.3333]),
    "f32": ("f", [0.0, 230.5, -0.1, 0.1, 1e-7, 3.4028235e38, 16777216.0, 21.4, 1e-45]),
    "f64": ("d", [0.0, -0.1, 0.1, 1e300, 123456789.123456789, 5e-324, 2.0**63]),
}
for kind, (code, values) in NUMBERS.items():
    for order, value in itertools.product(ORDERS, values):
        if struct.calcsize(code) == 2 and order in ("CDAB", "DCBA"):
            continue
        both(f"{kind}-{order}-{value}", arrange(struct.pack(">" + code, value), order), value, type=kind, order=order)
for kind, code in (("f16", "e"), ("f32", "f"), ("f64", "d")):
    for word, number in (("NaN", float("nan")), ("inf", float("inf")), ("inf", float("-inf"))):
        read(f"{kind}-{number}", arrange(struct.pack(">" + code, number), "ABCD"), bad(word), type=kind)
# Beyond a signed 64-bit number only what a float carries exactly is a value.
read("u64-2^63", arrange(struct.pack(">Q", 2**63), "ABCD"), 2.0**63, type="u64")
read("u64-2^63+1", arrange(struct.pack(">Q", 2**63 + 1), "ABCD"), bad("without loss"), type="u64")
read("u64-all", [0xFFFF] * 4, bad("without loss"), type="u64")
write("u64-2^63", 2**63, arrange(struct.pack(">Q", 2**63), "ABCD"), type="u64")
write("u64-2^64-2048", 2**64 - 2048, arrange(struct.pack(">Q", 2**64 - 2048), "CDAB"), type="u64", order="CDAB")
# The other spellings of the orders.
for spelling, order in (("ABCDEFGH", 0), ("GHEFCDAB", 1), ("BADCFEHG", 2), ("HGFEDCBA", 3)):
    words = arrange(struct.pack(">Q", 0x0123456789ABCDEF), ORDERS[order])
    read(f"u64-{spelling}", words, 0x0123456789ABCDEF, type="u64", order=spelling)
read("u16-AB", [0x1234], 0x1234, order="AB")
read("u16-BA", [0x3412], 0x1234, order="BA")
read("untyped", [65535], 65535)

# Halves of registers and single bits.
for order in ("ABCD", "BADC"):
    for number in (0, 1, 127, 128, 254, 255):
        signed = struct.unpack("b", bytes([number]))[0]
        for half, word in (("high", number << 8 | 0x5A), ("low", 0xA500 | number)):
            words = arrange(struct.pack(">H", word), order)
            read(f"u8-{half}-{order}-{number}", words, number, type="u8", byte=half, order=order)
            read(f"i8-{half}-{order}-{number}", words, signed, type="i8", byte=half, order=order)
    for bit in range(16):
        words = arrange(struct.pack(">H", 1 << bit), order)
        read(f"bit-{bit}-{order}-on", words, True, bit=bit, order=order)
        words = arrange(struct.pack(">H", 0xFFFF ^ 1 << bit), order)
        read(f"bit-{bit}-{order}-off", words, False, bit=bit, order=order)
for word, value in ((0, False), (1, True), (0x0100, True), (0xFFFF, True)):
    read(f"register-as-bool-{word}", [word], value, type="bool")
write("register-as-bool-on", True, [1], type="bool")

# Binary coded decimals.
for kind, digits in (("bcd16", 4), ("bcd32", 8), ("bcd64", 16)):
    for order, text in itertools.product(ORDERS, ("0", "1", "9" * digits, "1234567890123456"[:digits])):
        if digits == 4 and order in ("CDAB", "DCBA"):
            continue
        both(f"{kind}-{order}-{text}", arrange(bytes.fromhex(text.zfill(digits)), order), int(text), type=kind, order=order)
    read(f"{kind}-hex", arrange(bytes.fromhex("1A".zfill(digits)), "ABCD"), bad("not BCD"), type=kind)

# Text.
for order in ("ABCD", "BADC"):
    for text in ("", "A", "AB", "AB 12", "Zähler 1", "12345678901234"):
        data = text.encode()
        both(f"string-{order}-{text}", in_registers(data.ljust(16, b"\0"), order), text, type="string", length=8, order=order)
    read(f"string-{order}-blanks", in_registers(b"AB".ljust(8), order), "AB", type="string", length=4, order=order)
read("string-latin1", in_registers("Zähler".encode("latin-1"), "ABCD"), bad("byte 2"), type="string", length=3)

# Scale, offset, precision: by decimal arithmetic, so free of binary noise.
for code, kind in (("H", "u16"), ("h", "i16"), ("I", "u32"), ("i", "i32")):
    for raw, scale, offset in itertools.product((0, 1, 7, 215, 12345), ("0.1", "0.01", "0.001", "10", "-0.5"), ("0", "-40", "0.25")):
        if kind not in ("u16", "i32") and (offset != "0" or scale == "10"):
            continue
        value = float(Decimal(raw) * Decimal(scale) + Decimal(offset)) + 0.0
        words = arrange(struct.pack(">" + code, raw), "ABCD")
        both(f"{kind}-{raw}x{scale}+{offset}", words, value, type=kind, scale=float(scale), offset=float(offset))
for precision, value in ((0, 231.0), (1, 230.7), (2, 230.71), (6, 230.713)):
    words = arrange(struct.pack(">f", 230.713), "ABCD")
    read(f"precision-{precision}", words, value, type="f32", precision=precision)

# What stands for no value.
NONE = "no value"
read("invalid-i16", [0x8000], bad(NONE), type="i16", invalid=-32768)
read("invalid-not", [0x8001], -32767, type="i16", invalid=[-32768, 32767])
read("invalid-second", [0x7FFF], bad(NONE), type="i16", scale=0.1, invalid=[-32768, 32767])
read("invalid-u32", arrange(struct.pack(">I", 2**32 - 1), "CDAB"), bad(NONE), type="u32", order="CDAB", invalid=2**32 - 1)
read("invalid-f32", arrange(struct.pack(">f", -999.9), "ABCD"), bad(NONE), type="f32", invalid=-999.9)

# Names and flags.
NAMES = {"-1": "fault", "0": "off", "1": "heating", "300": "service"}
for number, name in NAMES.items():
    both(f"names-{name}", arrange(struct.pack(">h", int(number)), "ABCD"), name, type="i16", names=NAMES)
read("names-unknown", [2], bad("none of the point's names"), type="i16", names=NAMES)
FLAGS = {"0": "overload", "3": "door", "31": "test"}
for bits, names in ((0, []), (1, ["overload"]), (0x80000009, ["overload", "door", "test"]), (0x8, ["door"]), (0x11, ["overload", "bit4"])):
    both(f"flags-{bits:x}", arrange(struct.pack(">I", bits), "CDAB"), names, type="u32", order="CDAB", flags=FLAGS)

# Lists.
for kind, code, values in (("u16", "H", [1, 2, 3]), ("i32", "i", [-1, 0, 70000]), ("f32", "f", [230.5, -0.1, 21.4]), ("u64", "Q", [1, 2**40])):
    for order in ORDERS if struct.calcsize(code) > 2 else ("ABCD", "BADC"):
        words = [word for value in values for word in arrange(struct.pack(">" + code, value), order)]
        both(f"list-{kind}-{order}", words, values, type=kind, order=order, count=len(values))
read("list-of-one", [7], [7], count=1)
read("list-scaled", [215, 7], [21.5, 0.7], count=2, scale=0.1)
read("list-broken", arrange(struct.pack(">f", 1.0), "ABCD") + [0x7FC0, 0], bad("value 1 of the list"), type="f32", count=2)

# Clocks.
for moment in ((2000, 1, 1, 0, 0, 0), (2024, 2, 29, 12, 30, 15), (2026, 11, 21, 23, 59, 59), (2099, 12, 31, 0, 0, 1)):
    time = datetime.datetime(*moment)
    seconds, text = calendar.timegm(time.timetuple()), time.isoformat()
    for order in ORDERS:
        def clock(kind, code, number, text):
            both(f"{kind}-{order}-{text}", arrange(struct.pack(">" + code, number), order), text, type=kind, order=order)

        clock("time_unix32", "I", seconds, text + "Z")
        clock("time_unix64", "Q", seconds, text + "Z")
        clock("time_unix_ms", "Q", seconds * 1000 + 250, text + ".250Z")
        clock("time_2000", "I", seconds - calendar.timegm((2000, 1, 1, 0, 0, 0)), text + "Z")
    year, month, day, hour, minute, second = moment
    fields = [year - 2000, month, day, hour, minute, second]
    digits = bytes.fromhex("".join("%02d" % field for field in fields))
    iec = struct.pack(">BBBBBBH", 0, fields[0], month, day, hour, minute, second * 1000 + 7)
    for order in ("ABCD", "BADC"):
        both(f"time_bcd-{order}-{text}", in_registers(digits, order), text, type="time_bcd", order=order)
        both(f"time_bytes-{order}-{text}", in_registers(bytes(fields), order), text, type="time_bytes", order=order)
        both(f"time_iec870-{order}-{text}", in_registers(iec, order), text + ".007", type="time_iec870", order=order)
    read(f"time_words-{text}", list(moment), text, type="time_words")
    read(f"time_words-short-{text}", fields, text, type="time_words")
read("time_bcd-no-date", [0x2402, 0x3000, 0x0000], bad("no date"), type="time_bcd")
read("time_iec870-unset", [0xFFFF] * 4, bad("not set"), type="time_iec870")

# Single bits, and several.
for index, on in enumerate((False, True, True, False)):
    read(f"coil-{index}", [int(on)], on, table="coil")
    read(f"discrete-{index}", [int(on)], on, table="discrete")
    write(f"coil-{index}", on, [int(on)], table="coil")
PATTERN = [bool(0b1011001110001 >> bit & 1) for bit in range(13)]
read("coil-list", [int(on) for on in PATTERN], PATTERN, table="coil", count=13)
read("discrete-list", [int(on) for on in PATTERN], PATTERN, table="discrete", count=13)
read("coil-named", [1], "open", table="coil", names={"0": "closed", "1": "open"})

print(json.dumps({"image": image, "reads": reads, "writes": writes}))
