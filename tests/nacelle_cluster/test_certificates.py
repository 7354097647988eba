"""A cluster's certificates, made and checked by the real openssl."""

import base64
import subprocess
from pathlib import Path

import pytest
import yaml

from nacelle_cluster.certificates import make_certificates, wanted
from nacelle_cluster.spec import ClusterSpec


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    spec = ClusterSpec("test", 7, tmp_path_factory.mktemp("home"))
    make_certificates(spec)
    return spec


def openssl(*words: str | Path) -> str:
    done = subprocess.run(
        ["openssl", *map(str, words)], capture_output=True, text=True, check=True, timeout=20
    )
    return done.stdout


def test_every_certificate_is_signed_by_the_authority_for_its_purpose(spec):
    for certificate in wanted(spec):
        purpose = "sslserver" if certificate.usage == "serverAuth" else "sslclient"
        file = spec.certificates / f"{certificate.name}.crt"
        said = openssl("verify", "-purpose", purpose, "-CAfile", spec.certificates / "ca.crt", file)
        assert said.strip().endswith("OK")


def test_the_api_server_answers_to_all_its_addresses(spec):
    text = openssl(
        "x509", "-noout", "-ext", "subjectAltName", "-in", spec.certificates / "apiserver.crt"
    )
    for name in (spec.node_ip, spec.api_ip, "kubernetes.default.svc", "localhost"):
        assert name in text


def test_a_kubeconfig_holds_a_pair_that_fits(spec):
    document = yaml.safe_load(spec.kubeconfig.read_text())
    assert document["clusters"][0]["cluster"]["server"] == "https://10.245.7.2:6443"
    user = document["users"][0]["user"]
    certificate = base64.b64decode(user["client-certificate-data"])
    assert certificate == (spec.certificates / "admin.crt").read_bytes()
    assert (
        base64.b64decode(user["client-key-data"]) == (spec.certificates / "admin.key").read_bytes()
    )


def test_only_the_owner_may_look_into_the_folder(spec):
    assert spec.certificates.stat().st_mode & 0o077 == 0
