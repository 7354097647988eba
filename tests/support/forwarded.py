"""Ports of a Service on this machine, by `kubectl port-forward`: gRPC takes no HTTP proxy."""

import contextlib
import re
import subprocess


@contextlib.contextmanager
def forwarded(kubectl, namespace, service, *ports):
    """The local ports for these of a Service."""
    command = [kubectl.binary, "--kubeconfig", str(kubectl.kubeconfig), "-n", namespace]
    command += ["port-forward", f"service/{service}", *(f":{port}" for port in ports)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            found = {}
            # It says a line for each port, and ends when it cannot.
            while len(found) < len(ports) and (line := process.stdout.readline()):
                if said := re.match(r"Forwarding from 127\.0\.0\.1:(\d+) -> ", line):
                    found[ports[len(found)]] = int(said[1])
            assert len(found) == len(ports), f"{command} ended: {process.poll()}"
            yield tuple(found.values())
        finally:
            process.terminate()
