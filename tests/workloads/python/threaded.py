"""A thread a connection (http.server): threaded.py PORT. Asks NEXT (PORT/path; SCHEME: https for TLS), if set, with the same number.

CLIENT chooses how: "requests" (the default, a pool of kept connections), "httpx" (the same) or "plain" (http.client, one connection a
call).
"""
import http.client
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

NEXT = os.environ.get("NEXT")
SCHEME = os.environ.get("SCHEME", "http")
PLAIN = os.environ.get("CLIENT") == "plain"
DELAY = os.environ.get("DELAY") == "1"
if NEXT and os.environ.get("CLIENT") == "httpx":
    import httpx

    session = httpx.Client(trust_env=True)
elif NEXT and not PLAIN:
    import requests

    session = requests.Session()
    session.mount(f"{SCHEME}://", requests.adapters.HTTPAdapter(pool_maxsize=64))


def ask_next(number):
    port, path = NEXT.split("/", 1)
    if PLAIN:
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=30)
        connection.request("GET", f"/{path}?id={number}")
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status
    return session.get(f"{SCHEME}://127.0.0.1:{port}/{path}?id={number}", timeout=30).status_code


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        number = parse_qs(urlsplit(self.path).query).get("id", ["0"])[0]
        status = ask_next(number) if NEXT else 200
        if DELAY:  # Makes answers overtake each other.
            time.sleep(int(number) * 7 % 5 / 1000)
        body = f"threaded {number}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", "1234")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
