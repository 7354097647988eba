"""Self-signed certificates for loopback, made by openssl."""

import subprocess
from pathlib import Path


def make_certificate(folder: Path, name: str = "tls", common_name: str = "localhost") -> Path:
    """Write NAME.crt and NAME.key into a folder; gives the certificate."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate = folder / f"{name}.crt"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", f"/CN={common_name}"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command += ["-keyout", str(certificate.with_suffix(".key")), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate
