"""Two requests over one connection whose phases take known times, at least: phases.py.

A server process lets its client wait to be accepted, then to be read, then for the rest of the answer. It throws away what arrives of
the second request for a while, so that the client's kernel has to send it again. Each side sleeps the times the test knows.
"""
import ctypes
import os
import socket
import struct
import time

ACCEPT_S = 0.2
READ_S = 0.15
REST_S = 0.1
LOSS_S = 0.5

SO_ATTACH_FILTER = 26
SO_DETACH_FILTER = 27
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"


def deaf(connection):
    """Lets the kernel drop every segment that arrives: a filter of one instruction that returns 0."""
    program = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    pointer = struct.pack("HxxxxxxQ", 1, ctypes.addressof(program))
    connection.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, pointer)


def read_head(connection):
    while not connection.recv(4096).endswith(b"\r\n\r\n"):
        pass


def serve(listener, ready, begun):
    os.read(ready, 1)
    time.sleep(ACCEPT_S)
    connection, _ = listener.accept()
    time.sleep(READ_S)
    read_head(connection)
    connection.sendall(HEAD + b"ab")
    # A busy machine may let the client wait before it reads that.
    os.read(begun, 1)
    time.sleep(REST_S)
    deaf(connection)
    connection.sendall(b"cd")
    time.sleep(LOSS_S)
    connection.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
    read_head(connection)
    connection.sendall(HEAD + b"abcd")
    # The client closes first.
    connection.recv(1)


def ask(connection, number, began):
    connection.sendall(b"GET /phases?id=%d HTTP/1.1\r\nHost: phases.test\r\n\r\n" % number)
    seen = b""
    while len(seen) < len(HEAD) + 4:
        seen += connection.recv(4096)
        os.write(began, b"x")


listener = socket.create_server(("127.0.0.1", 0))
ready, connected = os.pipe()
begun, began = os.pipe()
child = os.fork()
if child == 0:
    serve(listener, ready, begun)
    os._exit(0)
connection = socket.create_connection(listener.getsockname())
os.write(connected, b"x")
ask(connection, 1, began)
ask(connection, 2, began)
connection.close()
_, status = os.waitpid(child, 0)
raise SystemExit(os.waitstatus_to_exitcode(status))
