// An event loop on one thread: loop PORT. For each request it asks NEXT (PORT/path) with the same number.
//
// WAIT is how it waits: epoll, poll or select. POOL is how many connections to NEXT it keeps: requests wait for a free one
// and are sent when another's answer has come. Without it each request opens a connection of its own and is sent once that
// is open. OWN=1: one millisecond after each request came it also asks NEXT for /own on a connection of its own, for no
// request at all: what a health check or an exporter does. LOGS=1: three lines to the standard error for each request.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 1000, WAITING = 4096 };
enum kind { NONE, LISTENER, CLIENT, UPSTREAM, OWN };

static struct connection {
    enum kind kind;
    int connecting, got;
    int client;   // Of an upstream connection: for whom it asks, -1 for nobody.
    long number;  // The request it serves or asks.
    char buffer[4096];
} all[MOST];

static struct waiting {
    int client;
    long number;
} queue[WAITING];
static unsigned first_waiting, after_waiting;

static int epoll, pool, pooled, next_port, logs;
static char next_path[64];
static double own_due;
static const char *how;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void watch(int fd, enum kind kind, int write) {
    all[fd] = (struct connection){.kind = kind, .connecting = write, .client = -1};
    struct epoll_event event = {.events = write ? EPOLLOUT : EPOLLIN, .data.fd = fd};
    if (epoll >= 0) epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static void opened(int fd) {
    all[fd].connecting = 0;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll >= 0) epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
}

static void drop(int fd) {
    if (all[fd].kind == UPSTREAM && pool) pooled--;
    all[fd].kind = NONE;
    close(fd);
}

static struct sockaddr_in local(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static int start(enum kind kind) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || fd >= MOST) exit(3);
    struct sockaddr_in address = local(next_port);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) exit(4);
    watch(fd, kind, 1);
    return fd;
}

static void send_all(int fd, const char *text, int length) {
    // Heads are small and buffers empty: a short write does not happen.
    if (write(fd, text, length) != length) drop(fd);
}

static void ask(int fd, int client, long number) {
    char text[256];
    const char *path = all[fd].kind == OWN ? "own" : next_path;
    all[fd].client = client;
    all[fd].number = number;
    all[fd].got = 0;
    int length = snprintf(text, sizeof text, "GET /%s?id=%ld HTTP/1.1\r\nHost: next.test\r\n%s\r\n", path, number,
                          pool && all[fd].kind == UPSTREAM ? "" : "Connection: close\r\n");
    send_all(fd, text, length);
}

static void forward(int client, long number) {
    if (!pool) {
        int fd = start(UPSTREAM);
        all[fd].client = client;
        all[fd].number = number;
        return;
    }
    queue[after_waiting++ % WAITING] = (struct waiting){client, number};
    for (int fd = 0; fd < MOST; fd++) {
        if (all[fd].kind != UPSTREAM || all[fd].connecting || all[fd].client >= 0) continue;
        struct waiting oldest = queue[first_waiting++ % WAITING];
        ask(fd, oldest.client, oldest.number);
        return;
    }
    if (pooled < pool) {
        pooled++;
        start(UPSTREAM);
    }
}

// Whether a message is whole. Every body here has a length.
static int whole(struct connection *connection) {
    char *end = strstr(connection->buffer, "\r\n\r\n");
    if (!end) return 0;
    char *length = strcasestr(connection->buffer, "content-length:");
    long body = length && length < end ? strtol(length + 15, NULL, 10) : 0;
    return connection->got >= end + 4 - connection->buffer + body;
}

static void note(const char *what, long number) {
    if (logs) fprintf(stderr, "INFO %s rid=%ld\n", what, number);
}

static void answer(int client, int status, long number) {
    note("answered", number);
    char text[256], body[64];
    int size = snprintf(body, sizeof body, "loop %ld\n", number);
    int length = snprintf(text, sizeof text, "HTTP/1.1 %d Answer\r\nContent-Length: %d\r\n\r\n%s", status, size, body);
    if (all[client].kind == CLIENT) send_all(client, text, length);
}

