"""A protocol of its own between two processes: frames_app.py front PORT NEXT, or frames_app.py back PORT LEAF.

GET /front?id=N of the front asks the back over a connection that it keeps. A frame is a zero byte, a length of two bytes and so
many bytes. The back asks the leaf with the number before it answers twice as much.
"""
import socket
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

ROLE, PORT, NEXT = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def read(connection, length):
    got = b""
    while len(got) < length:
        more = connection.recv(length - len(got))
        if not more:
            return None
        got += more
    return got


def frame(connection):
    head = read(connection, 3)
    return head and read(connection, struct.unpack("!xH", head)[0])


def send(connection, content):
    connection.sendall(struct.pack("!xH", len(content)) + content)


class Front(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    connection_to_back = None

    def do_GET(self):
        number = parse_qs(urlsplit(self.path).query).get("id", ["0"])[0]
        if self.connection_to_back is None:
            self.connection_to_back = socket.create_connection(("127.0.0.1", NEXT))
        send(self.connection_to_back, number.encode().rjust(29, b"\xf0"))
        answer = frame(self.connection_to_back)
        self.send_response(200 if answer.endswith(number.encode()) else 500)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


def serve(connection):
    while content := frame(connection):
        number = content.lstrip(b"\xf0").decode()
        urlopen(f"http://127.0.0.1:{NEXT}/leaf?id={number}").read()
        send(connection, content * 2)


if ROLE == "front":
    Server(("127.0.0.1", PORT), Front).serve_forever()
listener = socket.create_server(("127.0.0.1", PORT), backlog=128)
while True:
    accepted, _ = listener.accept()
    threading.Thread(target=serve, args=[accepted], daemon=True).start()
