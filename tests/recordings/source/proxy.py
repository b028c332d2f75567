"""A client, nginx with a pool of upstream connections, and two threaded services behind it."""
import http.client
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

THREADS = 4
REQUESTS = 3


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    below = None

    def do_GET(self):
        time.sleep(random.random() / 200)
        if self.below:
            call = http.client.HTTPConnection("127.0.0.1", self.below)
            call.request("GET", "/stock?" + self.path.partition("?")[2])
            call.getresponse().read()
            call.close()
        body = b"ok"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve(below):
    handler = type("Handler", (Service,), {"below": below})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def service():
    """Runs as a process of its own: prints its port and serves until its standard input ends."""
    print(serve(int(sys.argv[2]) or None), flush=True)
    sys.stdin.read()


def start(below):
    child = subprocess.Popen(
        [sys.executable, __file__, "service", str(below)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    return child, int(child.stdout.readline())


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main():
    stock, stock_port = start(0)
    shop, shop_port = start(stock_port)
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        paths = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
        config = os.path.join(folder, "nginx.conf")
        with open(config, "w") as out:
            out.write(
                f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;"
                f"events {{}} http {{ access_log off; {paths}"
                f"upstream shop {{ server 127.0.0.1:{shop_port}; keepalive 4; }}"
                f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://shop;"
                'proxy_http_version 1.1; proxy_set_header Connection ""; } } }'
            )
        nginx = subprocess.Popen(["nginx", "-e", f"{folder}/error.log", "-c", config])
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

        def client(thread):
            for number in range(REQUESTS):
                call = http.client.HTTPConnection("127.0.0.1", port)
                call.request("GET", f"/shop?id={thread * REQUESTS + number}")
                call.getresponse().read()
                call.close()

        threads = [threading.Thread(target=client, args=(n,)) for n in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        nginx.terminate()
        nginx.wait()
        for child in (shop, stock):
            child.stdin.close()
            child.wait()


if len(sys.argv) > 1 and sys.argv[1] == "service":
    service()
else:
    main()