static void ready(int fd, int listener) {
    struct connection *connection = &all[fd];
    if (connection->kind == LISTENER) {
        int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (client >= 0) watch(client, CLIENT, 0);
        return;
    }
    if (connection->connecting) {
        opened(fd);
        if (connection->kind == OWN) {
            ask(fd, -1, 0);
        } else if (!pool) {
            ask(fd, connection->client, connection->number);
        } else if (first_waiting != after_waiting) {
            struct waiting oldest = queue[first_waiting++ % WAITING];
            ask(fd, oldest.client, oldest.number);
        }
        return;
    }
    ssize_t n = read(fd, connection->buffer + connection->got, sizeof connection->buffer - 1 - connection->got);
    if (n <= 0) {
        if (n < 0 && errno == EAGAIN) return;
        drop(fd);
        return;
    }
    connection->got += n;
    connection->buffer[connection->got] = 0;
    if (!whole(connection)) return;
    connection->got = 0;
    if (connection->kind == CLIENT) {
        char *id = strstr(connection->buffer, "?id=");
        long number = id ? strtol(id + 4, NULL, 10) : 0;
        if (getenv("OWN")) own_due = now() + 0.001;
        note("asked", number);
        forward(fd, number);
        note("forwarded", number);
    } else if (connection->kind == OWN) {
        drop(fd);
    } else {
        int status = 502, client = connection->client;
        sscanf(connection->buffer, "HTTP/1.1 %d", &status);
        connection->client = -1;
        // The pool sends the oldest that waits before the answer is passed on.
        if (!pool) {
            drop(fd);
        } else if (first_waiting != after_waiting) {
            long number = connection->number;
            struct waiting oldest = queue[first_waiting++ % WAITING];
            ask(fd, oldest.client, oldest.number);
            answer(client, status, number);
            return;
        }
        answer(client, status, connection->number);
    }
}

static int wait_for_events(int *fds) {
    int timeout = own_due > 0 ? 1 : -1, count = 0;
    if (epoll >= 0) {
        struct epoll_event events[64];
        int n = epoll_wait(epoll, events, 64, timeout);
        for (int i = 0; i < n; i++) fds[count++] = events[i].data.fd;
    } else if (strcmp(how, "poll") == 0) {
        static struct pollfd watched[MOST];
        int size = 0;
        for (int fd = 0; fd < MOST; fd++)
            if (all[fd].kind != NONE)
                watched[size++] = (struct pollfd){.fd = fd, .events = all[fd].connecting ? POLLOUT : POLLIN};
        if (poll(watched, size, timeout) > 0)
            for (int i = 0; i < size; i++)
                if (watched[i].revents) fds[count++] = watched[i].fd;
    } else {
        fd_set in, out;
        FD_ZERO(&in);
        FD_ZERO(&out);
        for (int fd = 0; fd < MOST; fd++)
            if (all[fd].kind != NONE) FD_SET(fd, all[fd].connecting ? &out : &in);
        struct timeval limit = {.tv_usec = 1000};
        if (select(MOST, &in, &out, NULL, timeout < 0 ? NULL : &limit) > 0)
            for (int fd = 0; fd < MOST; fd++)
                if (FD_ISSET(fd, &in) || FD_ISSET(fd, &out)) fds[count++] = fd;
    }
    return count;
}

int main(int argc, char **argv) {
    const char *next = getenv("NEXT");
    if (argc != 2 || !next || sscanf(next, "%d/%63s", &next_port, next_path) != 2) return 2;
    how = getenv("WAIT") ? getenv("WAIT") : "epoll";
    pool = getenv("POOL") ? atoi(getenv("POOL")) : 0;
    logs = getenv("LOGS") != NULL;
    signal(SIGPIPE, SIG_IGN);
    epoll = strcmp(how, "epoll") == 0 ? epoll_create1(0) : -1;
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = local(atoi(argv[1]));
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 512)) {
        perror("loop");
        return 1;
    }
    watch(listener, LISTENER, 0);
    for (;;) {
        int fds[MOST], count = wait_for_events(fds);
        for (int i = 0; i < count; i++)
            if (all[fds[i]].kind != NONE) ready(fds[i], listener);
        if (own_due > 0 && now() >= own_due) {
            own_due = 0;
            start(OWN);
        }
    }
}
