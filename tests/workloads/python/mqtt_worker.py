"""Takes messages and answers questions, with MQTT 5 and as an older client: mqtt_worker.py PORT MQTT_PORT."""
import socket
import sys
import time

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def take(client, _data, message):
    if message.topic == "ask":
        told = Properties(PacketTypes.PUBLISH)
        told.CorrelationData = message.properties.CorrelationData
        client.publish(message.properties.ResponseTopic, message.payload, 1, properties=told)


def subscribe(client, topics):
    client.on_connect = lambda *_: client.subscribe([(topic, 2) for topic in topics])
    client.on_message = take
    client.connect("127.0.0.1", int(sys.argv[2]))


new = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="worker", protocol=mqtt.MQTTv5)
subscribe(new, ["orders/new", "ask"])
old = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="older", protocol=mqtt.MQTTv311)
subscribe(old, ["plain/#"])
ready = []
for client in (new, old):
    client.on_subscribe = lambda *_: ready.append(1)
    client.loop_start()
while len(ready) < 2:
    time.sleep(0.01)
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    while True:
        listener.accept()[0].close()
