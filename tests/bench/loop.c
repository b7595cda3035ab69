/* The yardstick: a bare loop of libmodbus over one connection.
   loop PORT UNITS SECONDS: reads 100 holding registers of each unit in turn; prints the requests
   and the microseconds of processor time. */
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    modbus_t *bus = modbus_new_tcp("127.0.0.1", atoi(argv[1]));
    if (bus == NULL || modbus_connect(bus) != 0) return 1;
    uint16_t registers[100];
    int units = atoi(argv[2]);
    long requests = 0;
    double end = seconds(CLOCK_MONOTONIC) + atof(argv[3]);
    while (seconds(CLOCK_MONOTONIC) < end) {
        modbus_set_slave(bus, 1 + requests % units);
        if (modbus_read_registers(bus, 0, 100, registers) != 100) return 1;
        requests++;
    }
    printf("%ld %.0f\n", requests, seconds(CLOCK_PROCESS_CPUTIME_ID) * 1e6);
    modbus_close(bus);
    modbus_free(bus);
    return 0;
}
