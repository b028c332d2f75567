"""Sends what kafka_worker.py takes, N of each kind, and waits for it: kafka_client.py KAFKA_PORT WORKER_PORT N. The N-th message has N
bytes."""
import socket
import sys

from kafka import KafkaProducer


def producer(**options):
    return KafkaProducer(bootstrap_servers=f"127.0.0.1:{sys.argv[1]}", client_id="shop", **options)


def context(number):
    return [("traceparent", f"00-{number:032x}-{number:016x}-01".encode())]


count = int(sys.argv[3])
one, batch, quick = producer(), producer(linger_ms=500, compression_type="gzip"), producer(acks=0)
for number in range(1, count + 1):
    body = b"x" * number
    one.send("orders", body, key=b"secret", headers=context(number)).get(20)
    one.send("news", body).get(20)
    quick.send("quick", body).get(20)
    batch.send("bulk", body, headers=context(1000 + number % 2))
batch.flush(20)
with socket.create_connection(("127.0.0.1", int(sys.argv[2]))) as worker:
    worker.recv(1)
