/* Exchanges HTTP/1.1 messages with itself, each byte passed by one named form of system call.
 *
 *   sock CASE FAMILY     FAMILY: tcp4, tcp6, unix or vm
 *   sock --serve FD CASE serves an inherited connection (used by the case "exec")
 *
 * A client process asks GET /CASE-FAMILY?id=N for N in 1..=EXCHANGES over one connection; a server process answers. Exit codes:
 * 0 all answers were right, 1 not, 77 the host does not offer this form (the reason is on stderr).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <linux/tls.h>
#include <linux/vm_sockets.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXCHANGES 3
#define BODY 5000

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#ifndef AF_SMC
#define AF_SMC 43
#endif

static const char *family = "tcp4";

static void die(const char *what) {
    fprintf(stderr, "sock: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void unsupported(const char *what) {
    fprintf(stderr, "sock: not offered here: %s: %s\n", what, strerror(errno));
    exit(77);
}

/* ---- forms of sending and receiving; each moves at most n bytes and returns how many ---- */

typedef ssize_t (*send_fn)(int fd, const char *data, size_t n);
typedef ssize_t (*recv_fn)(int fd, char *data, size_t n);

static ssize_t send_write(int fd, const char *d, size_t n) { return write(fd, d, n); }
static ssize_t recv_read(int fd, char *d, size_t n) { return read(fd, d, n); }

/* Three pieces, one of them empty, cut at odd places. */
static int cut(struct iovec *v, const char *d, size_t n) {
    size_t a = n / 3, b = n > 10 ? 7 : 0;
    v[0] = (struct iovec){(void *)d, a};
    v[1] = (struct iovec){(void *)(d + a), 0};
    v[2] = (struct iovec){(void *)(d + a), b};
    v[3] = (struct iovec){(void *)(d + a + b), n - a - b};
    return 4;
}

static ssize_t send_writev(int fd, const char *d, size_t n) {
    struct iovec v[4];
    return writev(fd, v, cut(v, d, n));
}
static ssize_t recv_readv(int fd, char *d, size_t n) {
    struct iovec v[4];
    return readv(fd, v, cut(v, d, n));
}
static ssize_t send_pwritev2(int fd, const char *d, size_t n) {
    struct iovec v[4];
    return pwritev2(fd, v, cut(v, d, n), -1, 0);
}
static ssize_t recv_preadv2(int fd, char *d, size_t n) {
    struct iovec v[4];
    return preadv2(fd, v, cut(v, d, n), -1, 0);
}
static ssize_t send_send(int fd, const char *d, size_t n) { return send(fd, d, n, MSG_NOSIGNAL); }
static ssize_t recv_recv(int fd, char *d, size_t n) { return recv(fd, d, n, 0); }
static ssize_t send_sendto(int fd, const char *d, size_t n) { return sendto(fd, d, n, 0, NULL, 0); }
static ssize_t recv_recvfrom(int fd, char *d, size_t n) {
    struct sockaddr_storage from;
    socklen_t len = sizeof from;
    return recvfrom(fd, d, n, 0, (struct sockaddr *)&from, &len);
}
static ssize_t send_sendmsg(int fd, const char *d, size_t n) {
    struct iovec v[4];
    struct msghdr m = {.msg_iov = v, .msg_iovlen = cut(v, d, n)};
    return sendmsg(fd, &m, 0);
}
static ssize_t recv_recvmsg(int fd, char *d, size_t n) {
    struct iovec v[4];
    struct msghdr m = {.msg_iov = v, .msg_iovlen = cut(v, d, n)};
    return recvmsg(fd, &m, 0);
}
static ssize_t send_sendmmsg1(int fd, const char *d, size_t n) {
    struct iovec v[4];
    struct mmsghdr m = {.msg_hdr = {.msg_iov = v, .msg_iovlen = cut(v, d, n)}};
    return sendmmsg(fd, &m, 1, 0) == 1 ? (ssize_t)m.msg_len : -1;
}
static ssize_t recv_recvmmsg1(int fd, char *d, size_t n) {
    struct iovec v[4];
    struct mmsghdr m = {.msg_hdr = {.msg_iov = v, .msg_iovlen = cut(v, d, n)}};
    return recvmmsg(fd, &m, 1, 0, NULL) == 1 ? (ssize_t)m.msg_len : -1;
}
/* Three messages in one call. */
static ssize_t send_sendmmsg(int fd, const char *d, size_t n) {
    size_t a = n / 4, b = n / 2;
    struct iovec v[3] = {{(void *)d, a}, {(void *)(d + a), b}, {(void *)(d + a + b), n - a - b}};
    struct mmsghdr m[3];
    memset(m, 0, sizeof m);
    for (int i = 0; i < 3; i++) {
        m[i].msg_hdr.msg_iov = &v[i];
        m[i].msg_hdr.msg_iovlen = 1;
    }
    int sent = sendmmsg(fd, m, 3, 0);
    ssize_t total = 0;
    for (int i = 0; i < sent; i++)
        total += m[i].msg_len;
    return sent > 0 ? total : -1;
}
static ssize_t recv_recvmmsg(int fd, char *d, size_t n) {
    if (n > 48) /* Small messages, so that several come back from one call. */
        n = 48;
    struct iovec v[3] = {{d, n / 3}, {d + n / 3, n / 3}, {d + 2 * (n / 3), n - 2 * (n / 3)}};
    struct mmsghdr m[3];
    memset(m, 0, sizeof m);
    for (int i = 0; i < 3; i++) {
        m[i].msg_hdr.msg_iov = &v[i];
        m[i].msg_hdr.msg_iovlen = 1;
    }
    int got = recvmmsg(fd, m, 3, MSG_WAITFORONE, NULL);
    ssize_t total = 0;
    for (int i = 0; i < got; i++) {
        if (i > 0 && m[i].msg_len) /* A message may be short; close the hole it left. */
            memmove(d + total, v[i].iov_base, m[i].msg_len);
        total += m[i].msg_len;
    }
    return got >= 0 ? total : -1;
}
static ssize_t recv_peek(int fd, char *d, size_t n) {
    ssize_t peeked = recv(fd, d, n, MSG_PEEK);
    if (peeked <= 0)
        return peeked;
    return read(fd, d, peeked);
}
static ssize_t send_pieces(int fd, const char *d, size_t n) { return write(fd, d, n > 7 ? 7 : n); }
static ssize_t recv_pieces(int fd, char *d, size_t n) { return read(fd, d, n > 5 ? 5 : n); }

