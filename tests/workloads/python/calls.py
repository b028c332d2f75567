"""Asks itself from known lines, in many threads, until there is a file: calls.py FILE."""
import http.client
import os
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORKERS = 64


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True


def buy(number):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/buy?id={number}") as answer:  # call: buy
        answer.read()


def stock(connection, number):
    connection.request("GET", f"/stock?id={number}")  # call: stock
    connection.getresponse().read()


def shop(worker, file):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    number = worker
    while not os.path.exists(file):
        buy(number)
        stock(connection, number)
        number += WORKERS
        time.sleep(0.3)


server = Server(("127.0.0.1", 0), Handler)
port = server.server_address[1]
threading.Thread(target=server.serve_forever, daemon=True).start()
workers = [threading.Thread(target=shop, args=(worker, sys.argv[1])) for worker in range(WORKERS)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
