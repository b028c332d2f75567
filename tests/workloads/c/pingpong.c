/*
 * Two threads that send each other messages of SIZE bytes over a loopback connection, at a steady pace: pingpong SIZE KIND.
 *
 * KIND `http` sends requests and responses whose heads fill them, so that a tracer copies every byte; `other` sends bytes of
 * no protocol, which a tracer stops copying.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 65536
/* Slow enough that whoever reads the events keeps up with 4 KiB a message. */
#define PAUSE_NS 100000

static size_t size;
static int http;

/* A head of exactly `size` bytes: `first`, and a field that fills it. */
static void fill(char *message, const char *first) {
    memset(message, http ? 'x' : 0xa5, size);
    if (!http)
        return;
    memcpy(message, first, strlen(first));
    memcpy(message + size - 4, "\r\n\r\n", 4);
}

static void take(int fd, char *into) {
    for (size_t have = 0; have < size;) {
        ssize_t got = read(fd, into + have, size - have);
        if (got <= 0)
            exit(1);
        have += got;
    }
}

static void *answers(void *listener) {
    static char in[MOST], out[MOST];
    int fd = accept(*(int *)listener, NULL, NULL);
    fill(out, "HTTP/1.1 204 No Content\r\nX-Fill: ");
    for (;;) {
        take(fd, in);
        if (write(fd, out, size) != (ssize_t)size)
            exit(1);
    }
}

int main(int argc, char **argv) {
    static char in[MOST], out[MOST];
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t length = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    pthread_t thread;
    if (argc < 3)
        return 2;
    size = strtoul(argv[1], NULL, 10);
    http = !strcmp(argv[2], "http");
    if (size < 64 || size > MOST)
        return 2;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (void *)&at, sizeof at) || listen(listener, 1) || getsockname(listener, (void *)&at, &length))
        return 1;
    pthread_create(&thread, NULL, answers, &listener);
    if (connect(fd, (void *)&at, sizeof at))
        return 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fill(out, "GET /ping HTTP/1.1\r\nHost: localhost\r\nX-Fill: ");
    for (;;) {
        struct timespec pause = {.tv_nsec = PAUSE_NS};
        if (write(fd, out, size) != (ssize_t)size)
            return 1;
        take(fd, in);
        nanosleep(&pause, NULL);
    }
}
