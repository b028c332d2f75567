// Asks itself from known lines, in many threads, until there is a file: calls FILE. As C and as C++. With STEPPED it does so in the handler
// of a signal, which comes at each instruction: /buy in the PLT, /stock in the vDSO.
#define _GNU_SOURCE
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <ucontext.h>
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

#ifdef STEPPED
// Where code begins that is in no section but the PLT's, and where other code does.
extern char _init[], _start[];
static unsigned long vdso, vdso_end;
static __thread int connection, asked, steps_left;

// The kernel clears the flag while the handler runs.
static void step(int signal, siginfo_t *information, void *interrupted) {
  unsigned long at = ((ucontext_t *)interrupted)->uc_mcontext.gregs[REG_RIP];
  if (at > (unsigned long)_init + 32 && at < (unsigned long)_start && asked == 0) {
    asked = 1;
    check(buy(connection, steps_left));
  } else if (at >= vdso && at < vdso_end && --steps_left == 0) {
    check(stock(connection, at & 0xfff));
  }
}

// Sets or clears the processor's trap flag.
static inline __attribute__((always_inline)) void stepping(unsigned long flag) {
  __asm__ volatile("pushfq\n andq $~0x100, (%%rsp)\n orq %0, (%%rsp)\n popfq" ::"r"(flag) : "cc", "memory");
}

__attribute__((noinline)) void *shop(void *worker) {
  volatile char large[20000];
  memset((void *)large, 1, sizeof large);
  connection = dial();
  for (int number = 0; access(file, F_OK) != 0; number++) {
    struct timespec now;
    asked = 0;
    steps_left = 1 + number % 40;
    stepping(0x100);
    int is_told = clock_gettime(CLOCK_MONOTONIC, &now);
    stepping(0);
    check(is_told == 0 && large[number % sizeof large] == 1);
    usleep(100000);
  }
  close(connection);
  return NULL;
}

static void prepare(void) {
  struct sigaction action = {.sa_sigaction = step, .sa_flags = SA_SIGINFO};
  check(sigaction(SIGTRAP, &action, NULL) == 0);
  char line[512];
  FILE *maps = fopen("/proc/self/maps", "r");
  check(maps != NULL);
  while (fgets(line, sizeof line, maps))
    if (strstr(line, "[vdso]")) check(sscanf(line, "%lx-%lx", &vdso, &vdso_end) == 2);
  fclose(maps);
  check(vdso != 0);
}
#else
static void prepare(void) {}

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
#endif

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
  MARKET prepare();
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
