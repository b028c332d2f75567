"""Calls of every kind with grpcio, between two processes: grpc_calls.py [serve PORT | call PORT | many PORT N].

Without arguments it starts a server process and calls it: each kind of call, each way to end. `many` makes N calls, 256 at a
time on one connection. Methods are made without generated code: messages are bytes. With CERTIFICATE and KEY in the environment
all of it is encrypted.
"""
import os
import subprocess
import sys
import threading
import time
from concurrent import futures

import grpc

SERVICE = "clew.test.Calls"


def certificate():
    if "CERTIFICATE" not in os.environ:
        return None
    with open(os.environ["CERTIFICATE"], "rb") as file:
        return file.read()


CERTIFICATE = certificate()


def unary(request, context):
    if request == b"wrong":
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: 100 % sure, möglich")
    if request == b"bug":
        raise ValueError("a bug")
    if request == b"slow":
        time.sleep(5)
    context.set_trailing_metadata((("x-tail", "1"),))
    return b"answer to " + request


def down(request, _context):
    for number in range(int(request)):
        yield b"x" * number


def up(requests, _context):
    return str(sum(1 for _ in requests)).encode()


def both(requests, _context):
    for request in requests:
        yield request
        yield request


def serve(port):
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Down": grpc.unary_stream_rpc_method_handler(down),
        "Up": grpc.stream_unary_rpc_method_handler(up),
        "Both": grpc.stream_stream_rpc_method_handler(both),
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=64))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    if CERTIFICATE:
        with open(os.environ["KEY"], "rb") as key:
            credentials = grpc.ssl_server_credentials([(key.read(), CERTIFICATE)])
        server.add_secure_port(f"127.0.0.1:{port}", credentials)
    else:
        server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    print("ready", flush=True)
    # The end of standard input is the end of the server.
    sys.stdin.read()
    server.stop(1).wait()


def channel_to(port):
    if CERTIFICATE:
        return grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(CERTIFICATE))
    return grpc.insecure_channel(f"127.0.0.1:{port}")


def failing(call):
    try:
        call()
    except (grpc.RpcError, grpc.FutureCancelledError):
        return
    raise SystemExit("the call should have failed")


def call(port):
    with channel_to(port) as channel:
        unary = channel.unary_unary(f"/{SERVICE}/Unary")
        assert unary(b"one") == b"answer to one"
        assert unary(b"two", metadata=(("x-request", "2"),)) == b"answer to two"
        failing(lambda: unary(b"wrong"))
        failing(lambda: unary(b"bug"))
        failing(lambda: unary(b"slow", timeout=0.2))
        future = unary.future(b"slow")
        time.sleep(0.2)
        future.cancel()
        failing(future.result)
        assert len(list(channel.unary_stream(f"/{SERVICE}/Down")(b"5"))) == 5
        assert channel.stream_unary(f"/{SERVICE}/Up")(iter([b"a"] * 4)) == b"4"
        assert len(list(channel.stream_stream(f"/{SERVICE}/Both")(iter([b"a"] * 3)))) == 6
        assert unary(b"z" * 40000) == b"answer to " + b"z" * 40000
        failing(lambda: channel.unary_unary(f"/{SERVICE}/Missing")(b""))


def many(port, count):
    limit = threading.Semaphore(256)
    with channel_to(port) as channel:
        unary = channel.unary_unary(f"/{SERVICE}/Unary")
        pending = []
        for number in range(count):
            limit.acquire()
            future = unary.future(str(number).encode())
            future.add_done_callback(lambda _: limit.release())
            pending.append((number, future))
        for number, future in pending:
            assert future.result() == b"answer to " + str(number).encode()


def wait_until_watched():
    """Waits until the kernel has put a probe into the library that encrypts: its code is another in memory than in the file."""
    from grpc._cython import cygrpc

    with open("/proc/self/maps") as maps:
        lines = [line.split() for line in maps if cygrpc.__file__ in line and "r-xp" in line]
    with open(cygrpc.__file__, "rb") as file, open("/proc/self/mem", "rb", 0) as memory:
        for words in lines:
            start, end = (int(word, 16) for word in words[0].split("-"))
            file.seek(int(words[2], 16))
            here = file.read(end - start)
            for _ in range(600):
                memory.seek(start)
                if memory.read(len(here)) != here:
                    return
                time.sleep(0.1)
    raise SystemExit("nobody watches the library")


def with_server(work):
    import socket

    if CERTIFICATE:
        wait_until_watched()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, __file__, "serve", str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdout.readline() == b"ready\n"
    try:
        work(port)
    finally:
        server.stdin.close()
        server.wait()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", port]:
            serve(port)
        case ["call", port]:
            call(port)
        case ["many", count]:
            with_server(lambda port: many(port, int(count)))
        case _:
            with_server(call)
