// Asks itself from known lines, in many threads, until there is a file: calls FILE. As C and as C++.
#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WORKERS 64
#ifdef __cplusplus
#define FREE
#else
#define FREE static
#endif
#ifdef INLINED
#define CALLED FREE inline __attribute__((always_inline))
#else
#define CALLED __attribute__((noinline))
#endif
#ifdef __cplusplus
#define WITHIN namespace market {
#define END }
#define MARKET market::
#else
#define WITHIN
#define END
#define MARKET
#endif

static struct sockaddr_in place;
static const char *file;

static void check(int is_right) {
  if (!is_right) abort();
}

static int dial(void) {
  int to = socket(AF_INET, SOCK_STREAM, 0);
  check(to >= 0 && connect(to, (struct sockaddr *)&place, sizeof place) == 0);
  return to;
}

// Reads what ends with an empty line.
static int take(int from) {
  char text[4096];
  size_t size = 0;
  while (size < 4 || memcmp(text + size - 4, "\r\n\r\n", 4) != 0) {
    ssize_t more = read(from, text + size, sizeof text - size);
    if (more <= 0) return 0;
    size += more;
  }
  return 1;
}

WITHIN

CALLED int buy(int to, int number) {
  char ask[128];
  int size = snprintf(ask, sizeof ask, "GET /buy?id=%d HTTP/1.1\r\nHost: shop\r\n\r\n", number);
  ssize_t sent = write(to, ask, size); // call: buy
  check(sent == size);
  return take(to);
}

// Its frame has a size that is known when it runs.
CALLED int stock(int to, int number) {
  char ask[128 + number % 7 * 16];
  int size = snprintf(ask, 128, "GET /stock?id=%d HTTP/1.1\r\nHost: shop\r\n\r\n", number);
  ssize_t sent = send(to, ask, size, MSG_NOSIGNAL); // call: stock
  check(sent == size);
  return take(to);
}

__attribute__((noinline)) void *shop(void *worker) {
  volatile char large[20000];
  memset((void *)large, 1, sizeof large);
  int to = dial();
  for (int number = (int)(intptr_t)worker; access(file, F_OK) != 0; number += WORKERS) {
    int taken = buy(to, number);
    taken &= stock(to, number);
    check(taken && large[number % sizeof large] == 1);
    usleep(100000);
  }
  close(to);
  return NULL;
}

END

static void *serve(void *connection) {
  static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
  int from = (int)(intptr_t)connection;
  while (take(from)) check(write(from, answer, sizeof answer - 1) == sizeof answer - 1);
  close(from);
  return NULL;
}

static void *accept_all(void *listener) {
  for (;;) {
    intptr_t connection = accept((int)(intptr_t)listener, NULL, NULL);
    pthread_t thread;
    check(connection >= 0 && pthread_create(&thread, NULL, serve, (void *)connection) == 0);
    pthread_detach(thread);
  }
  return NULL;
}

int main(int count, char **arguments) {
  check(count == 2);
  file = arguments[1];
  socklen_t size = sizeof place;
  place.sin_family = AF_INET;
  place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  intptr_t listener = socket(AF_INET, SOCK_STREAM, 0);
  check(bind(listener, (struct sockaddr *)&place, size) == 0 && listen(listener, 256) == 0);
  check(getsockname(listener, (struct sockaddr *)&place, &size) == 0);
  pthread_t server, workers[WORKERS];
  check(pthread_create(&server, NULL, accept_all, (void *)listener) == 0);
  for (intptr_t worker = 0; worker < WORKERS; worker++)
    check(pthread_create(&workers[worker], NULL, MARKET shop, (void *)worker) == 0);
  for (int worker = 0; worker < WORKERS; worker++) pthread_join(workers[worker], NULL);
}
