#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""rondo-gateway against nginx as a reverse proxy, in front of the same upstream (another nginx), all on loopback. The
upstream speaks TLS 1.3, both verify its certificate and keep their connections to it; --plain leaves TLS out. wrk asks
over plain HTTP, as callers on the same machine do.

nginx only forwards. The gateway does its whole work: it picks one of four keys, reserves, attaches the key, reads what
the answer means, settles, and counts.

Two loads. `busy`: every connection asks again as soon as it is answered; this shows CPU per request (user and system
time of all threads and workers) and requests per second, which depend on what else shares the cores. `calm`: every
connection thinks for a random time first, --think-ms in the mean, so that there are about 1000 * connections /
think-ms requests a second however slow the answers are, well below what either can do. Latency is measured there: under
the busy load it would show the length of the queue and nothing else. The time added is the latency through a
contender minus that of wrk asking the upstream itself, over TLS if the upstream speaks it, in the same round.

Runs take turns. Prints medians and, last, lines `ratio NAME VALUE` and `value NAME VALUE`.

Needs Debian's nginx-light, wrk and openssl; exits 77 when something is missing, 1 when an answer was wrong.
"""
import argparse
import collections
import json
import pathlib
import re
import ssl
import statistics
import subprocess
import tempfile
import urllib.request

from loopback import (ANSWER, Program, answering, fail, find, free_ports, make_certificate, need_built, start_nginx,
                      wait_until_answers)

PACKAGES = "nginx-light wrk openssl"
PATH = "/v1/text-to-speech/voice"
BODY = json.dumps({"text": "Say what a gateway costs for each request."})
KEYS = 4
PERCENTILES = (50, 99)

Measured = collections.namedtuple("Measured", "requests rate latency")  # latency: microseconds by percentile


def scripts(folder, think_ms):
    """What wrk is to send, by load."""
    common = f"""
wrk.method = 'POST'
wrk.body = '{BODY}'
wrk.headers['Content-Type'] = 'application/json'
function done(summary, latency, requests)
  io.write(string.format('percentiles {" ".join(["%f"] * len(PERCENTILES))}\\n',
                         {", ".join(f"latency:percentile({p})" for p in PERCENTILES)}))
end
"""
    think = f"function delay() return math.random({think_ms // 2}, {think_ms + think_ms // 2}) end\n"
    out = {"busy": folder / "busy.lua", "calm": folder / "calm.lua"}
    out["busy"].write_text(common)
    out["calm"].write_text(common + think)
    return out


def forwarding(folder, port, upstream, tls):
    """A `server` block that passes everything on, with the care that the gateway takes."""
    with_tls = f"""
      proxy_ssl_protocols TLSv1.3;
      proxy_ssl_verify on;
      proxy_ssl_trusted_certificate {folder}/cert.pem;
      proxy_ssl_name localhost;
      proxy_ssl_server_name on;
      proxy_ssl_session_reuse on;""" if tls else ""
    return f"""
  upstream origin {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass {"https" if tls else "http"}://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";{with_tls}
    }}
  }}"""


def gateway_config(folder, threads, port, admin, upstream_url, tls):
    path = folder / "gateway.json"
    keys = [{"name": f"k{i}", "secret": f"sk_benchmark_{i}_0123456789"} for i in range(KEYS)]
    pool = {"name": "p", "provider": "elevenlabs", "base_url": upstream_url, "keys": keys, "limits": {"quota": 10**15}}
    if tls:
        pool["ca_file"] = str(folder / "cert.pem")
    path.write_text(json.dumps({"listen": f"127.0.0.1:{port}", "admin": f"127.0.0.1:{admin}", "threads": threads,
                                "pools": [pool]}))
    return path


def check_answer(url, certificate):
    request = urllib.request.Request(url, BODY.encode(), {"Content-Type": "application/json"})
    direct = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=certificate)))
    with direct.open(request) as answer:
        if answer.status != 200 or answer.read().decode() != ANSWER:
            fail(f"another answer from {url}")


def load(wrk, script, url, connections, seconds):
    out = subprocess.run([wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script, url],
                         capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        fail(f"answers\n{out}")
    numbers = re.search(r"percentiles (.*)", out)[1].split()
    return Measured(int(re.search(r"(\d+) requests in", out)[1]), float(re.search(r"Requests/sec:\s*([\d.]+)", out)[1]),
                    dict(zip(PERCENTILES, map(float, numbers))))


def check_gateway(admin, requests):
    """The gateway must have served at least what wrk has counted, and no key may have had more than its turn."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/api/p-status") as answer:
        keys = json.load(answer)["keys"]
    served = [k["requests"] for k in keys]
    if sum(served) < requests or sum(k["failures"] for k in keys) != 0 or max(served) > 1.1 * min(served):
        fail(f"{requests} requests were answered, the keys say {served}")


