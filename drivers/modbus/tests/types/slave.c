/* A Modbus slave of libmodbus for the test of types. Speaks on standard input like slave.py:
 *
 *   holding 12 65535    the cell holds that (tables: coil discrete holding input)
 *   serve               begin; says `ready` when it does
 *   dump holding 0 3    says what the cells hold now
 *
 * Usage: slave tcp PORT, or slave rtu DEVICE BAUD. It ends when its standard input closes. */

#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

#define CELLS 10000

static modbus_mapping_t *map;

/* The cell as a number; sets it first if `set` is not NULL. */
static int cell(const char *table, int at, const int *set) {
  if (at < 0 || at >= CELLS) return -1;
  uint8_t *bit = !strcmp(table, "coil") ? map->tab_bits : !strcmp(table, "discrete") ? map->tab_input_bits : NULL;
  uint16_t *word = !strcmp(table, "holding") ? map->tab_registers : !strcmp(table, "input") ? map->tab_input_registers : NULL;
  if (set && bit) bit[at] = (uint8_t)*set;
  if (set && word) word[at] = (uint16_t)*set;
  return bit ? bit[at] : word ? word[at] : -1;
}

static void dump(const char *table, int start, int count) {
  for (int i = 0; i < count; i++) printf("%s%d", i ? " " : "", cell(table, start + i, NULL));
  printf("\n");
  fflush(stdout);
}

/* Answers one request, if it is whole and to us. False: the other side is gone. */
static int serve(modbus_t *line) {
  uint8_t request[MODBUS_TCP_MAX_ADU_LENGTH];
  int length = modbus_receive(line, request);
  if (length > 0) modbus_reply(line, request, length, map);
  return length >= 0;
}

int main(int argc, char **argv) {
  char text[256], table[16];
  int at, value;
  map = modbus_mapping_new(CELLS, CELLS, CELLS, CELLS);
  if (argc < 3 || !map) return 2;
  while (fgets(text, sizeof text, stdin) && strncmp(text, "serve", 5))
    if (sscanf(text, "%15s %d %d", table, &at, &value) == 3) cell(table, at, &value);

  int tcp = !strcmp(argv[1], "tcp");
  modbus_t *line = tcp ? modbus_new_tcp("127.0.0.1", atoi(argv[2]))
                       : modbus_new_rtu(argv[2], argc > 3 ? atoi(argv[3]) : 9600, 'N', 8, 1);
  modbus_set_slave(line, tcp ? MODBUS_TCP_SLAVE : 1);
  int listener = tcp ? modbus_tcp_listen(line, 8) : -1;
  if (tcp ? listener < 0 : modbus_connect(line) < 0) return perror("slave"), 1;
  printf("ready\n");
  fflush(stdout);

  fd_set watched;
  FD_ZERO(&watched);
  FD_SET(STDIN_FILENO, &watched);
  FD_SET(tcp ? listener : modbus_get_socket(line), &watched);
  for (;;) {
    fd_set ready = watched;
    if (select(FD_SETSIZE, &ready, NULL, NULL, NULL) < 0) return 1;
    for (int fd = 0; fd < FD_SETSIZE; fd++) {
      if (!FD_ISSET(fd, &ready)) continue;
      if (fd == STDIN_FILENO) {
        /* One question at a time is asked, and answered before the next. */
        ssize_t length = read(fd, text, sizeof text - 1);
        if (length <= 0) return 0;
        text[length] = 0;
        if (sscanf(text, "dump %15s %d %d", table, &at, &value) == 3) dump(table, at, value);
      } else if (fd == listener) {
        int client = accept(listener, NULL, NULL);
        if (client >= 0) FD_SET(client, &watched);
      } else {
        if (tcp) modbus_set_socket(line, fd);
        if (!serve(line) && tcp) {
          FD_CLR(fd, &watched);
          close(fd);
        }
      }
    }
  }
}
