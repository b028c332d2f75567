/* Asks for paths over one connection, with mbedTLS, MS milliseconds after it began: mbed MS AUTHORITY PORT PATH... */
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MUST(call) do { int code = (call); if (code) { fprintf(stderr, "%s: -%#x\n", #call, -code); exit(1); } } while (0)

static mbedtls_net_context net;
static mbedtls_entropy_context entropy;
static mbedtls_ctr_drbg_context random_bytes;
static mbedtls_ssl_config config;
static mbedtls_ssl_context ssl;
static mbedtls_x509_crt authority;

static void ask(const char *port, const char *path) {
    static char text[65536];
    int size = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: localhost:%s\r\n\r\n", path, port);
    for (int done = 0; done < size;) {
        int wrote = mbedtls_ssl_write(&ssl, (unsigned char *)text + done, size - done);
        if (wrote <= 0)
            MUST(wrote ? wrote : -1);
        done += wrote;
    }
    for (size_t have = 0;;) {
        int got = mbedtls_ssl_read(&ssl, (unsigned char *)text + have, sizeof text - 1 - have);
        if (got <= 0)
            MUST(got ? got : -1);
        have += got;
        text[have] = 0;
        char *head = strstr(text, "\r\n\r\n"), *length = strstr(text, "ontent-Length: ");
        if (head && length && have >= head + 4 - text + strtoul(length + 15, NULL, 10))
            return;
    }
}

int main(int argc, char **argv) {
    if (argc < 5)
        return 2;
    usleep(1000 * atoi(*++argv));
    mbedtls_net_init(&net);
    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&random_bytes);
    mbedtls_ssl_config_init(&config);
    mbedtls_ssl_init(&ssl);
    mbedtls_x509_crt_init(&authority);
    MUST(mbedtls_ctr_drbg_seed(&random_bytes, mbedtls_entropy_func, &entropy, NULL, 0));
    MUST(mbedtls_x509_crt_parse_file(&authority, argv[1]));
    MUST(mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT));
    mbedtls_ssl_conf_ca_chain(&config, &authority, NULL);
    mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &random_bytes);
    MUST(mbedtls_ssl_setup(&ssl, &config));
    MUST(mbedtls_ssl_set_hostname(&ssl, "localhost"));
    MUST(mbedtls_net_connect(&net, "127.0.0.1", argv[2], MBEDTLS_NET_PROTO_TCP));
    mbedtls_ssl_set_bio(&ssl, &net, mbedtls_net_send, mbedtls_net_recv, NULL);
    MUST(mbedtls_ssl_handshake(&ssl));
    for (char **path = argv + 3; *path; path++)
        ask(argv[2], *path);
    mbedtls_ssl_close_notify(&ssl);
    mbedtls_net_free(&net);
}
