// A thread a connection, blocking calls: threads PORT. Asks NEXT (PORT/path), if set, with the same number, on a
// connection of its own. LOGS=1: three lines to the standard error for each request; LOGS=syslog: the first by syslog(3).
#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <syslog.h>
#include <unistd.h>

static struct sockaddr_in local(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

// Reads up to the end of a message's head; what follows in `buffer` is a body.
static ssize_t read_head(int fd, char *buffer, size_t size) {
    size_t got = 0;
    while (got + 1 < size) {
        ssize_t n = read(fd, buffer + got, size - 1 - got);
        if (n <= 0) return -1;
        got += n;
        buffer[got] = 0;
        if (strstr(buffer, "\r\n\r\n")) return got;
    }
    return -1;
}

static int ask_next(const char *next, long number) {
    char path[64], buffer[4096];
    int port, status = 502;
    if (sscanf(next, "%d/%63s", &port, path) != 2) return 500;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = local(port);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) {
        int length = snprintf(buffer, sizeof buffer,
                              "GET /%s?id=%ld HTTP/1.1\r\nHost: next.test\r\nConnection: close\r\n\r\n", path, number);
        if (write(fd, buffer, length) == length && read_head(fd, buffer, sizeof buffer) > 0) {
            sscanf(buffer, "HTTP/1.1 %d", &status);
            while (read(fd, buffer, sizeof buffer) > 0) {
            }
        }
    }
    close(fd);
    return status;
}

static void note(const char *what, long number) {
    const char *logs = getenv("LOGS");
    if (!logs) return;
    if (strcmp(logs, "syslog") == 0 && strcmp(what, "asked") == 0)
        syslog(LOG_WARNING, "%s rid=%ld", what, number);
    else
        fprintf(stderr, "INFO %s rid=%ld\n", what, number);
}

static void *serve(void *argument) {
    int fd = (int)(intptr_t)argument;
    const char *next = getenv("NEXT");
    char buffer[4096], body[64];
    while (read_head(fd, buffer, sizeof buffer) > 0) {
        char *id = strstr(buffer, "?id=");
        long number = id ? strtol(id + 4, NULL, 10) : 0;
        note("asked", number);
        int status = next ? ask_next(next, number) : 200;
        note("answered", number);
        note("done", number);
        int size = snprintf(body, sizeof body, "threads %ld\n", number);
        int length = snprintf(buffer, sizeof buffer,
                              "HTTP/1.1 %d Answer\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", status,
                              size, body);
        if (write(fd, buffer, length) != length) break;
    }
    close(fd);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    signal(SIGPIPE, SIG_IGN);
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = local(atoi(argv[1]));
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 256)) {
        perror("threads");
        return 1;
    }
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        pthread_t thread;
        if (fd < 0) continue;
        if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd) == 0)
            pthread_detach(thread);
        else
            close(fd);
    }
}
