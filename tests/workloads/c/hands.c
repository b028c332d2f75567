// A program that gets messages from a broker and hands them to its children by pipes, in another order, as workers of Celery do.
//
// hands N: a broker hands over N messages, each with an identifier of its own, to a process that it created. One of three children of that,
// of which one is created behind the connection, asks GET /stock?id=NUMBER for each, and the last of them asks GET /both?id=1 for something
// that names two. Another child of the broker's is told of each message as well, and asks GET /other?id=NUMBER.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILDREN 3
#define ID 36

static int messages;
static int leaf_port;

static void check(int ok, const char *what) {
    if (!ok) {
        perror(what);
        _exit(1);
    }
}

static void put(int fd, const void *bytes, size_t size) {
    for (const char *at = bytes; size > 0;) {
        ssize_t n = write(fd, at, size);
        check(n > 0, "write");
        at += n, size -= n;
    }
}

// Whether all of it came.
static int take(int fd, void *bytes, size_t size) {
    for (char *at = bytes; size > 0;) {
        ssize_t n = read(fd, at, size);
        if (n <= 0)
            return 0;
        at += n, size -= n;
    }
    return 1;
}

static int listener(int *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    check(fd >= 0 && bind(fd, (struct sockaddr *)&address, size) == 0 && listen(fd, 64) == 0, "listen");
    check(getsockname(fd, (struct sockaddr *)&address, &size) == 0, "getsockname");
    *port = ntohs(address.sin_port);
    return fd;
}

static int opened(int port) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    check(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0, "connect");
    return fd;
}

static void ask(const char *path, int number) {
    char text[256];
    int fd = opened(leaf_port);
    put(fd, text, snprintf(text, sizeof text, "GET %s?id=%d HTTP/1.1\r\nHost: leaf\r\nConnection: close\r\n\r\n", path, number));
    while (read(fd, text, sizeof text) > 0) {
    }
    close(fd);
}

_Noreturn static void *leaf(void *listening) {
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    for (;;) {
        char text[512];
        int fd = accept(*(int *)listening, NULL, NULL);
        check(fd >= 0, "accept");
        if (read(fd, text, sizeof text) > 0)
            put(fd, answer, sizeof answer - 1);
        close(fd);
    }
}

// `text` is 36 characters and a zero.
static void name(char *text, int number) {
    snprintf(text, ID + 1, "00000000-0000-4000-8000-%012d", number);
}

// A message as Python's multiprocessing frames it: what it names, each as pickle has a text, and a number.
static void hand(int fd, int number, int first, int last) {
    char body[256], text[ID + 1];
    int size = 0;
    for (int at = first; at <= last; at++) {
        name(text, at);
        size += sprintf(body + size, "\x8c\x24%s\x94", text);
    }
    size += sprintf(body + size, "#%d", number) + 1;
    uint32_t length = htonl(size);
    put(fd, &length, sizeof length);
    put(fd, body, size);
}

static void work(int fd, const char *path) {
    uint32_t length;
    char body[256];
    while (take(fd, &length, sizeof length)) {
        check(ntohl(length) <= sizeof body && take(fd, body, ntohl(length)), "a message");
        int number = atoi(strchr(body, '#') + 1);
        if (number == 0)
            ask("/both", 1);
        else
            ask(path, number);
    }
    _exit(0);
}

// A child that works for what it takes out of a pipe, the end of which to write to is given.
static int child(const char *path) {
    int ends[2];
    check(pipe(ends) == 0, "pipe");
    pid_t pid = fork();
    check(pid >= 0, "fork");
    if (pid == 0) {
        // What is open besides would keep other pipes from their end.
        for (int fd = 3; fd < 64; fd++)
            if (fd != ends[0])
                close(fd);
        work(ends[0], path);
    }
    close(ends[0]);
    return ends[1];
}

// A frame of AMQP 0-9-1 on channel 1: its kind, channel and size, its content, and how it ends.
static char *frame(char *at, int kind, const char *content, size_t size) {
    uint32_t length = htonl(size);
    *at++ = kind, *at++ = 0, *at++ = 1;
    memcpy(at, &length, 4);
    memcpy(at + 4, content, size);
    at[4 + size] = (char)0xce;
    return at + 5 + size;
}

#define BYTES(text) text, sizeof text - 1

static void broker(int listening) {
    int bystander = child("/other");
    int fd = accept(listening, NULL, NULL);
    check(fd >= 0, "accept");
    char asked[64];
    check(read(fd, asked, sizeof asked) > 0, "a beginning");
    // Clew has to know by now what the connection is: what is read before that is for nobody that is known.
    usleep(1000000);
    char *bytes = malloc(64 + 256 * messages), *at = bytes;
    at = frame(at, 1, BYTES("\0\x3c\0\x15\1t"));
    for (int number = 1; number <= messages; number++) {
        char deliver[] = "\0\x3c\0\x3c\1t\0\0\0\0\0\0\0\0\0\0\1q", head[15 + ID + 1], body[16];
        deliver[13] = number;
        at = frame(at, 1, deliver, sizeof deliver - 1);
        int size = sprintf(body, "%d", number);
        memcpy(head, "\0\x3c\0\0\0\0\0\0\0\0\0\0\4\0\x24", 15);
        head[11] = size;
        name(head + 15, number);
        at = frame(at, 2, head, 15 + ID);
        at = frame(at, 3, body, size);
        hand(bystander, number, number, number);
    }
    put(fd, bytes, at - bytes);
    close(bystander);
    while (read(fd, asked, sizeof asked) > 0) {
    }
    close(fd);
}

static void get(int port) {
    int children[CHILDREN];
    for (int place = 0; place < CHILDREN - 1; place++)
        children[place] = child("/stock");
    int fd = opened(port);
    char begin[64] = "AMQP\0\0\x09\1";
    // basic.consume: nobody acknowledges.
    char *end = frame(begin + 8, 1, BYTES("\0\x3c\0\x14\0\0\1q\1t\2\0\0\0\0"));
    put(fd, begin, end - begin);
    children[CHILDREN - 1] = child("/stock");
    int got = 0;
    for (char head[7]; got < messages && take(fd, head, sizeof head);) {
        uint32_t size;
        char content[256];
        memcpy(&size, head + 3, 4);
        check(ntohl(size) < sizeof content && take(fd, content, ntohl(size) + 1), "a frame");
        got += head[0] == 3;
    }
    check(got == messages, "all messages");
    for (int number = messages; number >= 1; number--)
        hand(children[number % CHILDREN], number, number, number);
    hand(children[CHILDREN - 1], 0, 1, 2);
    for (int place = 0; place < CHILDREN; place++)
        close(children[place]);
    for (int place = 0; place < CHILDREN; place++)
        wait(NULL);
    _exit(0);
}

int main(int argc, char **argv) {
    messages = argc > 1 ? atoi(argv[1]) : 10;
    int broker_port, leaves = listener(&leaf_port), brokers = listener(&broker_port);
    pid_t serving = fork();
    check(serving >= 0, "fork");
    if (serving == 0) {
        pthread_t thread;
        check(pthread_create(&thread, NULL, leaf, &leaves) == 0, "pthread_create");
        pause();
    }
    pid_t getting = fork();
    check(getting >= 0, "fork");
    if (getting == 0)
        get(broker_port);
    broker(brokers);
    // Who gets messages, and the broker's other child.
    int first, second;
    check(wait(&first) > 0 && wait(&second) > 0, "children");
    kill(serving, SIGKILL);
    wait(NULL);
    return first != 0 || second != 0;
}
