"""pieces.py AUTHORITY PORT: asks three times over TLS whose bytes it moves itself. What it sends before the first answer goes in pieces
of 100 bytes, each a packet of its own."""
import socket
import ssl
import sys
import time

PIECE = 100
context = ssl.create_default_context(cafile=sys.argv[1])
incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
session = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
connection = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def moved(call, piece=65536):
    """What a call of the library gives, when what it needs has come."""
    while True:
        try:
            result, done = call(), True
        except ssl.SSLWantReadError:
            result, done = None, False
        data = outgoing.read()
        for start in range(0, len(data), piece):
            connection.sendall(data[start : start + piece])
            if len(data) > piece:
                time.sleep(0.005)
        if done:
            return result
        incoming.write(connection.recv(65536))


moved(session.do_handshake, PIECE)
for number in range(1, 4):
    moved(lambda: session.write(f"GET /hello?id={number} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()))
    answer = b""
    while not answer.endswith(b"yes\n"):
        answer += moved(lambda: session.read(65536))
connection.close()
