"""A thread a connection, each with a connection of its own to RabbitMQ: amqp_app.py PORT AMQP_PORT amqp|pika.

GET /order?id=N publishes a message of N, the conversation. What tells it from others depends on N: every third has a message id,
every third carries the context of a span the program says it is in, the others have nothing of the kind.
GET /stock?id=N is answered.
"""
import sys
import threading
import uuid

import amqp
import pika
from routes import serve

local = threading.local()


def by_amqp(properties):
    if not hasattr(local, "channel"):
        local.connection = amqp.Connection(f"127.0.0.1:{sys.argv[2]}", confirm_publish=True)
        local.connection.connect()
        local.channel = local.connection.channel()
        local.channel.exchange_declare("shop", "direct", auto_delete=False)
    headers = properties.pop("headers", None)
    told = {"application_headers": headers} if headers else {}
    local.channel.basic_publish(amqp.Message("x" * 100, **properties, **told), "shop", "orders")


def by_pika(properties):
    if not hasattr(local, "channel"):
        local.connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", int(sys.argv[2])))
        local.channel = local.connection.channel()
        local.channel.exchange_declare("shop", "direct")
        local.channel.confirm_delivery()
    local.channel.basic_publish("shop", "orders", "x" * 100, pika.BasicProperties(**properties))


def order(number):
    number = int(number)
    properties = {"correlation_id": str(number)}
    if number % 3 == 0:
        properties["message_id"] = str(uuid.uuid4())
    elif number % 3 == 1:
        properties["headers"] = {"traceparent": f"00-{number:032x}-{number:016x}-01"}
    publish(properties)


def stock(_number):
    pass


publish = {"amqp": by_amqp, "pika": by_pika}[sys.argv[3]]
serve(int(sys.argv[1]), {"/order": order, "/stock": stock})
