/* How programs may use OpenSSL's session objects, one way after the other:
 *
 *   sessions serve PORT CERTIFICATE KEY   answers every request with "yes", one connection after the other; with FORKS set a child does
 *   sessions ask AUTHORITY PORT PATH      asks once in each way, with the number of the way, and prints how many ways there were
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char text[65536];
static const char *port, *path;
static SSL_CTX *context;
static int ways;

static void must(int ok, const char *what) {
    if (ok)
        return;
    perror(what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

/* Memory as allocators with lists by size have it: what is freed is given to whoever asks for as much next. */
struct chunk {
    size_t size;
    struct chunk *next;
};
static struct chunk *spare[8192];

static void *give(size_t size, const char *file, int line) {
    (void)file, (void)line;
    struct chunk *chunk = size < 8192 ? spare[size] : NULL;
    if (chunk)
        spare[size] = chunk->next;
    else if ((chunk = malloc(sizeof *chunk + size)))
        chunk->size = size;
    return chunk ? chunk + 1 : NULL;
}

static void take(void *memory, const char *file, int line) {
    (void)file, (void)line;
    struct chunk *chunk = (struct chunk *)memory - 1;
    if (!memory)
        return;
    if (chunk->size >= 8192) {
        free(chunk);
        return;
    }
    chunk->next = spare[chunk->size];
    spare[chunk->size] = chunk;
}

static void *resize(void *memory, size_t size, const char *file, int line) {
    void *other = size ? give(size, file, line) : NULL;
    if (memory && other) {
        size_t before = ((struct chunk *)memory - 1)->size;
        memcpy(other, memory, before < size ? before : size);
    }
    if (other || !size)
        take(memory, file, line);
    return other;
}

static struct sockaddr_in at(const char *port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return at;
}

/* Whether the first `have` bytes hold a request. */
static int asked(size_t have) {
    text[have] = 0;
    return strstr(text, "\r\n\r\n") != NULL;
}

/* Answers what was asked, the first `have` bytes of which have come; looks at what comes before it takes it. */
static void answer(SSL *session, size_t have) {
    static const char yes[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes";
    char look[16];
    size_t count;
    for (;;) {
        if (asked(have)) {
            have = 0;
            if (!SSL_write_ex(session, yes, sizeof yes - 1, &count))
                return;
        }
        if (!SSL_peek_ex(session, look, sizeof look, &count) ||
            !SSL_read_ex(session, text + have, sizeof text - 1 - have, &count))
            return;
        have += count;
    }
}

/* The bytes that came before the handshake was over, or -1. */
static long early(SSL *session) {
    size_t have = 0, count;
    for (;;)
        switch (SSL_read_early_data(session, text + have, sizeof text - 1 - have, &count)) {
        case SSL_READ_EARLY_DATA_SUCCESS:
            have += count;
            break;
        case SSL_READ_EARLY_DATA_FINISH:
            return have + count;
        default:
            return -1;
        }
}

static void serve(const char *certificate, const char *key) {
    int forks = getenv("FORKS") != NULL;
    signal(SIGCHLD, SIG_IGN);
    context = SSL_CTX_new(TLS_server_method());
    must(SSL_CTX_use_certificate_file(context, certificate, SSL_FILETYPE_PEM) == 1, certificate);
    must(SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) == 1, key);
    must(SSL_CTX_set_max_early_data(context, forks ? 0 : 16384), "SSL_CTX_set_max_early_data");
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    struct sockaddr_in here = at(port);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    must(!bind(listener, (void *)&here, sizeof here) && !listen(listener, 5), "listen");
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        must(fd >= 0, "accept");
        SSL *session = SSL_new(context);
        long have = -1;
        if (SSL_set_fd(session, fd) == 1 && (have = early(session)) >= 0 && SSL_accept(session) == 1 &&
            (!forks || !fork())) {
            answer(session, have);
            SSL_shutdown(session);
            if (forks)
                _exit(0);
        }
        ERR_clear_error();
        SSL_free(session);
        close(fd);
    }
}

static int connected(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in there = at(port);
    must(!connect(fd, (void *)&there, sizeof there), "connect");
    return fd;
}

static int request(void) {
    return snprintf(text, sizeof text, "GET %s?id=%d HTTP/1.1\r\nHost: localhost:%s\r\n\r\n", path, ++ways, port);
}

/* Waits for what the session's descriptor has to be ready for, if that is why a call came to nothing. */
static int again(SSL *session, int result) {
    int why = SSL_get_error(session, result);
    struct pollfd one = {.fd = SSL_get_fd(session)};
    if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
        return 0;
    one.events = why == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT;
    return poll(&one, 1, 10000) == 1;
}

static void taken(SSL *session, int most) {
    for (int have = 0, got; have < 3 || memcmp(text + have - 3, "yes", 3); have += got)
        while ((got = SSL_read(session, text + have, most)) <= 0)
            must(again(session, got), "SSL_read");
}

