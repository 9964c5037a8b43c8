#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""rondo::client and rondo::http::client against wrk and libcurl (multi, driven by epoll): CPU per request of the
client, GET with an answer of 200 bytes over TLS 1.3 and kept connections to one nginx worker on loopback, one client
thread each. Runs take turns; requests per second depend on what else shares the cores and are not compared.

Also the heap that an idle connection of rondo::http::client takes, and a request under way on top of it.

Prints medians and, last, lines `ratio NAME VALUE` and `value NAME VALUE`. Needs Debian's nginx-light, wrk, openssl and,
to build client_vs_others, libcurl4-openssl-dev; exits 77 when something is missing, 1 when an answer was wrong.
"""
import argparse
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time


def find(name):
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if path is None:
        print(f"{name} is missing: apt-get install nginx-light wrk openssl", file=sys.stderr)
        sys.exit(77)
    return path


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as held:
        return held.getsockname()[1]


def start_nginx(nginx, openssl, folder, port):
    subprocess.run([openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                    "2", "-subj", "/CN=benchmark", "-addext", "subjectAltName=DNS:localhost", "-keyout",
                    folder / "key.pem", "-out", folder / "cert.pem"], check=True, capture_output=True)
    (folder / "nginx.conf").write_text(f"""
worker_processes 1;
daemon off;
user root;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 100000000;
  server {{
    listen 127.0.0.1:{port} ssl backlog=1024;
    ssl_protocols TLSv1.3;
    ssl_certificate cert.pem;
    ssl_certificate_key key.pem;
    location / {{ default_type application/json; return 200 '{"x" * 200}'; }}
  }}
}}
""")
    server = subprocess.Popen([nginx, "-p", folder, "-c", folder / "nginx.conf"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return server
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


def run(arguments):
    """What a program printed, and the CPU seconds it has used."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out = subprocess.run(arguments, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if out.returncode != 0 or "Non-2xx" in out.stdout or "Socket errors" in out.stdout:
        print(f"wrong: {' '.join(map(str, arguments))}\n{out.stdout}{out.stderr}", file=sys.stderr)
        sys.exit(1)
    return out.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--program", default=root / "build/release/bin/client_vs_others")
    options.add_argument("--connections", type=int, default=64)
    options.add_argument("--seconds", type=int, default=2, help="of each run")
    options.add_argument("--rounds", type=int, default=5)
    how = options.parse_args()
    nginx, wrk, openssl = find("nginx"), find("wrk"), find("openssl")
    if not os.access(how.program, os.X_OK):
        print(f"{how.program} is missing: build client_vs_others, or name it with --program", file=sys.stderr)
        sys.exit(77)
    contenders = ["wrk", "rondo_client", "http_client", "curl"]
    costs = {c: [] for c in contenders}
    allocations = {}
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        server = start_nginx(nginx, openssl, folder, port)
        url = f"https://localhost:{port}/"
        try:
            for round_number in range(how.rounds):
                for c in contenders if round_number % 2 == 0 else reversed(contenders):
                    if c == "wrk":
                        out, cpu = run([wrk, "-t1", f"-c{how.connections}", f"-d{how.seconds}s", url])
                        costs[c].append(cpu / int(re.search(r"(\d+) requests in", out)[1]) * 1e6)
                    else:
                        out, _ = run([how.program, c, url, folder / "cert.pem", str(how.connections), str(how.seconds)])
                        costs[c].append(float(out.split()[1]))
                        allocations[c] = float(out.split()[2])
            out, _ = run([how.program, "memory", url, folder / "cert.pem", "256"])
            idle, under_way = (float(n) for n in out.split())
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(10)

    print(f"{how.rounds} rounds of {how.seconds} s, {how.connections} connections")
    print(f"{'':14} {'us CPU/request':>16} {'least':>8} {'greatest':>9} {'allocations':>12}")
    for c in contenders:
        print(f"{c:14} {statistics.median(costs[c]):16.2f} {min(costs[c]):8.2f} {max(costs[c]):9.2f} "
              f"{allocations.get(c, float('nan')):12.2f}")
    for c in ("rondo_client", "http_client"):
        for other in ("wrk", "curl"):
            ratio = statistics.median(a / b for a, b in zip(costs[c], costs[other]))
            print(f"ratio {c}_to_{other}/cpu_per_request {ratio:.2f}")
    print(f"value http_client/bytes_per_idle_connection {idle:.0f}")
    print(f"value http_client/bytes_per_request_under_way {under_way:.0f}")


if __name__ == "__main__":
    main()
