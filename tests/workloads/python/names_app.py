"""A thread a connection, and names that glibc looks up: names_app.py PORT.

GET /front?id=N asks /back?id=N of a server by name.
"""
import http.client
import socket
import sys
from routes import serve

PORT = int(sys.argv[1])


def front(number):
    # Every third is answered over TCP only, and of every third there is none.
    name = ("real.test", "long.test", "none.test")[int(number) % 3]
    client = http.client.HTTPConnection(name, PORT)
    try:
        client.request("GET", f"/back?id={number}")
        assert client.getresponse().read() == b""
        client.close()
    except socket.gaierror:
        assert name == "none.test"


def back(_number):
    pass


serve(PORT, {"/front": front, "/back": back})
