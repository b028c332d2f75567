"""A thread a connection, and names that glibc looks up: names_app.py PORT.

GET /front?id=N asks /back?id=N of a server by name.
"""
import http.client
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PORT = int(sys.argv[1])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        parts = urlsplit(self.path)
        number = int(parse_qs(parts.query).get("id", ["0"])[0])
        if parts.path == "/front":
            # Every third is answered over TCP only, and of every third there is none.
            name = ("real.test", "long.test", "none.test")[number % 3]
            client = http.client.HTTPConnection(name, PORT)
            try:
                client.request("GET", f"/back?id={number}")
                assert client.getresponse().read() == b""
                client.close()
            except socket.gaierror:
                assert name == "none.test"
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


Server(("127.0.0.1", PORT), Handler).serve_forever()
