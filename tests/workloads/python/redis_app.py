"""A thread a connection, and redis-py's pool of connections to Redis that threads share: redis_app.py PORT REDIS_PORT.

GET /front?id=N sets a key that carries N, and reads it back in a pipeline and in a transaction.
"""
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import redis

client = redis.Redis(port=int(sys.argv[2]), protocol=2)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        number = parse_qs(urlsplit(self.path).query).get("id", ["0"])[0]
        key = f"item:{number}"
        client.set(key, number)
        with client.pipeline(transaction=False) as pipeline:
            one, none = pipeline.get(key).get("missing").execute()
        with client.pipeline(transaction=True) as pipeline:
            (two,) = pipeline.incr(key).execute()
        try:
            client.lpush(key, "no list")
        except redis.ResponseError:
            pass
        assert (one, none, two) == (number.encode(), None, int(number) + 1)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
