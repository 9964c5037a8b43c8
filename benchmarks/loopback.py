# SPDX-License-Identifier: BSL-1.0
"""What the benchmarks that start servers share: programs on free loopback ports, each stopped at the end, and the CPU
that they have used."""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

ANSWER = "x" * 200


def find(name, packages):
    """The path of a program; without it there is nothing to measure."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if path is None:
        print(f"{name} is missing: apt-get install {packages}", file=sys.stderr)
        sys.exit(77)
    return path


def need_built(program):
    if not os.access(program, os.X_OK):
        print(f"{program} is missing: build {pathlib.Path(program).name}, or name it with an option", file=sys.stderr)
        sys.exit(77)


def fail(what):
    print(f"wrong: {what}", file=sys.stderr)
    sys.exit(1)


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


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


def make_certificate(openssl, folder):
    """`cert.pem` and `key.pem`, for localhost and 127.0.0.1; the certificate is also what is to be trusted."""
    subprocess.run([openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                    "2", "-subj", "/CN=benchmark", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout",
                    folder / "key.pem", "-out", folder / "cert.pem"], check=True, capture_output=True)
    return folder / "cert.pem"


def start_nginx(nginx, folder, name, server, log, workers=1):
    """nginx with the blocks `server` in its `http` block."""
    path = folder / f"{name}.conf"
    path.write_text(f"""
worker_processes {workers};
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
    return Program([nginx, "-p", folder, "-c", path], log)


def answering(port, tls):
    """A `server` block that answers everything with `ANSWER`."""
    with_tls = "ssl_protocols TLSv1.3; ssl_certificate cert.pem; ssl_certificate_key key.pem;" if tls else ""
    return f"""
  server {{
    listen 127.0.0.1:{port} {"ssl" if tls else ""} backlog=1024;
    {with_tls}
    location / {{ default_type application/json; return 200 '{ANSWER}'; }}
  }}"""
