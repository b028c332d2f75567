"""Takes messages from RabbitMQ, one after the other: amqp_worker.py PORT AMQP_PORT STOCK_PORT amqp|pika.

For each message of N it asks GET /stock?id=N and acknowledges; every fifth it refuses. GET /done?id=N is answered when N messages
were settled.
"""
import http.client
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import amqp
import pika

settled = 0
changed = threading.Condition()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        number = int(parse_qs(urlsplit(self.path).query)["id"][0])
        with changed:
            done = changed.wait_for(lambda: settled >= number, timeout=30)
        self.send_response(200 if done else 504)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def take(number, accept, refuse):
    global settled
    stock = http.client.HTTPConnection("127.0.0.1", int(sys.argv[3]))
    stock.request("GET", f"/stock?id={number}")
    stock.getresponse().read()
    stock.close()
    (refuse if number % 5 == 0 else accept)()
    with changed:
        settled += 1
        changed.notify_all()


def by_amqp():
    def taken(message):
        tag, number = message.delivery_tag, int(message.properties["correlation_id"])
        take(number, lambda: channel.basic_ack(tag), lambda: channel.basic_reject(tag, requeue=False))

    connection = amqp.Connection(f"127.0.0.1:{sys.argv[2]}")
    connection.connect()
    channel = connection.channel()
    channel.exchange_declare("shop", "direct", auto_delete=False)
    channel.queue_declare("orders", auto_delete=False)
    channel.queue_bind("orders", "shop", "orders")
    channel.basic_qos(0, 1, False)
    channel.basic_consume("orders", callback=taken)
    ready()
    while True:
        connection.drain_events()


def by_pika():
    def taken(channel, method, properties, _body):
        tag, number = method.delivery_tag, int(properties.correlation_id)
        take(number, lambda: channel.basic_ack(tag), lambda: channel.basic_reject(tag, requeue=False))

    channel = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", int(sys.argv[2]))).channel()
    channel.exchange_declare("shop", "direct")
    channel.queue_declare("orders")
    channel.queue_bind("orders", "shop", "orders")
    channel.basic_qos(prefetch_count=1)
    channel.basic_consume("orders", taken)
    ready()
    channel.start_consuming()


def ready():
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


{"amqp": by_amqp, "pika": by_pika}[sys.argv[4]]()
