"""A server that answers nothing: dead.py PORT close|reset|hang."""
import socket
import struct
import sys
import threading

port, how = int(sys.argv[1]), sys.argv[2]
kept = []


def serve(connection):
    # Whoever only looks whether somebody listens sends nothing.
    if not connection.recv(65536):
        return connection.close()
    if how == "hang":
        return kept.append(connection)
    if how == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


listener = socket.create_server(("127.0.0.1", port), backlog=256)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
