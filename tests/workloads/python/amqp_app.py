"""A thread a connection, each with a connection of its own to RabbitMQ: amqp_app.py PORT AMQP_PORT.

GET /order?id=N publishes a message of N, the conversation. What tells it from others depends on N: every third has a message id,
every third carries the context of a span the program says it is in, the others have nothing of the kind.
GET /stock?id=N is answered.
"""
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import amqp

local = threading.local()


def channel():
    if not hasattr(local, "channel"):
        local.connection = amqp.Connection(f"127.0.0.1:{sys.argv[2]}", confirm_publish=True)
        local.connection.connect()
        local.channel = local.connection.channel()
        local.channel.exchange_declare("shop", "direct", auto_delete=False)
    return local.channel


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urlsplit(self.path)
        number = int(parse_qs(url.query).get("id", ["0"])[0])
        if url.path == "/order":
            properties = {"correlation_id": str(number)}
            if number % 3 == 0:
                properties["message_id"] = str(uuid.uuid4())
            elif number % 3 == 1:
                properties["application_headers"] = {"traceparent": f"00-{number:032x}-{number:016x}-01"}
            channel().basic_publish(amqp.Message("x" * 100, **properties), "shop", "orders")
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