def show(runs, costs):
    """The medians, and how far they went, of what was measured of each contender under each load."""
    print(f"{'':10} {'':5} {'requests/s':>10} {'us CPU/request':>15} {'least':>7} {'greatest':>8} "
          + " ".join(f"{f'p{p} us':>8}" for p in PERCENTILES))
    for (name, kind), measured in runs.items():
        cost = costs[name, kind]
        print(f"{name:10} {kind:5} {statistics.median(m.rate for m in measured):10.0f} {statistics.median(cost):15.2f} "
              f"{min(cost):7.2f} {max(cost):8.2f} "
              + " ".join(f"{statistics.median(m.latency[p] for m in measured):8.0f}" for p in PERCENTILES))


def show_ratios(runs, costs):
    def print_ratio(name, value):
        print(f"ratio gateway_to_nginx/{name} {value:.2f}")

    def added(contender, p):
        rounds = zip(runs[contender, "calm"], runs["direct", "calm"])
        return statistics.median(through.latency[p] - direct.latency[p] for through, direct in rounds)

    print_ratio("requests_per_second", statistics.median(
        g.rate / n.rate for g, n in zip(runs["gateway", "busy"], runs["nginx", "busy"])))
    for name, kind in (("cpu_per_request", "busy"), ("cpu_per_request_calm", "calm")):
        print_ratio(name, statistics.median(g / n for g, n in zip(costs["gateway", kind], costs["nginx", kind])))
    for p in PERCENTILES:
        gateway, nginx = added("gateway", p), added("nginx", p)
        print(f"value gateway/added_p{p}_us {gateway:.0f}")
        print(f"value nginx/added_p{p}_us {nginx:.0f}")
        print_ratio(f"added_p{p}", gateway / nginx if nginx > 0 else float("nan"))


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--gateway", default=root / "build/release/bin/rondo-gateway", help="the program")
    options.add_argument("--plain", action="store_true", help="no TLS to the upstream")
    options.add_argument("--threads", type=int, default=1, help="of the gateway and of the forwarding nginx")
    options.add_argument("--connections", type=int, default=64)
    options.add_argument("--think-ms", type=int, default=30, help="of each connection under the calm load")
    options.add_argument("--seconds", type=int, default=3, help="of each run")
    options.add_argument("--rounds", type=int, default=5)
    how = options.parse_args()
    nginx, wrk, openssl = (find(name, PACKAGES) for name in ("nginx", "wrk", "openssl"))
    need_built(how.gateway)

    tls = not how.plain
    upstream, forwarder, gateway, admin = free_ports(4)
    upstream_url = f"{'https' if tls else 'http'}://localhost:{upstream}"
    urls = {"direct": upstream_url + PATH, "nginx": f"http://127.0.0.1:{forwarder}{PATH}",
            "gateway": f"http://127.0.0.1:{gateway}{PATH}"}
    order = [("nginx", "busy"), ("gateway", "busy"), ("direct", "calm"), ("nginx", "calm"), ("gateway", "calm")]
    runs, costs = {o: [] for o in order}, {o: [] for o in order}
    programs = {}
    with tempfile.TemporaryDirectory() as name, open(pathlib.Path(name) / "output", "w") as log:
        folder = pathlib.Path(name)
        folder.chmod(0o755)  # the workers of nginx may run as somebody else
        certificate = make_certificate(openssl, folder)
        script = scripts(folder, how.think_ms)
        try:
            programs["direct"] = start_nginx(nginx, folder, "upstream", answering(upstream, tls), log)
            programs["nginx"] = start_nginx(nginx, folder, "nginx", forwarding(folder, forwarder, upstream, tls), log,
                                            how.threads)
            config = gateway_config(folder, how.threads, gateway, admin, upstream_url, tls)
            programs["gateway"] = Program([how.gateway, "--config", config], log)
            for port in (upstream, forwarder, gateway):
                wait_until_answers(port)
            for url in urls.values():
                check_answer(url, certificate)
                load(wrk, script["busy"], url, how.connections, 1)  # warm: connections made, memory touched
            for round_number in range(how.rounds):
                for contender, kind in order if round_number % 2 == 0 else reversed(order):
                    before = programs[contender].cpu_seconds()
                    measured = load(wrk, script[kind], urls[contender], how.connections, how.seconds)
                    used = programs[contender].cpu_seconds() - before
                    costs[contender, kind].append(used / measured.requests * 1e6)
                    runs[contender, kind].append(measured)
            check_gateway(admin, sum(m.requests for kind in script for m in runs["gateway", kind]))
        finally:
            for program in programs.values():
                program.stop()

    print(f"{how.rounds} rounds of {how.seconds} s, {how.connections} connections, {how.threads} thread(s) each, "
          f"upstream {'with' if tls else 'without'} TLS")
    show(runs, costs)
    show_ratios(runs, costs)


if __name__ == "__main__":
    main()
