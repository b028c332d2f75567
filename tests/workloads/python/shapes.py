"""Shapes of HTTP/1.1 exchanges, byte for byte: shapes.py SHAPE.

A server process answers a client process over one or more connections of 127.0.0.1. What each sends is written down
below: a list of steps, done in order by the side that each names.

    ("c", bytes)   the client sends             ("s", bytes)   the server sends
    ("c<", bytes)  the client reads until what it has read ends with these bytes; "s<" likewise for the server
    ("c!",)        the client closes            ("s!",)        the server closes
    ("cR",)        the client resets            ("sR",)        the server resets
    ("hang",)      both sides keep the connection open until they are killed
"""
import os
import signal
import socket
import struct
import sys

END = b"\r\n\r\n"


def get(shape, number, extra=b"", method=b"GET"):
    return method + b" /" + shape + b"?id=" + str(number).encode() + b" HTTP/1.1\r\nHost: shapes.test\r\n" + extra + b"\r\n"


def exchange(request, response, end=None):
    return [("c", request), ("s<", request[-20:]), ("s", response), ("c<", (end or response)[-20:])]


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SHAPES = {
    "chunked": exchange(
        get(b"chunked", 1, b"Transfer-Encoding: chunked\r\n", b"POST")
        + b"5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: x" + END,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0" + END,
    )
    + exchange(get(b"chunked", 2), OK),
    "head": exchange(get(b"head", 1, b"", b"HEAD"), b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")
    + exchange(get(b"head", 2), OK),
    "notmodified": exchange(get(b"notmodified", 1), b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n")
    + exchange(get(b"notmodified", 2), b"HTTP/1.1 204 No Content\r\n\r\n")
    + exchange(get(b"notmodified", 3), OK),
    "expect": [
        ("c", get(b"expect", 1, b"Expect: 100-continue\r\nContent-Length: 4\r\n", b"POST")),
        ("s<", END),
        ("s", b"HTTP/1.1 100 Continue\r\n\r\n"),
        ("c<", END),
        ("c", b"body"),
        ("s<", b"body"),
        ("s", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
        ("s", b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok"),
        ("c<", b"\r\n\r\nok"),
    ]
    + exchange(get(b"expect", 2), OK),
    "pipelining": [
        ("c", get(b"pipelining", 1) + get(b"pipelining", 2) + get(b"pipelining", 3)),
        ("s<", b"id=3 HTTP/1.1\r\nHost: shapes.test" + END),
        ("s", OK + b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno" + OK),
        ("c<", b"no" + OK),
    ],
    "secrets": exchange(
        get(b"secrets", 1, b"Content-Type: application/json\r\nContent-Length: 37\r\n", b"POST")
        + b'{"user":"u","card":"qzxw-vkjy","n":1}',
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 19\r\n\r\n"
        b"ok=1&card=qzxw-vkjy",
    ),
    "untilclose": [
        ("c", get(b"untilclose", 1)),
        ("s<", END),
        ("s", b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 1000),
        ("s!",),
        ("c<", None),
        ("c!",),
    ],
    "clientaborts": [
        ("c", get(b"clientaborts", 1)),
        ("s<", END),
        ("s", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf"),
        ("c<", b"half"),
        ("cR",),
        ("s<", None),
        ("s!",),
    ],
    "serveraborts": [
        ("c", get(b"serveraborts", 1)),
        ("s<", END),
        ("s", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf"),
        ("c<", b"half"),
        ("s!",),
        ("c<", None),
        ("c!",),
    ],
    "noanswer": [("c", get(b"noanswer", 1)), ("s<", END), ("s!",), ("c<", None), ("c!",)],
    "inflight": exchange(get(b"inflight", 1), OK) + [("c", get(b"inflight", 2)), ("s<", END), ("hang",)],
    "upgrade": [
        ("c", get(b"upgrade", 1, b"Connection: Upgrade\r\nUpgrade: own\r\n")),
        ("s<", END),
        ("s", b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: own\r\n\r\n"),
        ("c<", END),
        ("c", b"\x00\x01not http\xff"),
        ("s<", b"\xff"),
        ("s", b"\x00\x02nor this\xff"),
        ("c<", b"\xff"),
    ],
    "connect": [
        ("c", b"CONNECT inner.test:80 HTTP/1.1\r\nHost: inner.test:80\r\n\r\n"),
        ("s<", END),
        ("s", b"HTTP/1.1 200 Connection established\r\n\r\n"),
        ("c<", END),
    ]
    + exchange(get(b"connect", 1), OK),
    "absolute": exchange(
        b"GET http://user:secret@proxied.test:8080/absolute?id=1 HTTP/1.1\r\nHost: proxied.test:8080\r\n\r\n", OK
    ),
    "early": [
        ("c", get(b"early", 1, b"Content-Length: 10\r\n", b"POST") + b"12345"),
        ("s<", b"12345"),
        ("s", b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno"),
        ("c<", b"\r\n\r\nno"),
        ("c", b"67890"),
        ("s<", b"67890"),
    ]
    + exchange(get(b"early", 2), OK),
    "longhead": exchange(get(b"longhead", 1, b"X-Long: " + b"y" * 20000 + b"\r\nX-Folded: a\r\n b\r\n"), OK)
    + exchange(get(b"longhead", 2), OK),
    "garbage": [
        ("c", bytes(range(256)) * 40),
        ("s<", bytes(range(236, 256))),
        ("s", b"GET HTTP/1.1 \r\n\r\n\r\nHTTP/9.9 banana\r\n\r\n" + b"\xff" * 3000),
        ("c<", b"\xff" * 3000),
        ("c", b"GET /garbage?id=0 HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\nnonsense\x00\r\n\r\n"),
        ("s<", END),
        ("s", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzzz\r\n"),
        ("c<", b"zzzz\r\n"),
    ],
}


def read_until(connection, end):
    have = b""
    while end is None or not have.endswith(end):
        try:
            part = connection.recv(65536)
        except ConnectionResetError:
            part = b""
        if not part:
            assert end is None, f"closed before {end!r}: {have!r}"
            return
        have += part


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def play(steps, me, connection, my_turn, other_turn):
    """Does this side's steps. A byte through the pipe hands the turn over, so that the order is the list's."""
    for step in steps:
        what = step[0]
        if what == "hang":
            if me == "c":
                print("hanging", flush=True)
                signal.pause()
            os.read(my_turn, 1)  # Ends with the client.
            return
        if what[0] != me:
            os.write(other_turn, b".")
            os.read(my_turn, 1)
            continue
        os.read(my_turn, 1)
        kind = what[1:]
        if kind == "":
            connection.sendall(step[1])
        elif kind == "<":
            read_until(connection, step[1])
        elif kind == "!":
            connection.close()
        elif kind == "R":
            reset(connection)
        os.write(other_turn, b".")


def main():
    steps = SHAPES[sys.argv[1]]
    listener = socket.create_server(("127.0.0.1", 0))
    to_server, to_client = os.pipe(), os.pipe()
    server = os.fork()
    if server == 0:
        connection, _ = listener.accept()
        listener.close()
        os.close(to_server[1])
        os.close(to_client[0])
        play(steps, "s", connection, to_server[0], to_client[1])
        connection.close()
        os._exit(0)
    connection = socket.create_connection(listener.getsockname())
    listener.close()
    os.close(to_server[0])
    os.close(to_client[1])
    play(steps, "c", connection, to_client[0], to_server[1])
    connection.close()
    _, status = os.waitpid(server, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


main()