static void wait_for(int fd, short events) {
    struct pollfd p = {.fd = fd, .events = events};
    if (poll(&p, 1, 30000) != 1)
        die("poll");
}
static ssize_t send_nonblock(int fd, const char *d, size_t n) {
    ssize_t sent = send(fd, d, n, MSG_DONTWAIT);
    if (sent < 0 && errno == EAGAIN) {
        wait_for(fd, POLLOUT);
        return send_nonblock(fd, d, n);
    }
    return sent;
}
static ssize_t recv_nonblock(int fd, char *d, size_t n) {
    for (;;) {
        /* The first call normally finds nothing: EAGAIN is what this form is about. */
        ssize_t got = recv(fd, d, n, MSG_DONTWAIT);
        if (got >= 0 || errno != EAGAIN)
            return got;
        wait_for(fd, POLLIN);
    }
}
static ssize_t send_dup(int fd, const char *d, size_t n) {
    int other = dup(fd);
    ssize_t sent = write(other, d, n);
    close(other);
    return sent;
}
static ssize_t recv_dup(int fd, char *d, size_t n) {
    int other = fcntl(fd, F_DUPFD, 200);
    ssize_t got = read(other, d, n);
    close(other);
    return got;
}
static ssize_t send_zerocopy(int fd, const char *d, size_t n) {
    int one = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof one))
        unsupported("SO_ZEROCOPY");
    ssize_t sent = send(fd, d, n, MSG_ZEROCOPY);
    if (sent < 0)
        return sent;
    char control[200];
    struct msghdr m = {.msg_control = control, .msg_controllen = sizeof control};
    wait_for(fd, 0); /* POLLERR */
    if (recvmsg(fd, &m, MSG_ERRQUEUE) < 0)
        die("error queue");
    return sent;
}

