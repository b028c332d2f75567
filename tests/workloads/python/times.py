"""Requests whose server spends known times, at least, in known ways: times.py.

A server process answers its client, one request after the other: it burns CPU time, also beside another that burns the same CPU, sleeps,
waits for a lock, for another server's answer and for a disk. The answer says how long that took, how much CPU time, and how much time of
CPUs interrupts and other machines took meanwhile, in nanoseconds. A request for the disk is answered with 204 where none was read.
"""
import os
import resource
import socket
import threading
import time

SPENT_S = 0.2
KINDS = ("burn", "contend", "sleep", "lock", "network", "disk")
FILE_BYTES = 32 << 20


def taken_ns():
    # user nice system idle iowait irq softirq steal
    with open("/proc/stat") as stat:
        ticks = stat.readline().split()[6:9]
    return sum(map(int, ticks)) * (10**9 // os.sysconf("SC_CLK_TCK"))


def burn():
    end = time.thread_time() + SPENT_S
    while time.thread_time() < end:
        pass


def contend():
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    other = os.fork()
    if other == 0:
        while True:
            pass
    burn()
    os.kill(other, 9)
    os.waitpid(other, 0)
    os.sched_setaffinity(0, cpus)


def lock():
    held, begun = threading.Lock(), threading.Event()

    def hold():
        with held:
            begun.set()
            time.sleep(2 * SPENT_S)

    threading.Thread(target=hold).start()
    begun.wait()
    with held:
        pass


def network(slow):
    with socket.create_connection(slow) as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\nHost: slow.test\r\n\r\n")
        connection.recv(4096)


def disk():
    name = f"times.{os.getpid()}"
    descriptor = os.open(name, os.O_RDWR | os.O_CREAT)
    os.unlink(name)
    os.write(descriptor, bytes(FILE_BYTES))
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_inblock
    for offset in range(0, FILE_BYTES, 1 << 20):
        os.pread(descriptor, 1 << 20, offset)
    os.close(descriptor)
    return resource.getrusage(resource.RUSAGE_THREAD).ru_inblock > before


def answer(connection, spend):
    while head := connection.recv(4096):
        kind = head.split(b" ")[1].split(b"?")[0].decode().strip("/")
        taken = taken_ns()
        wall_ns, cpu_ns = time.monotonic_ns(), time.thread_time_ns()
        done = spend(kind)
        wall_ns, cpu_ns = time.monotonic_ns() - wall_ns, time.thread_time_ns() - cpu_ns
        body = b"%d ns and %d ns and %d ns" % (wall_ns, cpu_ns, taken_ns() - taken)
        if done is False:
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        else:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def child(listener, spend):
    process = os.fork()
    if process == 0:
        while True:
            connection, _ = listener.accept()
            answer(connection, spend)
    return process


slow = socket.create_server(("127.0.0.1", 0))
listener = socket.create_server(("127.0.0.1", 0))
ways = {
    "burn": burn,
    "contend": contend,
    "sleep": lambda: time.sleep(SPENT_S),
    "lock": lock,
    "network": lambda: network(slow.getsockname()),
    "disk": disk,
}
children = [child(slow, lambda kind: time.sleep(SPENT_S)), child(listener, lambda kind: ways[kind]())]
with socket.create_connection(listener.getsockname()) as connection:
    for number, kind in enumerate(KINDS):
        connection.sendall(b"GET /%s?id=%d HTTP/1.1\r\nHost: times.test\r\n\r\n" % (kind.encode(), number))
        connection.recv(4096)
for process in children:
    os.kill(process, 15)
    os.waitpid(process, 0)
