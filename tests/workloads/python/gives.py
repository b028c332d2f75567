"""gives.py LIBRARY PORT: asks twice by each function of this OpenSSL that gives plaintext, and takes the answers by each that takes it."""
import ctypes
import itertools
import socket
import sys
import time

library, port = ctypes.CDLL(sys.argv[1]), int(sys.argv[2])
POINTER, INT, SIZE = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t


def function(name, result, *arguments):
    found = getattr(library, name)
    found.restype, found.argtypes = result, arguments
    return found


new = function("SSL_new", POINTER, POINTER)
# Whoever watches the library changes its code.
address = ctypes.cast(new, POINTER).value
code = ctypes.string_at(address, 64)
deadline = time.monotonic() + 10
while ctypes.string_at(address, 64) == code and time.monotonic() < deadline:
    time.sleep(0.01)

method = function("TLS_client_method", POINTER)()
context = function("SSL_CTX_new", POINTER, POINTER)(method)
session = new(context)
connection = socket.create_connection(("127.0.0.1", port))
assert function("SSL_set_fd", INT, POINTER, INT)(session, connection.fileno()) == 1
assert function("SSL_connect", INT, POINTER)(session) == 1

moved = SIZE()
told = ctypes.byref(moved)
TOLD = ctypes.POINTER(SIZE)
write = function("SSL_write", INT, POINTER, ctypes.c_char_p, INT)
write_ex = function("SSL_write_ex", INT, POINTER, ctypes.c_char_p, SIZE, TOLD)
write_ex2 = function("SSL_write_ex2", INT, POINTER, ctypes.c_char_p, SIZE, ctypes.c_uint64, TOLD)
read = function("SSL_read", INT, POINTER, ctypes.c_char_p, INT)
read_ex = function("SSL_read_ex", INT, POINTER, ctypes.c_char_p, SIZE, TOLD)
room = ctypes.create_string_buffer(65536)

gives = [
    lambda text: write(session, text, len(text)),
    lambda text: write_ex(session, text, len(text), told) and moved.value,
    lambda text: write_ex2(session, text, len(text), 0, told) and moved.value,
]
takes = [
    lambda: read(session, room, len(room)),
    lambda: read_ex(session, room, len(room), told) and moved.value,
]
for number, (give, take) in enumerate(itertools.product(gives * 2, takes), 1):
    text = f"POST /hello?id={number} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: 5\r\n\r\nhello".encode()
    assert give(text) == len(text)
    answer = b""
    while not answer.endswith(b"yes\n"):
        size = take()
        assert size > 0, answer
        answer += room.raw[:size]
function("SSL_shutdown", INT, POINTER)(session)
function("SSL_free", None, POINTER)(session)
