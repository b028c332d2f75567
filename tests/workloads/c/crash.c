// Serves a client of its own in a process that ends in the middle of a request: crash KIND FILE. The client asks for /fine until there is
// the file, then for /KIND, and exits with 0 if nothing was answered.
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int *volatile nowhere = (volatile int *)16;

__attribute__((noinline)) static void touch(void) {
  *nowhere = 1;  // ends: touch
}

__attribute__((noinline)) static void give_up(void) {
  abort();  // ends: give_up
}

__attribute__((noinline)) static void handle(const char *head) {
  if (strncmp(head, "GET /touch", 10) == 0) touch();
  if (strncmp(head, "GET /give_up", 12) == 0) give_up();
}

__attribute__((noinline)) static void serve(int from) {
  static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
  char head[4096];
  ssize_t size;
  while ((size = read(from, head, sizeof head - 1)) > 0) {
    head[size] = 0;
    handle(head);
    if (write(from, answer, sizeof answer - 1) < 0) break;
  }
}

static int ask(int to, const char *kind) {
  char text[4096];
  int size = snprintf(text, sizeof text, "GET /%s HTTP/1.1\r\nHost: crash.test\r\n\r\n", kind);
  return write(to, text, size) == size && read(to, text, sizeof text) > 0;
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  struct sockaddr_in place = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof place;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr *)&place, sizeof place) != 0 || listen(listener, 1) != 0) return 3;
  getsockname(listener, (struct sockaddr *)&place, &length);
  if (fork() == 0) {
    serve(accept(listener, NULL, NULL));
    _exit(0);
  }
  int to = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(to, (struct sockaddr *)&place, sizeof place) != 0) return 4;
  while (access(argv[2], F_OK) != 0) {
    if (!ask(to, "fine")) return 5;
    usleep(10000);
  }
  int answered = ask(to, argv[1]);
  int status;
  wait(&status);
  return answered || !WIFSIGNALED(status);
}