/* The whole message leaves the process without a system call that names its bytes. */
static int memory_file(const char *d, size_t n) {
    int file = memfd_create("sock", 0);
    if (file < 0 || write(file, d, n) != (ssize_t)n)
        die("memfd");
    return file;
}
static ssize_t send_sendfile(int fd, const char *d, size_t n) {
    int file = memory_file(d, n);
    off_t at = 0;
    ssize_t sent = sendfile(fd, file, &at, n);
    close(file);
    return sent;
}
static ssize_t send_splice(int fd, const char *d, size_t n) {
    int pipes[2];
    if (pipe(pipes))
        die("pipe");
    ssize_t held = write(pipes[1], d, n);
    ssize_t sent = splice(pipes[0], NULL, fd, NULL, held, 0);
    close(pipes[0]);
    close(pipes[1]);
    return sent;
}
static ssize_t send_vmsplice(int fd, const char *d, size_t n) {
    int pipes[2];
    if (pipe(pipes))
        die("pipe");
    struct iovec v = {(void *)d, n};
    ssize_t held = vmsplice(pipes[1], &v, 1, 0);
    ssize_t sent = splice(pipes[0], NULL, fd, NULL, held, 0);
    close(pipes[0]);
    close(pipes[1]);
    return sent;
}
static ssize_t recv_splice(int fd, char *d, size_t n) {
    int pipes[2];
    if (pipe(pipes))
        die("pipe");
    ssize_t moved = splice(fd, NULL, pipes[1], NULL, n > 4096 ? 4096 : n, 0);
    ssize_t got = moved > 0 ? read(pipes[0], d, moved) : moved;
    close(pipes[0]);
    close(pipes[1]);
    return got;
}
static ssize_t recv_trunc(int fd, char *d, size_t n) {
    ssize_t got = recv(fd, NULL, n, MSG_TRUNC);
    if (got > 0)
        memset(d, 'b', got); /* Nothing is copied: stand in for what the caller checks. */
    return got;
}

/* Linux AIO. */
static ssize_t aio(int fd, void *d, size_t n, int opcode) {
    static aio_context_t context;
    if (!context && syscall(SYS_io_setup, 4, &context))
        unsupported("io_setup");
    struct iocb block = {.aio_fildes = fd, .aio_lio_opcode = opcode, .aio_buf = (uintptr_t)d, .aio_nbytes = n};
    struct iocb *blocks[1] = {&block};
    if (syscall(SYS_io_submit, context, 1, blocks) != 1)
        return -1;
    struct io_event done;
    if (syscall(SYS_io_getevents, context, 1, 1, &done, NULL) != 1)
        return -1;
    return done.res;
}
static ssize_t send_aio(int fd, const char *d, size_t n) { return aio(fd, (void *)d, n, IOCB_CMD_PWRITE); }
static ssize_t recv_aio(int fd, char *d, size_t n) { return aio(fd, d, n, IOCB_CMD_PREAD); }

