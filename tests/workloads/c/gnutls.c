/* gnutls PORT CERTIFICATE KEY FILE: answers every request with what is in the file, which GnuTLS itself reads and sends; one connection
 * after the other. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void must(int ok, const char *what) {
    if (ok)
        return;
    perror(what);
    exit(1);
}

/* Answers until the client ends. */
static void answer(gnutls_session_t session, int file) {
    char text[4096];
    long size = lseek(file, 0, SEEK_END);
    for (int have = 0;;) {
        long got = gnutls_record_recv(session, text + have, sizeof text - 1 - have);
        if (got <= 0)
            return;
        have += got;
        text[have] = 0;
        if (!strstr(text, "\r\n\r\n"))
            continue;
        have = 0;
        int head = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %ld\r\n\r\n", size);
        if (gnutls_record_send(session, text, head) != head)
            return;
        /* It may be sent in parts, from where the last ended. */
        lseek(file, 0, SEEK_SET);
        for (long left = size, sent; left; left -= sent) {
            sent = gnutls_record_send_file(session, file, NULL, left);
            if (sent <= 0)
                return;
        }
    }
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    must(argc == 5, "gnutls PORT CERTIFICATE KEY FILE");
    gnutls_certificate_credentials_t own;
    must(!gnutls_certificate_allocate_credentials(&own), "credentials");
    must(!gnutls_certificate_set_x509_key_file(own, argv[2], argv[3], GNUTLS_X509_FMT_PEM), argv[2]);
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1, file = open(argv[4], O_RDONLY);
    must(file >= 0, argv[4]);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    must(!bind(listener, (void *)&here, sizeof here) && !listen(listener, 5), "listen");
    for (;;) {
        int fd = accept(listener, NULL, NULL), result;
        must(fd >= 0, "accept");
        gnutls_session_t session;
        must(!gnutls_init(&session, GNUTLS_SERVER), "gnutls_init");
        must(!gnutls_set_default_priority(session), "priorities");
        must(!gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, own), "credentials");
        gnutls_transport_set_int(session, fd);
        do
            result = gnutls_handshake(session);
        while (result < 0 && !gnutls_error_is_fatal(result));
        if (!result) {
            answer(session, file);
            gnutls_bye(session, GNUTLS_SHUT_WR);
        }
        gnutls_deinit(session);
        close(fd);
    }
}
