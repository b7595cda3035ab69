"""A Modbus TCP slave for the gateway's tests: pymodbus on loopback.

Usage: plant.py PORT. It prints each request it serves, and ends when its standard input closes.
Values are packed here with Python's struct module, independent of the gateway's own code.
Every read of holding registers 120 and 121 finds a higher number there than the one before.
"""

import struct
import sys
import threading

from pymodbus.datastore import ModbusServerContext, ModbusSlaveContext, ModbusSparseDataBlock
from pymodbus.device import ModbusDeviceIdentification
from pymodbus.server import ServerStop, StartTcpServer


def words(fmt, value, low_first=False):
    data = struct.pack(">" + fmt, value)
    registers = list(struct.unpack(">%dH" % (len(data) // 2), data))
    return registers[::-1] if low_first else registers


def text(value, registers):
    data = value.encode().ljust(registers * 2, b"\0")
    return list(struct.unpack(">%dH" % registers, data))


def at(start, registers):
    return {start + index: value for index, value in enumerate(registers)}


class Block(ModbusSparseDataBlock):
    """A table that tells what is asked of it."""

    def __init__(self, name, values):
        super().__init__(values)
        self.name = name
        self.count = 0

    def getValues(self, address, count=1):
        print("read", self.name, address, count, flush=True)
        if self.name == "holding" and address <= 120 and address + count >= 122:
            self.count += 1
            super().setValues(120, words("I", self.count))
        return super().getValues(address, count)

    def setValues(self, address, values, use_as_default=False):
        shown = values if isinstance(values, list) else [values]
        print("write", self.name, address, *[int(value) for value in shown], flush=True)
        super().setValues(address, values, use_as_default)


def slave():
    holding = {
        **at(100, words("f", 230.5)),
        **at(102, words("f", -1.25, low_first=True)),
        **at(104, words("h", 215)),
        **at(106, text("SN-0042", 6)),
        **at(112, words("h", 600)),
        **at(113, [0, 0, 0]),
        **at(120, words("I", 0)),
    }
    return ModbusSlaveContext(
        zero_mode=True,
        co=Block("coil", {3: 1, 4: 0}),
        di=Block("discrete", {0: 0}),
        hr=Block("holding", holding),
        ir=Block("input", {100 * index: 0 for index in range(40)}),
    )


def end_with_parent():
    sys.stdin.read()
    ServerStop()


threading.Thread(target=end_with_parent, daemon=True).start()
context = ModbusServerContext(slaves={3: slave(), 7: slave()}, single=False)
identity = ModbusDeviceIdentification(info_name={"VendorName": "Anchor", "ProductCode": "T-7", "MajorMinorRevision": "1.2"})
StartTcpServer(context=context, identity=identity, address=("127.0.0.1", int(sys.argv[1])))
