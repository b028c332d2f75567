"""A thread a connection, each with a connection of its own to RabbitMQ: amqp_app.py PORT AMQP_PORT.

GET /order?id=N publishes a message of N, the conversation. What tells it from others depends on N: every third has a message id,
every third carries the context of a span the program says it is in, the others have nothing of the kind.
GET /stock?id=N is answered.
"""
import sys
import threading
import uuid

import amqp
from routes import serve

local = threading.local()


def channel():
    if not hasattr(local, "channel"):
        local.connection = amqp.Connection(f"127.0.0.1:{sys.argv[2]}", confirm_publish=True)
        local.connection.connect()
        local.channel = local.connection.channel()
        local.channel.exchange_declare("shop", "direct", auto_delete=False)
    return local.channel


def order(number):
    number = int(number)
    properties = {"correlation_id": str(number)}
    if number % 3 == 0:
        properties["message_id"] = str(uuid.uuid4())
    elif number % 3 == 1:
        properties["application_headers"] = {"traceparent": f"00-{number:032x}-{number:016x}-01"}
    channel().basic_publish(amqp.Message("x" * 100, **properties), "shop", "orders")


def stock(_number):
    pass


serve(int(sys.argv[1]), {"/order": order, "/stock": stock})