/* io_uring, without a library. */
struct ring {
    int fd;
    unsigned *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
};
static void ring_open(struct ring *r) {
    struct io_uring_params p;
    memset(&p, 0, sizeof p);
    r->fd = syscall(SYS_io_uring_setup, 8, &p);
    if (r->fd < 0)
        unsupported("io_uring_setup");
    size_t sq_bytes = p.sq_off.array + p.sq_entries * sizeof(unsigned);
    size_t cq_bytes = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
    char *sq = mmap(NULL, sq_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQ_RING);
    char *cq = mmap(NULL, cq_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_CQ_RING);
    r->sqes = mmap(NULL, p.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                   r->fd, IORING_OFF_SQES);
    if (sq == MAP_FAILED || cq == MAP_FAILED || r->sqes == MAP_FAILED)
        die("io_uring mmap");
    r->sq_tail = (unsigned *)(sq + p.sq_off.tail);
    r->sq_mask = (unsigned *)(sq + p.sq_off.ring_mask);
    r->sq_array = (unsigned *)(sq + p.sq_off.array);
    r->cq_head = (unsigned *)(cq + p.cq_off.head);
    r->cq_tail = (unsigned *)(cq + p.cq_off.tail);
    r->cq_mask = (unsigned *)(cq + p.cq_off.ring_mask);
    r->cqes = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
}
static void ring_submit(struct ring *r, int opcode, int fd, void *d, size_t n) {
    unsigned tail = *r->sq_tail, at = tail & *r->sq_mask;
    struct io_uring_sqe *s = &r->sqes[at];
    memset(s, 0, sizeof *s);
    s->opcode = opcode;
    s->fd = fd;
    s->addr = (uintptr_t)d;
    s->len = n;
    r->sq_array[at] = at;
    __atomic_store_n(r->sq_tail, tail + 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, r->fd, 1, 0, 0, NULL, 0) != 1)
        die("io_uring_enter");
}
static int ring_done(struct ring *r, ssize_t *result) {
    unsigned head = *r->cq_head;
    if (head == __atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE))
        return 0;
    *result = r->cqes[head & *r->cq_mask].res;
    __atomic_store_n(r->cq_head, head + 1, __ATOMIC_RELEASE);
    return 1;
}
static ssize_t uring(int opcode, int fd, void *d, size_t n) {
    static struct ring ring;
    ssize_t result;
    if (!ring.sqes)
        ring_open(&ring);
    ring_submit(&ring, opcode, fd, d, n);
    while (!ring_done(&ring, &result))
        if (syscall(SYS_io_uring_enter, ring.fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
            die("io_uring_enter");
    if (result < 0) {
        errno = -result;
        return -1;
    }
    return result;
}
static ssize_t send_uring(int fd, const char *d, size_t n) { return uring(IORING_OP_SEND, fd, (void *)d, n); }
static ssize_t recv_uring(int fd, char *d, size_t n) { return uring(IORING_OP_RECV, fd, d, n); }

/* While the receive is pending, files are written whose bytes look like HTTP. They must appear in no trace. */
static ssize_t recv_uring_foreign(int fd, char *d, size_t n) {
    static struct ring ring;
    static int file = -1;
    static const char foreign[] = "GET /FOREIGN HTTP/1.1\r\nHost: foreign\r\n\r\nHTTP/1.1 200 FOREIGN\r\nContent-Length: 0\r\n\r\n";
    ssize_t result;
    if (!ring.sqes) {
        ring_open(&ring);
        file = memfd_create("foreign", 0);
    }
    ring_submit(&ring, IORING_OP_RECV, fd, d, n);
    while (!ring_done(&ring, &result))
        if (pwrite(file, foreign, sizeof foreign - 1, 0) < 0 || lseek(file, 0, SEEK_SET) < 0 ||
            write(file, foreign, sizeof foreign - 1) < 0)
            die("write file");
    if (result < 0) {
        errno = -result;
        return -1;
    }
    return result;
}

/* 32-bit calls of a 64-bit process: int 0x80, with the buffer below 4 GiB. */
static ssize_t compat(int number, int fd, char *low, size_t n) {
#ifdef __x86_64__
    long result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(number), "b"((long)fd), "c"(low), "d"(n)
                     : "memory", "r8", "r9", "r10", "r11");
    result = (int)result;
    if (result < 0) {
        errno = -result;
        return -1;
    }
    return result;
#else
    errno = ENOSYS;
    return -1;
#endif
}
static char *low_buffer(void) {
    static char *low;
    if (!low) {
#ifdef MAP_32BIT
        low = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
#else
        low = MAP_FAILED;
#endif
        if (low == MAP_FAILED)
            unsupported("memory below 4 GiB");
    }
    return low;
}
static ssize_t send_compat(int fd, const char *d, size_t n) {
    char *low = low_buffer();
    memcpy(low, d, n);
    return compat(4, fd, low, n);
}
static ssize_t recv_compat(int fd, char *d, size_t n) {
    char *low = low_buffer();
    ssize_t got = compat(3, fd, low, n);
    if (got > 0)
        memcpy(d, low, got);
    return got;
}

/* ---- cases ---- */

struct form {
    const char *name;
    send_fn client_send;
    recv_fn client_recv;
    send_fn server_send;
    recv_fn server_recv;
    send_fn body_send; /* NULL: with the head */
    recv_fn body_recv; /* NULL: with the head */
};

static const struct form forms[] = {
    {"rw", send_write, recv_read, send_write, recv_read, NULL, NULL},
    {"rwv", send_writev, recv_readv, send_writev, recv_readv, NULL, NULL},
    {"rwv2", send_pwritev2, recv_preadv2, send_pwritev2, recv_preadv2, NULL, NULL},
    {"sendrecv", send_send, recv_recv, send_send, recv_recv, NULL, NULL},
    {"sendto", send_sendto, recv_recvfrom, send_sendto, recv_recvfrom, NULL, NULL},
    {"msg", send_sendmsg, recv_recvmsg, send_sendmsg, recv_recvmsg, NULL, NULL},
    {"mmsg1", send_sendmmsg1, recv_recvmmsg1, send_sendmmsg1, recv_recvmmsg1, NULL, NULL},
    {"mmsg", send_sendmmsg, recv_recvmmsg, send_sendmmsg, recv_recvmmsg, NULL, NULL},
    {"peek", send_write, recv_peek, send_write, recv_peek, NULL, NULL},
    {"partial", send_pieces, recv_pieces, send_pieces, recv_pieces, NULL, NULL},
    {"nonblock", send_nonblock, recv_nonblock, send_nonblock, recv_nonblock, NULL, NULL},
    {"dup", send_dup, recv_dup, send_dup, recv_dup, NULL, NULL},
    {"zerocopy", send_zerocopy, recv_read, send_zerocopy, recv_read, NULL, NULL},
    {"sendfile", send_write, recv_read, send_write, recv_read, send_sendfile, NULL},
    {"sendfile_head", send_write, recv_read, send_sendfile, recv_read, NULL, NULL},
    {"splice_in", send_write, recv_read, send_write, recv_read, send_splice, NULL},
    {"vmsplice", send_write, recv_read, send_write, recv_read, send_vmsplice, NULL},
    {"splice_out", send_write, recv_read, send_write, recv_read, NULL, recv_splice},
    {"trunc", send_write, recv_read, send_write, recv_read, NULL, recv_trunc},
    {"aio", send_write, recv_read, send_aio, recv_aio, NULL, NULL},
    {"uring", send_write, recv_read, send_uring, recv_uring, NULL, NULL},
    {"uring_foreign", send_write, recv_read, send_write, recv_uring_foreign, NULL, NULL},
    {"compat", send_write, recv_read, send_compat, recv_compat, NULL, NULL},
    /* The same calls as "rw"; what is special is how the connection comes about (see below). */
    {"fork", send_write, recv_read, send_write, recv_read, NULL, NULL},
    {"exec", send_write, recv_read, send_write, recv_read, NULL, NULL},
    {"scm", send_write, recv_read, send_write, recv_read, NULL, NULL},
    {"fastopen", send_write, recv_read, send_write, recv_read, NULL, NULL},
    {"mptcp", send_write, recv_read, send_write, recv_read, NULL, NULL},
    {"sctp", send_write, recv_read, send_write, recv_read, NULL, NULL},
    {"smc", send_write, recv_read, send_write, recv_read, NULL, NULL},
    {"vsock", send_write, recv_read, send_write, recv_read, NULL, NULL},
    {"ktls", send_write, recv_read, send_write, recv_read, NULL, NULL},
    {"seqpacket", send_write, recv_read, send_write, recv_read, NULL, NULL},
    {"oob", send_write, recv_read, send_write, recv_read, NULL, NULL},
    {"pageout", send_write, recv_read, send_write, recv_read, NULL, NULL},
};

static const struct form *find(const char *name) {
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (!strcmp(forms[i].name, name))
            return &forms[i];
    fprintf(stderr, "sock: no such case: %s\n", name);
    exit(2);
}

static int is(const struct form *f, const char *name) { return !strcmp(f->name, name); }

static void send_all(send_fn put, int fd, const char *d, size_t n) {
    for (size_t done = 0; done < n;) {
        ssize_t sent = put(fd, d + done, n - done);
        if (sent <= 0)
            die("send");
        done += sent;
    }
}

/* Reads up to the end of a head; returns how much was read, of which *head bytes are the head. */
static size_t recv_head(recv_fn take, int fd, char *d, size_t room, size_t *head) {
    size_t have = 0;
    for (;;) {
        ssize_t got = take(fd, d + have, room - have - 1);
        if (got == 0 && have == 0)
            return 0;
        if (got <= 0)
            die("receive");
        have += got;
        d[have] = 0;
        char *end = strstr(d, "\r\n\r\n");
        if (end) {
            *head = end + 4 - d;
            return have;
        }
    }
}

/* Reads a byte at a time, so that nothing of the body is taken. */
static ssize_t recv_byte(int fd, char *d, size_t n) { return n ? read(fd, d, 1) : 0; }

static void serve(const struct form *f, int fd) {
    static char in[65536], out[65536];
    size_t head;
    for (;;) {
        size_t have = recv_head(f->server_recv, fd, in, sizeof in, &head);
        if (!have)
            return;
        unsigned long left = 0;
        char *length = strcasestr(in, "content-length: ");
        if (length && length < in + head)
            left = strtoul(length + 16, NULL, 10) - (have - head);
        while (left) {
            ssize_t got = read(fd, in, left < sizeof in ? left : sizeof in);
            if (got <= 0)
                die("receive body");
            left -= got;
        }
        int n = snprintf(out, 200, "HTTP/1.1 200 OK\r\nServer: sock\r\nContent-Length: %d\r\n\r\n", BODY);
        memset(out + n, 'b', BODY);
        if (f->body_send) {
            send_all(f->server_send, fd, out, n);
            send_all(f->body_send, fd, out + n, BODY);
        } else {
            send_all(f->server_send, fd, out, n + BODY);
        }
    }
}

static void expect_answer(const struct form *f, int fd) {
    static char in[65536];
    size_t head;
    size_t have = recv_head(f->body_recv ? recv_byte : f->client_recv, fd, in, sizeof in, &head);
    if (strncmp(in, "HTTP/1.1 200 OK\r\n", 17)) {
        fprintf(stderr, "sock: wrong answer\n");
        exit(1);
    }
    recv_fn take = f->body_recv ? f->body_recv : f->client_recv;
    while (have < head + BODY) {
        ssize_t got = take(fd, in + have, head + BODY - have);
        if (got <= 0)
            die("receive answer");
        have += got;
    }
    if (have != head + BODY || in[head] != 'b' || in[have - 1] != 'b') {
        fprintf(stderr, "sock: wrong body\n");
        exit(1);
    }
}

/* A send that sleeps half way while another thread takes the pages of its beginning out of the address space. */
struct paged {
    char *memory;
    size_t bytes;
    int fd, tid;
};
static void *unmap_when_blocked(void *argument) {
    struct paged *p = argument;
    char path[100], line[300];
    int last = -1, same = 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", p->tid);
    /* The send sleeps for good once the thread is seen sleeping with an unchanged, non-empty queue many times. */
    while (same < 50) {
        int queued = 0;
        FILE *stat = fopen(path, "r");
        char *text = stat ? fgets(line, sizeof line, stat) : NULL;
        char *state = text ? strrchr(text, ')') : NULL;
        if (stat)
            fclose(stat);
        ioctl(p->fd, FIONREAD, &queued);
        same = state && state[2] == 'S' && queued > 0 && queued == last ? same + 1 : 0;
        last = queued;
        usleep(1000);
    }
    madvise(p->memory, p->bytes, MADV_DONTNEED); /* Of a shared file mapping: only the page table forgets. */
    return NULL;
}
/* Then the reading end is let go by closing its pipe. */
struct release {
    struct paged paged;
    int begin;
};
static void *release_when_unmapped(void *argument) {
    struct release *r = argument;
    unmap_when_blocked(&r->paged);
    close(r->begin);
    return NULL;
}

static void ask(const struct form *f, int fd) {
    char out[300];
    for (int id = 1; id <= EXCHANGES; id++) {
        int n = snprintf(out, sizeof out, "GET /%s-%s?id=%d HTTP/1.1\r\nHost: sock.test\r\nUser-Agent: sock\r\n\r\n", f->name, family, id);
        if (is(f, "oob") && id > 1 && send(fd, "!", 1, MSG_OOB) != 1)
            die("MSG_OOB");
        send_all(f->client_send, fd, out, n);
        expect_answer(f, fd);
    }
}

/* ---- how the connection comes about ---- */

static int kind(const struct form *f) { return is(f, "seqpacket") ? SOCK_SEQPACKET : SOCK_STREAM; }

static struct sockaddr_storage address;
static socklen_t address_len;

static int new_socket(const struct form *f) {
    int domain = !strcmp(family, "unix") ? AF_UNIX : !strcmp(family, "tcp6") ? AF_INET6 : AF_INET;
    if (is(f, "smc") || is(f, "vsock"))
        domain = is(f, "smc") ? AF_SMC : AF_VSOCK;
    int fd = socket(domain, kind(f), is(f, "mptcp") ? IPPROTO_MPTCP : is(f, "sctp") ? IPPROTO_SCTP : 0);
    if (fd < 0)
        unsupported("socket");
    return fd;
}

static int listen_on(const struct form *f) {
    int fd = new_socket(f);
    memset(&address, 0, sizeof address);
    if (!strcmp(family, "unix")) {
        struct sockaddr_un *a = (void *)&address;
        a->sun_family = AF_UNIX;
        address_len = offsetof(struct sockaddr_un, sun_path) + 1 +
                      snprintf(a->sun_path + 1, sizeof a->sun_path - 1, "clew-sock-%d", getpid());
    } else if (is(f, "vsock")) {
        struct sockaddr_vm *a = (void *)&address;
        a->svm_family = AF_VSOCK;
        a->svm_cid = VMADDR_CID_LOCAL;
        a->svm_port = VMADDR_PORT_ANY;
        address_len = sizeof *a;
    } else if (!strcmp(family, "tcp6")) {
        struct sockaddr_in6 *a = (void *)&address;
        a->sin6_family = AF_INET6;
        a->sin6_addr = in6addr_loopback;
        address_len = sizeof *a;
    } else {
        struct sockaddr_in *a = (void *)&address;
        a->sin_family = AF_INET;
        a->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address_len = sizeof *a;
    }
    int queue = 5;
    if (bind(fd, (void *)&address, address_len))
        unsupported("bind");
    if (is(f, "fastopen") && setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN, &queue, sizeof queue))
        unsupported("TCP_FASTOPEN");
    if (listen(fd, 5))
        die("listen");
    socklen_t len = sizeof address;
    if (strcmp(family, "unix") && getsockname(fd, (void *)&address, &len))
        die("getsockname");
    return fd;
}

