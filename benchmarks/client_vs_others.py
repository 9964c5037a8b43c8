#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""rondo::client and rondo::http::client against wrk and libcurl (multi; driven as its examples do it, by
curl_multi_perform and curl_multi_poll, and by epoll): CPU per request of the client, GET with an answer of 200 bytes
over TLS 1.3 and kept connections to one nginx worker on loopback, one client thread each. rondo::client rotates four
keys of a pool, is observed by monitor::client_metrics, and makes a page of its metrics each tenth of a second. Runs take
turns; requests per second depend on what else shares the cores and are not compared.

Also the heap that an idle connection of rondo::http::client takes, and a request under way on top of it.

Prints medians and, last, lines `ratio NAME VALUE` and `value NAME VALUE`. Needs Debian's nginx-light, wrk, openssl and,
to build client_vs_others, libcurl4-openssl-dev; exits 77 when something is missing, 1 when an answer was wrong.
"""
import argparse
import pathlib
import re
import resource
import statistics
import subprocess
import tempfile

from loopback import answering, fail, find, free_ports, make_certificate, need_built, start_nginx, wait_until_answers


def run(arguments):
    """What a program printed, and the CPU seconds it has used."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out = subprocess.run(arguments, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if out.returncode != 0 or "Non-2xx" in out.stdout or "Socket errors" in out.stdout:
        fail(f"{' '.join(map(str, arguments))}\n{out.stdout}{out.stderr}")
    return out.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--program", default=root / "build/release/bin/client_vs_others")
    options.add_argument("--connections", type=int, default=64)
    options.add_argument("--seconds", type=int, default=2, help="of each run")
    options.add_argument("--rounds", type=int, default=5)
    how = options.parse_args()
    nginx, wrk, openssl = (find(name, "nginx-light wrk openssl") for name in ("nginx", "wrk", "openssl"))
    need_built(how.program)
    contenders = ["wrk", "rondo_client", "http_client", "curl", "curl_epoll"]
    costs = {c: [] for c in contenders}
    allocations = {}
    port, = free_ports(1)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)  # the workers of nginx may run as somebody else
        certificate = make_certificate(openssl, folder)
        server = start_nginx(nginx, folder, "origin", answering(port, tls=True), subprocess.DEVNULL)
        url = f"https://localhost:{port}/"
        try:
            wait_until_answers(port)
            for round_number in range(how.rounds):
                for c in contenders if round_number % 2 == 0 else reversed(contenders):
                    if c == "wrk":
                        out, cpu = run([wrk, "-t1", f"-c{how.connections}", f"-d{how.seconds}s", url])
                        costs[c].append(cpu / int(re.search(r"(\d+) requests in", out)[1]) * 1e6)
                    else:
                        out, _ = run([how.program, c, url, certificate, str(how.connections), str(how.seconds)])
                        costs[c].append(float(out.split()[1]))
                        allocations[c] = float(out.split()[2])
            out, _ = run([how.program, "memory", url, certificate, "256"])
            idle, under_way = (float(n) for n in out.split())
        finally:
            server.stop()

    print(f"{how.rounds} rounds of {how.seconds} s, {how.connections} connections")
    print(f"{'':14} {'us CPU/request':>16} {'least':>8} {'greatest':>9} {'allocations':>12}")
    for c in contenders:
        print(f"{c:14} {statistics.median(costs[c]):16.2f} {min(costs[c]):8.2f} {max(costs[c]):9.2f} "
              f"{allocations.get(c, float('nan')):12.2f}")
    for c in ("rondo_client", "http_client"):
        for other in ("wrk", "curl", "curl_epoll"):
            ratio = statistics.median(a / b for a, b in zip(costs[c], costs[other]))
            print(f"ratio {c}_to_{other}/cpu_per_request {ratio:.2f}")
    print(f"value http_client/bytes_per_idle_connection {idle:.0f}")
    print(f"value http_client/bytes_per_request_under_way {under_way:.0f}")


if __name__ == "__main__":
    main()
