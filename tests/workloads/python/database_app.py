"""A thread a connection, and a pool of connections to PostgreSQL that threads share: database_app.py PORT DSN.

GET /front?id=N makes a transaction of three statements that carry N. GET /fail?id=N makes one that fails.
"""
import queue
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import psycopg

POOL = 8
pool = queue.Queue()


def front(connection, number):
    name = f"item {number}"
    with connection.transaction():
        connection.execute("INSERT INTO items (name) VALUES (%s)", (name,))
        rows = connection.execute("SELECT name FROM items WHERE name = %s", (name,), prepare=True).fetchall()
        connection.execute(f"UPDATE items SET name = 'done {number}' WHERE name = 'item {number}'")
    assert rows == [(name,)], rows


def fail(connection, number):
    try:
        connection.execute(f"SELECT * FROM missing WHERE name = 'item {number}'")
    except psycopg.errors.UndefinedTable:
        return
    raise AssertionError("it is missing")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urlsplit(self.path)
        number = parse_qs(url.query).get("id", ["0"])[0]
        connection = pool.get()
        try:
            {"/front": front, "/fail": fail}[url.path](connection, number)
        finally:
            pool.put(connection)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


for _ in range(POOL):
    pool.put(psycopg.connect(sys.argv[2], autocommit=True))
Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