/* From here on the kernel encrypts, with keys that both ends know. */
static void encrypt(const struct form *f, int fd) {
    if (!is(f, "ktls"))
        return;
    struct tls12_crypto_info_aes_gcm_128 keys = {
        .info = {.version = TLS_1_2_VERSION, .cipher_type = TLS_CIPHER_AES_GCM_128},
        .key = "no secret, a key",
    };
    if (setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", 3))
        unsupported("TCP_ULP");
    if (setsockopt(fd, SOL_TLS, TLS_TX, &keys, sizeof keys) || setsockopt(fd, SOL_TLS, TLS_RX, &keys, sizeof keys))
        unsupported("SOL_TLS");
}

static int connect_to(const struct form *f) {
    int fd = new_socket(f);
    if (connect(fd, (void *)&address, address_len))
        die("connect");
    encrypt(f, fd);
    return fd;
}

static int finish(pid_t server) {
    int status;
    if (waitpid(server, &status, 0) != server)
        die("waitpid");
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    fprintf(stderr, "sock: server died of signal %d\n", WTERMSIG(status));
    return 1;
}

static pid_t server_process(const struct form *f, int listener) {
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            die("accept");
        close(listener);
        encrypt(f, fd);
        serve(f, fd);
        exit(0);
    }
    return pid;
}

