"""A Modbus slave of pymodbus for the test of types. Speaks on standard input like slave.c:

  holding 12 65535    the cell holds that (tables: coil discrete holding input)
  serve               begin; says `ready` when it does
  dump holding 0 3    says what the cells hold now

Usage: slave.py tcp PORT, or slave.py rtu DEVICE BAUD. It ends when its standard input closes.
"""

import logging
import os
import sys
import threading

from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext
from pymodbus.server import StartSerialServer, StartTcpServer
from pymodbus.transaction import ModbusRtuFramer

FUNCTION = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
cells = {table: [] for table in FUNCTION}
for line in sys.stdin:
    words = line.split()
    if words == ["serve"]:
        break
    table, at, value = words[0], int(words[1]), int(words[2])
    cells[table].extend([0] * (at + 1 - len(cells[table])))
    cells[table][at] = value

block = {table: ModbusSequentialDataBlock(0, held or [0]) for table, held in cells.items()}
store = ModbusSlaveContext(
    co=block["coil"], di=block["discrete"], hr=block["holding"], ir=block["input"], zero_mode=True
)


def answer():
    for line in sys.stdin:
        _, table, start, count = line.split()
        held = store.getValues(FUNCTION[table], int(start), int(count))
        print(*[int(cell) for cell in held], flush=True)
    os._exit(0)


logging.disable(logging.CRITICAL)
threading.Thread(target=answer, daemon=True).start()
context = ModbusServerContext(slaves=store, single=True)
# The server does not say when it listens; whoever started it asks the port until it answers.
print("ready", flush=True)
if sys.argv[1] == "tcp":
    StartTcpServer(context=context, address=("127.0.0.1", int(sys.argv[2])))
else:
    StartSerialServer(context=context, framer=ModbusRtuFramer, port=sys.argv[2], baudrate=int(sys.argv[3]))
