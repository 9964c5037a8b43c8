#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""rondo-gateway against nginx as a plain reverse proxy, in front of the same upstream (another nginx), all on loopback
and without TLS. Runs take turns, and CPU is counted for each process (user and system time of all its threads and
workers), as requests per second depend on what else shares the cores.

nginx only forwards. The gateway does its whole work: it picks one of four keys, reserves, attaches the key, reads what
the answer means, settles, and counts. Prints medians and, last, lines `ratio NAME VALUE`.

Needs Debian's nginx-light and wrk; exits 77 when something is missing, 1 when an answer was wrong.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

BODY = json.dumps({"text": "Say what a gateway costs for each request."})
KEYS = 4


def find(name):
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if path is None:
        print(f"{name} is missing: apt-get install nginx-light wrk", file=sys.stderr)
        sys.exit(77)
    return path


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


class Program:
    """A server that is stopped at the end, and the CPU that it and its children have used."""

    def __init__(self, arguments, log):
        self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def cpu_seconds(self):
        pids = [self.process.pid]
        children = pathlib.Path(f"/proc/{pids[0]}/task/{pids[0]}/children").read_text().split()
        pids += [int(p) for p in children]
        ticks = 0
        for pid in pids:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def nginx_config(folder, name, threads, server):
    path = folder / f"{name}.conf"
    path.write_text(f"""
worker_processes {threads};
daemon off;
pid {folder}/{name}.pid;
error_log {folder}/{name}.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/{name}-body;
  proxy_temp_path {folder}/{name}-proxy;
  fastcgi_temp_path {folder}/{name}-fastcgi;
  uwsgi_temp_path {folder}/{name}-uwsgi;
  scgi_temp_path {folder}/{name}-scgi;
  keepalive_requests 100000000;
{server}
}}
""")
    return path


def gateway_config(folder, threads, port, admin, upstream):
    path = folder / "gateway.json"
    keys = [{"name": f"k{i}", "secret": f"sk_benchmark_{i}_0123456789"} for i in range(KEYS)]
    path.write_text(json.dumps({
        "listen": f"127.0.0.1:{port}", "admin": f"127.0.0.1:{admin}", "threads": threads,
        "pools": [{"name": "p", "provider": "elevenlabs", "base_url": f"http://127.0.0.1:{upstream}", "keys": keys,
                   "limits": {"quota": 10**15}}]}))
    return path


def wait_until_answers(port):
    end = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


def load(wrk, script, port, connections, seconds):
    """The number of requests, and of requests a second."""
    out = subprocess.run([wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script),
                          f"http://127.0.0.1:{port}/v1/text-to-speech/voice"],
                         capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        print(f"wrong answers:\n{out}", file=sys.stderr)
        sys.exit(1)
    return int(re.search(r"(\d+) requests in", out)[1]), float(re.search(r"Requests/sec:\s*([\d.]+)", out)[1])


def check_gateway(admin, requests):
    """The gateway must have served at least what wrk has counted, and no key may have had more than its turn."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/api/p-status") as answer:
        keys = json.load(answer)["keys"]
    served = [k["requests"] for k in keys]
    if sum(served) < requests or sum(k["failures"] for k in keys) != 0 or max(served) > 1.1 * min(served):
        print(f"wrong: {requests} requests were answered, the keys say {served}", file=sys.stderr)
        sys.exit(1)


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--gateway", default=root / "build/release/bin/rondo-gateway", help="the program")
    options.add_argument("--threads", type=int, default=1, help="of the gateway and of the forwarding nginx")
    options.add_argument("--connections", type=int, default=64)
    options.add_argument("--seconds", type=int, default=3, help="of each run")
    options.add_argument("--rounds", type=int, default=5)
    how = options.parse_args()
    nginx, wrk = find("nginx"), find("wrk")
    if not os.access(how.gateway, os.X_OK):
        print(f"{how.gateway} is missing: build rondo-gateway, or name it with --gateway", file=sys.stderr)
        sys.exit(77)

    upstream, forwarder, gateway, admin = free_ports(4)
    programs = {}
    with tempfile.TemporaryDirectory() as name, open(os.path.join(name, "output"), "w") as log:
        folder = pathlib.Path(name)
        folder.chmod(0o755)  # the workers of nginx may run as somebody else
        script = folder / "post.lua"
        script.write_text(f"wrk.method = 'POST'\nwrk.body = '{BODY}'\n"
                          "wrk.headers['Content-Type'] = 'application/json'\n")
        try:
            programs["upstream"] = Program([nginx, "-p", name, "-c", nginx_config(folder, "upstream", 1, f"""
  server {{
    listen 127.0.0.1:{upstream} backlog=1024;
    location / {{ default_type application/json; return 200 '{"x" * 200}'; }}
  }}""")], log)
            programs["nginx"] = Program([nginx, "-p", name, "-c", nginx_config(folder, "nginx", how.threads, f"""
  upstream origin {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{forwarder} backlog=1024;
    location / {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}""")], log)
            programs["gateway"] = Program(
                [how.gateway, "--config", gateway_config(folder, how.threads, gateway, admin, upstream)], log)
            contenders = {"nginx": forwarder, "gateway": gateway}
            rates = {c: [] for c in contenders}
            costs = {c: [] for c in contenders}
            through_gateway = 0
            for port in (upstream, *contenders.values()):
                wait_until_answers(port)
                load(wrk, script, port, how.connections, 1)  # warm: connections made, memory touched
            for round_number in range(how.rounds):
                order = list(contenders) if round_number % 2 == 0 else list(reversed(contenders))
                for c in order:
                    before = programs[c].cpu_seconds()
                    requests, rate = load(wrk, script, contenders[c], how.connections, how.seconds)
                    costs[c].append((programs[c].cpu_seconds() - before) / requests * 1e6)
                    rates[c].append(rate)
                    through_gateway += requests if c == "gateway" else 0
            check_gateway(admin, through_gateway)
        finally:
            for program in programs.values():
                program.stop()

    print(f"{how.rounds} rounds of {how.seconds} s, {how.connections} connections, {how.threads} thread(s) each")
    print(f"{'':10} {'requests/s':>12} {'least':>10} {'greatest':>10} {'us CPU/request':>16} {'least':>8} {'greatest':>8}")
    for c in contenders:
        print(f"{c:10} {statistics.median(rates[c]):12.0f} {min(rates[c]):10.0f} {max(rates[c]):10.0f} "
              f"{statistics.median(costs[c]):16.2f} {min(costs[c]):8.2f} {max(costs[c]):8.2f}")
    per_round = [g / n for g, n in zip(rates["gateway"], rates["nginx"])]
    cpu_per_round = [g / n for g, n in zip(costs["gateway"], costs["nginx"])]
    print(f"ratio gateway_to_nginx/requests_per_second {statistics.median(per_round):.2f}")
    print(f"ratio gateway_to_nginx/cpu_per_request {statistics.median(cpu_per_round):.2f}")


if __name__ == "__main__":
    main()