static int ordinary(const struct form *f) {
    int listener = listen_on(f);
    pid_t server = server_process(f, listener);
    close(listener);
    int fd = connect_to(f);
    ask(f, fd);
    close(fd);
    return finish(server);
}

/* The parent accepts; the child, or the program the child executes, serves. */
static int inherited(const struct form *f, char *self) {
    int listener = listen_on(f);
    int client = connect_to(f);
    int fd = accept(listener, NULL, NULL);
    pid_t server = fork();
    if (server == 0) {
        close(client);
        close(listener);
        if (is(f, "fork")) {
            serve(f, fd);
            exit(0);
        }
        char number[20];
        snprintf(number, sizeof number, "%d", fd);
        execl(self, self, "--serve", number, f->name, NULL);
        die("exec");
    }
    close(fd);
    close(listener);
    ask(f, client);
    close(client);
    return finish(server);
}

/* The accepting process hands the connection to a process that never called accept. */
static int handed_over(const struct form *f) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair))
        die("socketpair");
    pid_t server = fork();
    char control[CMSG_SPACE(sizeof(int))], byte = 0;
    struct iovec v = {&byte, 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    if (server == 0) {
        int fd;
        close(pair[0]);
        if (recvmsg(pair[1], &m, 0) < 0 || !CMSG_FIRSTHDR(&m))
            die("SCM_RIGHTS");
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
        close(pair[1]);
        serve(f, fd);
        exit(0);
    }
    int listener = listen_on(f);
    int client = connect_to(f);
    int fd = accept(listener, NULL, NULL);
    memset(control, 0, sizeof control);
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    if (sendmsg(pair[0], &m, 0) < 0)
        die("SCM_RIGHTS");
    close(fd);
    close(pair[0]);
    close(pair[1]);
    close(listener);
    ask(f, client);
    close(client);
    return finish(server);
}

