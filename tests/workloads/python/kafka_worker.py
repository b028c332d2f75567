"""Takes messages of a group until it has COUNT of them, and then hangs up on whoever waits: kafka_worker.py PORT KAFKA_PORT COUNT."""
import socket
import sys
import threading

from kafka import KafkaConsumer


def wait(connection):
    done.wait()
    connection.close()


def serve():
    while True:
        threading.Thread(target=wait, args=[listener.accept()[0]], daemon=True).start()


done = threading.Event()
consumer = KafkaConsumer(
    "orders", "news", "bulk", "quick",
    bootstrap_servers=f"127.0.0.1:{sys.argv[2]}",
    client_id="worker",
    group_id="workers",
    auto_offset_reset="earliest",
    metadata_max_age_ms=500,
    heartbeat_interval_ms=200,
)
while not consumer.assignment():
    consumer.poll(100)
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    threading.Thread(target=serve, daemon=True).start()
    got = 0
    while got < int(sys.argv[3]):
        got += sum(len(messages) for messages in consumer.poll(1000).values())
    done.set()
    while True:
        consumer.poll(1000)
