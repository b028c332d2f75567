"""The demo: a small shop of real programs, and a light load on it. Knows nothing of any tracer.

    curl -> nginx -> shop (Flask on gunicorn) -> pricing (Python http.server) -> stock (Go)
                                              -> orders (Node.js)

Runs for --seconds, or until Ctrl-C or SIGTERM, then stops all it started and exits with 0. Exit code 1: a service did not
start or ended early; its output is shown.
"""
import argparse
import ctypes
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
START_SECONDS = 60
STOP_SECONDS = 5
PRODUCTS = ["ball-of-thread", "lantern", "map", "minotaur"]  # The last is not in stock.
PR_SET_PDEATHSIG = 1


class Broken(Exception):
    """A service is not there."""


class Service:
    def __init__(self, name, folder, argv, env):
        self.name = name
        self.log = folder / f"{name}.log"
        libc = ctypes.CDLL(None)
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                argv,
                cwd=HERE,
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C reaches the launcher alone, which then stops them in order; they also go if it is killed.
                process_group=0,
                preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM),
            )

    def check(self):
        code = self.process.poll()
        if code is not None:
            raise Broken(f"{self.name} ended with {code}:\n{self.log.read_text(errors='replace')}")

    def wait_for(self, port, stop):
        deadline = time.monotonic() + START_SECONDS
        while not stop.is_set():
            self.check()
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise Broken(f"{self.name} does not listen on port {port}") from None
                stop.wait(0.05)

    def signal(self, number):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def end(self):
        self.signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        self.signal(signal.SIGKILL)
        self.process.wait()


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def nginx_conf(folder, port, shop):
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    )
    conf = folder / "nginx.conf"
    conf.write_text(
        f"""daemon off; {user} worker_processes 1; pid {folder}/nginx.pid; error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log off; {temporary}
    upstream shop {{ server 127.0.0.1:{shop}; keepalive 8; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://shop; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
}}
"""
    )
    return conf


def visit(port, rate, stop, services):
    number = 0
    while not stop.is_set():
        number += 1
        product = PRODUCTS[number % len(PRODUCTS)]
        url = f"http://127.0.0.1:{port}/checkout/{product}?id={number}"
        subprocess.run(["curl", "-s", "-o", "/dev/null", "--max-time", "10", url], check=False)
        for service in services:
            service.check()
        stop.wait(1 / rate)
    return number


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--stock", required=True, help="the Go service, built")
    options.add_argument("--gunicorn", required=True)
    options.add_argument("--nginx", default="/usr/sbin/nginx")
    options.add_argument("--seconds", type=float, default=0, help="0: until Ctrl-C")
    options.add_argument("--rate", type=float, default=4, help="visits a second, at most 50")
    options = options.parse_args()

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    front, shop, pricing, stock, orders = free_ports(5)
    services = []
    with tempfile.TemporaryDirectory(prefix="clew-demo-") as folder:
        folder = pathlib.Path(folder)

        def start(name, port, argv, **env):
            if stop.is_set():
                return
            service = Service(name, folder, argv, env)
            services.append(service)
            service.wait_for(port, stop)
            print(f"demo: {name} listens on 127.0.0.1:{port}", flush=True)

        gunicorn = [options.gunicorn, "-k", "gthread", "-w", "1", "--threads", "8", "--log-level", "warning"]
        try:
            start("stock", stock, [options.stock, str(stock)])
            start("pricing", pricing, ["/usr/bin/python3", "pricing.py", str(pricing)], STOCK=str(stock))
            start("orders", orders, ["node", "orders.js", str(orders)])
            start("shop", shop, [*gunicorn, "-b", f"127.0.0.1:{shop}", "shop:app"],
                  PRICING=str(pricing), ORDERS=str(orders))
            start("nginx", front, [options.nginx, "-e", "stderr", "-c", str(nginx_conf(folder, front, shop))])
            if not stop.is_set():
                print("demo: visitors come; Ctrl-C ends it", flush=True)
            if options.seconds:
                timer = threading.Timer(options.seconds, stop.set)
                timer.daemon = True
                timer.start()
            visits = visit(front, min(options.rate, 50), stop, services)
            print(f"demo: {visits} visits", flush=True)
        except Broken as error:
            print(f"demo: {error}", file=sys.stderr)
            return 1
        finally:
            # The front first: nobody then asks a service that is gone.
            for service in reversed(services):
                service.end()
    return 0


sys.exit(main())