/* A network namespace of its own, where Fast Open without cookies may be switched on. */
static int fast_open(const struct form *f) {
    if (unshare(CLONE_NEWNET))
        unsupported("network namespace");
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int control = socket(AF_INET, SOCK_DGRAM, 0);
    if (ioctl(control, SIOCSIFFLAGS, &lo))
        unsupported("lo up");
    close(control);
    int sysctl = open("/proc/sys/net/ipv4/tcp_fastopen", O_WRONLY);
    if (sysctl < 0 || write(sysctl, "1543", 4) != 4)
        unsupported("tcp_fastopen");
    close(sysctl);
    int listener = listen_on(f);
    pid_t server = server_process(f, listener);
    close(listener);
    char out[300];
    for (int id = 1; id <= EXCHANGES; id++) {
        int fd = new_socket(f);
        int n = snprintf(out, sizeof out, "GET /%s-%s?id=%d HTTP/1.1\r\nHost: sock.test\r\nUser-Agent: sock\r\n\r\n", f->name, family, id);
        if (id == 1) {
            if (sendto(fd, out, n, MSG_FASTOPEN, (void *)&address, address_len) != n)
                unsupported("MSG_FASTOPEN");
            struct tcp_info info;
            socklen_t len = sizeof info;
            expect_answer(f, fd);
            if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) || !(info.tcpi_options & 32 /* TCPI_OPT_SYN_DATA */)) {
                errno = EOPNOTSUPP;
                unsupported("data in SYN");
            }
            /* The rest goes over the same connection. */
            for (id = 2; id <= EXCHANGES; id++) {
                n = snprintf(out, sizeof out, "GET /%s-%s?id=%d HTTP/1.1\r\nHost: sock.test\r\nUser-Agent: sock\r\n\r\n", f->name, family, id);
                send_all(send_write, fd, out, n);
                expect_answer(f, fd);
            }
        }
        close(fd);
    }
    return finish(server);
}

