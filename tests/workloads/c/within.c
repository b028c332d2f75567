/* A server and a client with OpenSSL's library within:
 *
 *   within serve PORT CERTIFICATE KEY      answers every request with "yes", one connection after the other
 *   within ask AUTHORITY PORT PATH...      asks for paths over one connection
 *
 * The server gives and takes by the functions that say how much in an argument, the client by those that return it.
 */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char text[65536];

static void must(int ok, const char *what) {
    if (ok)
        return;
    perror(what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static struct sockaddr_in at(const char *port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return at;
}

static void answer(SSL *session) {
    static const char yes[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes";
    size_t have = 0, count;
    while (have < sizeof text - 1 && SSL_read_ex(session, text + have, sizeof text - 1 - have, &count)) {
        have += count;
        text[have] = 0;
        if (!strstr(text, "\r\n\r\n"))
            continue;
        have = 0;
        if (!SSL_write_ex(session, yes, sizeof yes - 1, &count))
            return;
    }
}

static void serve(const char *port, const char *certificate, const char *key) {
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    must(SSL_CTX_use_certificate_file(context, certificate, SSL_FILETYPE_PEM) == 1, certificate);
    must(SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) == 1, key);
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    struct sockaddr_in here = at(port);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    must(!bind(listener, (void *)&here, sizeof here) && !listen(listener, 5), "listen");
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        must(fd >= 0, "accept");
        SSL *session = SSL_new(context);
        if (SSL_set_fd(session, fd) == 1 && SSL_accept(session) == 1) {
            answer(session);
            SSL_shutdown(session);
        }
        ERR_clear_error();
        SSL_free(session);
        close(fd);
    }
}

static void ask(SSL *session, const char *port, const char *path) {
    int size = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: localhost:%s\r\n\r\n", path, port);
    must(SSL_write(session, text, size) == size, "SSL_write");
    for (int have = 0, got; have < 3 || memcmp(text + have - 3, "yes", 3); have += got) {
        got = SSL_read(session, text + have, sizeof text - have);
        must(got > 0, "SSL_read");
    }
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    must(argc > 4, "within serve PORT CERTIFICATE KEY, or within ask AUTHORITY PORT PATH...");
    if (!strcmp(argv[1], "serve"))
        serve(argv[2], argv[3], argv[4]);
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    must(SSL_CTX_load_verify_locations(context, argv[2], NULL) == 1, argv[2]);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in there = at(argv[3]);
    must(!connect(fd, (void *)&there, sizeof there), "connect");
    SSL *session = SSL_new(context);
    must(SSL_set_fd(session, fd) == 1 && SSL_set_tlsext_host_name(session, "localhost"), "SSL_set_fd");
    must(SSL_connect(session) == 1, "SSL_connect");
    for (char **path = argv + 4; *path; path++)
        ask(session, argv[3], *path);
    SSL_shutdown(session);
    SSL_free(session);
    close(fd);
}
