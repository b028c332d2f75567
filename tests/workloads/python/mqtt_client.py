"""Sends what mqtt_worker.py takes, N of each kind: mqtt_client.py MQTT_PORT N. The N-th message has N bytes."""
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def client(name, protocol):
    made = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=protocol)
    made.connect("127.0.0.1", int(sys.argv[1]))
    return made


answered, ready = threading.Semaphore(0), threading.Semaphore(0)
new, old = client("new", mqtt.MQTTv5), client("old", mqtt.MQTTv311)
new.on_message = lambda *_: answered.release()
new.on_subscribe = lambda *_: ready.release()
new.on_connect = lambda *_: new.subscribe("answers", 1)
for made in (new, old):
    made.loop_start()
assert ready.acquire(timeout=20)
for number in range(1, int(sys.argv[2]) + 1):
    body = b"x" * number
    told = Properties(PacketTypes.PUBLISH)
    told.UserProperty = ("traceparent", f"00-{number:032x}-{number:016x}-01")
    new.publish("orders/new", body, 1 + number % 2, properties=told).wait_for_publish(20)
    asks = Properties(PacketTypes.PUBLISH)
    asks.ResponseTopic, asks.CorrelationData = "answers", f"question-number-{number}".encode()
    new.publish("ask", body, 1, properties=asks).wait_for_publish(20)
    assert answered.acquire(timeout=20)
    old.publish("plain/text", body, number % 3).wait_for_publish(20)
old.publish("plain/last", b"", 2).wait_for_publish(20)
for made in (new, old):
    made.disconnect()
    made.loop_stop()
