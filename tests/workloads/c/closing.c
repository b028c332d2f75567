/* Answers one request a connection and closes it, one after the other: closing PORT. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv) {
    static char in[65536];
    static const char answer[] = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(argc > 1 ? atoi(argv[1]) : 0)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&at, sizeof at) || listen(listener, 100))
        return 1;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        size_t have = 0;
        for (;;) {
            ssize_t got = read(fd, in + have, sizeof in - 1 - have);
            if (got <= 0)
                break;
            have += got;
            in[have] = 0;
            if (strstr(in, "\r\n\r\n")) {
                if (write(fd, answer, sizeof answer - 1) < 0)
                    return 1;
                break;
            }
        }
        close(fd);
    }
}
