/* A Modbus RTU slave by libmodbus: rtu_slave PORT BAUD UNIT. It answers at once, with registers that
   say where they stand: register n of unit u holds n * 7 + u * 1000. It ends with its standard input. */
#include <modbus/modbus.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void *until_the_parent_ends(void *unused) {
    char byte;
    while (read(0, &byte, 1) > 0) {}
    exit(0);
    return unused;
}

int main(int count, char **words) {
    if (count != 4) return 2;
    int unit = atoi(words[3]);
    modbus_t *bus = modbus_new_rtu(words[1], atoi(words[2]), 'N', 8, 1);
    modbus_mapping_t *map = modbus_mapping_new(200, 200, 2000, 200);
    if (!bus || !map || modbus_set_slave(bus, unit) || modbus_connect(bus)) return 1;
    for (int n = 0; n < 2000; n++) map->tab_registers[n] = (uint16_t)(n * 7 + unit * 1000);
    pthread_t watcher;
    pthread_create(&watcher, NULL, until_the_parent_ends, NULL);
    puts("ready");
    fflush(stdout);
    uint8_t query[MODBUS_RTU_MAX_ADU_LENGTH];
    for (;;) {
        int length = modbus_receive(bus, query);
        if (length > 0) modbus_reply(bus, query, length, map);
    }
}
