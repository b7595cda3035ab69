"""A Modbus slave for the tests: pymodbus on loopback, with known values of every type.

Usage: slave.py PORT [tcp|rtu|udp|tls CA CERT KEY]. Over TLS it serves only who shows a certificate of
the CA. It ends when its standard input closes, so it never outlives the test.
The values are packed here with Python's struct module, independent of the driver's own code.
"""

import logging
import ssl
import struct
import sys
import threading

from pymodbus.datastore import ModbusServerContext, ModbusSlaveContext, ModbusSparseDataBlock
from pymodbus.server import ServerStop, StartTcpServer, StartTlsServer, StartUdpServer
from pymodbus.transaction import ModbusRtuFramer, ModbusSocketFramer


def words(fmt, value, low_first=False):
    """The value as registers, most significant register first unless said otherwise."""
    data = struct.pack(">" + fmt, value)
    registers = list(struct.unpack(">%dH" % (len(data) // 2), data))
    return registers[::-1] if low_first else registers


def text(value, registers):
    data = value.encode().ljust(registers * 2, b"\0")
    return list(struct.unpack(">%dH" % registers, data))


class Stubborn(ModbusSparseDataBlock):
    """Registers 35 and 44 take every write and hold 100 at most, as a thermostat would."""

    def setValues(self, address, values, use_as_default=False):
        if address in (35, 44) and isinstance(values, list):
            values = [min(value, 100) for value in values]
        super().setValues(address, values, use_as_default)


def at(start, registers):
    return {start + index: value for index, value in enumerate(registers)}


HOLDING = {
    **at(0, words("H", 65535)),
    **at(1, words("h", -2)),
    **at(2, words("I", 100000)),
    **at(4, words("I", 100000, low_first=True)),
    **at(6, words("f", 230.5)),
    **at(8, words("f", 230.5, low_first=True)),
    **at(10, words("d", -0.1)),
    **at(14, words("Q", 2**40 + 7)),
    **at(18, words("q", -3, low_first=True)),
    # Nothing at 26 to 29 and at 34: reading over them is refused with exception 2.
    **at(22, text("AB 12", 4)),
    **at(30, words("h", 215)),
    **at(31, words("f", 1.0)),
    33: 0,
    35: 50,
    **at(36, text("", 4)),
    40: 0x3412,
    **at(41, words("f", float("nan"))),
    **at(44, words("I", 0)),
}

INPUT = {**at(40, words("Q", 2**63, low_first=True)), 44: 7}


def unit(value):
    return ModbusSlaveContext(
        co=ModbusSparseDataBlock({3: False, 4: True}),
        di=ModbusSparseDataBlock({0: True, 1: False}),
        hr=Stubborn({**HOLDING, 33: value}),
        ir=ModbusSparseDataBlock(INPUT),
        zero_mode=True,
    )


def stop_with_parent():
    sys.stdin.read()
    ServerStop()


# Each exception that a test provokes would be logged as an error.
logging.disable(logging.CRITICAL)
threading.Thread(target=stop_with_parent, daemon=True).start()
# Units that are not listed stay silent, as behind a gateway that lost them.
context = ModbusServerContext(slaves={7: unit(7), 8: unit(8)}, single=False)
common = {"context": context, "address": ("127.0.0.1", int(sys.argv[1])), "ignore_missing_slaves": True}
kind = sys.argv[2] if len(sys.argv) > 2 else "tcp"
if kind == "tls":
    ca, certificate, key = sys.argv[3:]
    secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secure.load_cert_chain(certificate, key)
    secure.load_verify_locations(ca)
    secure.verify_mode = ssl.CERT_REQUIRED
    # Its own framer for TLS leaves the header out; the standard does not.
    StartTlsServer(sslctx=secure, framer=ModbusSocketFramer, **common)
elif kind == "udp":
    StartUdpServer(**common)
elif kind == "rtu":
    StartTcpServer(framer=ModbusRtuFramer, **common)
else:
    StartTcpServer(**common)
