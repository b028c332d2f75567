"""A thread a connection, and pools of connections to PostgreSQL and Redis that the threads share:
stores_threads.py PORT DSN REDIS. What it does for a request stores_asyncio.py tells, one thing after the other.
"""
import random
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import redis
from psycopg_pool import ConnectionPool

PORT, DSN, REDIS = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])


def nap():
    time.sleep(random.random() * 0.004)


def front(number):
    name = f"id={number}"
    assert cache.get(name) is None
    nap()
    with pool.connection() as connection, connection.transaction():
        connection.execute("INSERT INTO items (name) VALUES (%s)", (name,))
        nap()
        rows = connection.execute("SELECT name FROM items WHERE name = %s", (name,)).fetchall()
        assert rows == [(name,)], rows
        connection.execute("UPDATE items SET name = name WHERE name = %s", (name,))
    with pool.connection() as connection:
        connection.execute("SELECT id FROM orders WHERE name = %s", (name,))
    with pool.connection() as connection:
        connection.execute("SELECT id FROM parts WHERE name = %s", (name,))
    cache.incr(f"count:{name}")
    nap()
    with cache.pipeline(transaction=False) as pipeline:
        pipeline.set(name, "1").expire(name, 600).execute()
    with pool.connection() as connection:
        connection.execute("DELETE FROM items WHERE name = %s", (name,))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        number = parse_qs(urlsplit(self.path).query).get("id", ["0"])[0]
        front(number)
        body = f"stores {number}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True


cache = redis.Redis(
    connection_pool=redis.BlockingConnectionPool(host="127.0.0.1", port=REDIS, max_connections=6, timeout=60)
)
pool = ConnectionPool(DSN, min_size=6, max_size=6, timeout=60, kwargs={"autocommit": True}, open=True)
pool.wait()
with pool.connection() as first:
    for table in ("orders", "parts"):
        first.execute(f"CREATE TABLE IF NOT EXISTS {table} (id serial, name text)")
Server(("127.0.0.1", PORT), Handler).serve_forever()
