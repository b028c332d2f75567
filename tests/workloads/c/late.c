/* late LIBRARY PORT PATH: loads an OpenSSL when it is connected, asks once and prints how many bytes came. It renegotiates before it
 * asks, looks at what comes before it takes it, and ends the session before the connection. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void *library;

static void *find(const char *name) {
    void *function = dlsym(library, name);
    if (!function) {
        fprintf(stderr, "late: no %s\n", name);
        exit(1);
    }
    return function;
}

static void must(int ok, const char *what) {
    if (!ok) {
        fprintf(stderr, "late: %s\n", what);
        exit(1);
    }
}

int main(int argc, char **argv) {
    must(argc == 4, "late LIBRARY PORT PATH");
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    must(!connect(fd, (void *)&at, sizeof at), "connect");

    library = dlopen(argv[1], RTLD_NOW);
    must(library != NULL, "dlopen");
    void *(*method)(void) = find("TLS_client_method"), *(*context)(void *) = find("SSL_CTX_new"), *(*new)(void *) = find("SSL_new");
    int (*set)(void *, int) = find("SSL_set_fd"), (*attach)(void *) = find("SSL_connect");
    int (*renegotiate)(void *) = find("SSL_renegotiate"), (*handshake)(void *) = find("SSL_do_handshake");
    int (*give)(void *, const void *, int) = find("SSL_write"), (*end)(void *) = find("SSL_shutdown");
    int (*look)(void *, void *, int) = find("SSL_peek"), (*take)(void *, void *, int) = find("SSL_read");
    void (*forget)(void *) = find("SSL_free");

    /* Whoever watches the library changes its code. */
    unsigned char code[64];
    memcpy(code, (void *)(uintptr_t)new, sizeof code);
    for (int i = 0; i < 1000 && !memcmp(code, (void *)(uintptr_t)new, sizeof code); i++)
        usleep(10000);

    void *session = new(context(method()));
    must(session && set(session, fd) == 1 && attach(session) == 1, "SSL_connect");
    must(renegotiate(session) == 1 && handshake(session) == 1, "SSL_renegotiate");
    char text[4096];
    int size = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: localhost:%s\r\n\r\n", argv[3], argv[2]);
    must(give(session, text, size) == size, "SSL_write");
    long came = 0;
    for (int seen, took; (seen = look(session, text, sizeof text)) > 0; came += took) {
        took = take(session, text, sizeof text);
        must(took >= seen, "SSL_read");
    }
    end(session);
    forget(session);
    close(fd);
    printf("%ld\n", came);
}
