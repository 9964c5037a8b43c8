#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""CPU per request of rondo::http::client and rondo::client (with a proxy_rotator) through a proxy, against the same
client direct: GET with an answer of 200 bytes over TLS 1.3 and kept connections, or kept tunnels, to one nginx worker,
all on loopback, one client thread. The proxies are microsocks (socks5h), tinyproxy and squid (CONNECT). The CPU is that
of the client alone, after a warm-up in which the tunnels are made. Each round runs every client on every route, and is
compared with itself.

Two loads. `calm`: every connection thinks for a random time before it asks, --think-ms in the mean, so that answers
come one by one on every route: what differs then is what the client does. Its CPU includes that of waking up to ask.
`busy`: every connection asks again at once. There the answers come in bunches when direct, and nearly one by one
through a proxy that is slower than the client, which is then woken for each; the ratio shows that more than anything
else, and changes with the number of cores. libcurl, driven by epoll, runs beside under this load: what a proxy costs
another client.

Prints medians and, last, lines `ratio NAME VALUE`. Needs Debian's nginx-light, microsocks, tinyproxy, squid, openssl
and, to build client_vs_others, libcurl4-openssl-dev; exits 77 when something is missing, 1 when an answer was wrong or
a proxy was passed by.
"""
import argparse
import pathlib
import statistics
import subprocess
import tempfile

from loopback import (Program, answering, fail, find, free_ports, make_certificate, need_built, start_nginx,
                      wait_until_answers)

PACKAGES = "nginx-light microsocks tinyproxy squid openssl"
LOADS = {"calm": ["http_client", "rondo_client"], "busy": ["http_client", "rondo_client", "curl_epoll"]}


def start_microsocks(program, _folder, port, log):
    return Program([program, "-i", "127.0.0.1", "-p", str(port)], log)


def start_tinyproxy(program, folder, port, log):
    path = folder / "tinyproxy.conf"
    path.write_text(f"Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 1000\nAllow 127.0.0.1\nLogLevel Error\n")
    return Program([program, "-d", "-c", path], log)


def start_squid(program, folder, port, log):
    own = folder / "squid"
    own.mkdir()
    own.chmod(0o777)  # it writes as another user
    path = folder / "squid.conf"
    path.write_text(f"""http_port 127.0.0.1:{port}
pid_filename {own}/squid.pid
cache_log {own}/cache.log
coredump_dir {own}
access_log none
cache deny all
cache_mem 8 MB
pinger_enable off
shutdown_lifetime 0 seconds
http_access allow all
""")
    return Program([program, "-N", "-n", f"rondo{port}", "-f", path], log)


PROXIES = {"microsocks": ("socks5h", start_microsocks), "tinyproxy": ("http", start_tinyproxy),
           "squid": ("http", start_squid)}


def run(how, load, client, url, certificate, proxy):
    """CPU in microseconds for each request, and the requests."""
    think_ms = how.think_ms if load == "calm" else 0
    arguments = [how.program, client, url, certificate, str(how.connections), str(how.seconds), proxy, str(think_ms)]
    out = subprocess.run(arguments, capture_output=True, text=True)
    if out.returncode != 0:
        fail(f"{' '.join(map(str, arguments))}\n{out.stdout}{out.stderr}")
    requests, cost, _ = (float(n) for n in out.stdout.split())
    return cost, requests


def run_through(how, program, load, client, url, certificate, proxy):
    """CPU in microseconds for each request; the server that `program` is must have had work."""
    before = program.cpu_seconds()
    cost, requests = run(how, load, client, url, certificate, proxy)
    if (program.cpu_seconds() - before) * 1e6 < requests:
        fail(f"{requests:.0f} requests of {client} have cost {proxy or 'the origin'} nothing")
    return cost


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--program", default=root / "build/release/bin/client_vs_others")
    options.add_argument("--connections", type=int, default=64)
    options.add_argument("--seconds", type=float, default=2, help="of each run")
    options.add_argument("--think-ms", type=float, default=20, help="of each connection under the calm load")
    options.add_argument("--rounds", type=int, default=5)
    how = options.parse_args()
    nginx, openssl = find("nginx", PACKAGES), find("openssl", PACKAGES)
    installed = {name: find(name, PACKAGES) for name in PROXIES}
    need_built(how.program)

    origin, *ports = free_ports(1 + len(PROXIES))
    urls = {"direct": ""}
    programs = {}
    costs = {(load, client, route): [] for load, clients in LOADS.items() for client in clients
             for route in ("direct", *PROXIES)}
    with tempfile.TemporaryDirectory() as name, open(pathlib.Path(name) / "output", "w") as log:
        folder = pathlib.Path(name)
        folder.chmod(0o755)  # the workers of nginx, and squid, may run as somebody else
        certificate = make_certificate(openssl, folder)
        url = f"https://localhost:{origin}/"
        try:
            programs["direct"] = start_nginx(nginx, folder, "origin", answering(origin, tls=True), log)
            for (proxy, (scheme, start)), port in zip(PROXIES.items(), ports):
                programs[proxy] = start(installed[proxy], folder, port, log)
                urls[proxy] = f"{scheme}://127.0.0.1:{port}"
            for port in (origin, *ports):
                wait_until_answers(port)
            for round_number in range(how.rounds):
                order = list(costs) if round_number % 2 == 0 else list(reversed(costs))
                for load, client, route in order:
                    cost = run_through(how, programs[route], load, client, url, certificate, urls[route])
                    costs[load, client, route].append(cost)
        finally:
            for program in programs.values():
                program.stop()

    print(f"{how.rounds} rounds of {how.seconds} s, {how.connections} connections")
    print(f"{'us CPU/request':32} {'median':>8} {'least':>8} {'greatest':>9}")
    for (load, client, route), cost in costs.items():
        print(f"{load:5} {client:14} {route:11} {statistics.median(cost):8.2f} {min(cost):8.2f} {max(cost):9.2f}")
    for (load, client, route), cost in costs.items():
        if route != "direct":
            ratio = statistics.median(p / d for p, d in zip(cost, costs[load, client, "direct"]))
            print(f"ratio {client}/{route}_to_direct/cpu_per_request_{load} {ratio:.2f}")


if __name__ == "__main__":
    main()