static void ask(SSL *session, int most) {
    int size = request(), gave;
    while ((gave = SSL_write(session, text, size)) <= 0)
        must(again(session, gave), "SSL_write");
    must(gave == size, "SSL_write");
    taken(session, most);
}

static void begin(SSL *session) {
    int result;
    must(SSL_set_tlsext_host_name(session, "localhost"), "SSL_set_tlsext_host_name");
    while ((result = SSL_connect(session)) != 1)
        must(again(session, result), "SSL_connect");
}

static SSL *made(int fd) {
    SSL *session = SSL_new(context);
    must(session && SSL_set_fd(session, fd) == 1, "SSL_set_fd");
    return session;
}

static void end(SSL *session, int fd) {
    SSL_shutdown(session);
    SSL_free(session);
    close(fd);
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    must(CRYPTO_set_mem_functions(give, resize, take), "CRYPTO_set_mem_functions");
    must(argc == 5, "sessions serve PORT CERTIFICATE KEY, or sessions ask AUTHORITY PORT PATH");
    if (!strcmp(argv[1], "serve")) {
        port = argv[2];
        serve(argv[3], argv[4]);
    }
    port = argv[3];
    path = argv[4];
    context = SSL_CTX_new(TLS_client_method());
    must(SSL_CTX_load_verify_locations(context, argv[2], NULL) == 1, argv[2]);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);

    /* 1, 2: a second object lies where the first was. */
    SSL *first = NULL;
    for (int i = 0; i < 2; i++) {
        int fd = connected();
        SSL *session = made(fd);
        must(!i || session == first, "another address");
        first = session;
        begin(session);
        ask(session, sizeof text);
        end(session, fd);
    }
    /* 3: the descriptor that the object was given is another connection's when it is used. */
    int fd = connected();
    SSL *session = made(fd);
    int other = connected();
    must(dup2(other, fd) == fd && !close(other), "dup2");
    begin(session);
    ask(session, sizeof text);
    end(session, fd);
    /* 4: one descriptor to read, another to write, both copies of one that is closed. */
    fd = connected();
    int copies[] = {dup(fd), dup(fd)};
    close(fd);
    session = SSL_new(context);
    must(SSL_set_rfd(session, copies[0]) == 1 && SSL_set_wfd(session, copies[1]) == 1, "SSL_set_rfd");
    begin(session);
    ask(session, sizeof text);
    SSL_shutdown(session);
    close(copies[0]);
    close(copies[1]);
    /* 5: the same object again, cleared. */
    must(SSL_clear(session) == 1, "SSL_clear");
    fd = connected();
    must(SSL_set_fd(session, fd) == 1, "SSL_set_fd");
    begin(session);
    ask(session, sizeof text);
    end(session, fd);
    /* 6: calls come to nothing for now, as nothing has come or there is no room; some are made for nothing. */
    fd = connected();
    must(!fcntl(fd, F_SETFL, O_NONBLOCK), "fcntl");
    session = made(fd);
    begin(session);
    for (int i = 0; i < 3; i++)
        must(SSL_read(session, text, sizeof text) < 0 && SSL_peek(session, text, sizeof text) < 0, "SSL_read");
    ask(session, sizeof text);
    end(session, fd);
    /* 7: bytes are looked at again and again, and taken one by one. */
    fd = connected();
    session = made(fd);
    begin(session);
    int size = request();
    must(SSL_write(session, text, size) == size, "SSL_write");
    for (int i = 0; i < 3; i++)
        must(SSL_peek(session, text, 4) == 4, "SSL_peek");
    taken(session, 1);
    SSL_SESSION *kept = SSL_get1_session(session);
    end(session, fd);
    /* 8: a child goes on with what its parent has begun. */
    fd = connected();
    session = made(fd);
    begin(session);
    int child = fork(), status;
    if (!child) {
        ask(session, sizeof text);
        SSL_shutdown(session);
        _exit(0);
    }
    ways++;
    must(waitpid(child, &status, 0) == child && !status, "the child");
    SSL_free(session);
    close(fd);
    /* 9: what is asked is sent with the first word. */
    if (SSL_SESSION_get_max_early_data(kept)) {
        fd = connected();
        session = made(fd);
        must(SSL_set_session(session, kept) == 1 && SSL_set_tlsext_host_name(session, "localhost"), "SSL_set_session");
        size_t gave;
        size = request();
        must(SSL_write_early_data(session, text, size, &gave) == 1 && (int)gave == size, "SSL_write_early_data");
        must(SSL_connect(session) == 1, "SSL_connect");
        must(SSL_get_early_data_status(session) == SSL_EARLY_DATA_ACCEPTED, "early data");
        taken(session, sizeof text);
        end(session, fd);
    }
    printf("%d\n", ways);
}