/* Large requests whose first page is gone when the probe wants to read it. */
static int paged_out(const struct form *f) {
    int listener = listen_on(f);
    int client = connect_to(f);
    int fd = accept(listener, NULL, NULL);
    int begin[2], size = 1 << 16;
    if (pipe(begin))
        die("pipe");
    setsockopt(client, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    pid_t server = fork();
    if (server == 0) {
        close(client);
        close(listener);
        close(begin[1]);
        char go;
        if (read(begin[0], &go, 1) < 0) /* Ends when the pages are gone: see below. */
            die("pipe");
        serve(f, fd);
        exit(0);
    }
    close(listener);
    close(begin[0]);
    char out[300];
    size_t total = 16 << 20;
    int n = snprintf(out, sizeof out, "POST /%s-%s?id=1 HTTP/1.1\r\nHost: sock.test\r\nContent-Length: ", f->name, family);
    int digits = snprintf(NULL, 0, "%zu", total);
    snprintf(out + n, sizeof out - n, "%zu\r\n\r\n", total - n - digits - 4);
    /* `fd` stays open here so that the watching thread can see the receive queue. */
    int file = memfd_create("paged", 0);
    if (file < 0 || ftruncate(file, total))
        die("memfd");
    char *memory = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED)
        die("mmap");
    memset(memory, 'p', total);
    memcpy(memory, out, strlen(out));
    struct release job = {{memory, total, fd, (int)syscall(SYS_gettid)}, begin[1]};
    pthread_t thread;
    if (pthread_create(&thread, NULL, release_when_unmapped, &job))
        die("thread");
    send_all(send_write, client, memory, total);
    pthread_join(thread, NULL);
    expect_answer(f, client);
    close(fd);
    close(client);
    return finish(server);
}
int main(int argc, char **argv) {
    if (argc == 4 && !strcmp(argv[1], "--serve")) {
        serve(find(argv[3]), atoi(argv[2]));
        return 0;
    }
    if (argc != 3) {
        fprintf(stderr, "usage: sock CASE tcp4|tcp6|unix|vm\n");
        return 2;
    }
    const struct form *f = find(argv[1]);
    family = argv[2];
    if (is(f, "fork") || is(f, "exec"))
        return inherited(f, "/proc/self/exe");
    if (is(f, "scm"))
        return handed_over(f);
    if (is(f, "fastopen"))
        return fast_open(f);
    if (is(f, "pageout"))
        return paged_out(f);
    return ordinary(f);
}
