"""TLS on a real server: `serve run` with a certificate of its own, and both protocols through its ingress."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import grpc
import httpx
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.servers import trimtab
from deployments.commands.client import Client
from deployments.errors import CallError
from deployments.oip import inference_pb2 as oip
from deployments.oip.grpc_service import SERVICE
from tests.conftest import expected_probabilities, publish_tiny
from tests.served import wait_until_said

pytestmark = [pytest.mark.ray, pytest.mark.slow]

FEATURES = np.array([[1, 2, 3, 4]], np.float32)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate for 127.0.0.1 and its private key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "trimtab")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return file


@pytest.fixture(scope="module")
def server(certificate, tmp_path_factory):
    artifact = publish_tiny(tmp_path_factory.mktemp("artifacts"))
    with trimtab(artifact, certificate=certificate) as running:
        yield running


def test_https_is_answered_and_browsers_are_told_to_come_back_by_it(server, certificate):
    entry = {"name": "features", "datatype": "FP32", "shape": [1, 4], "data": FEATURES.ravel().tolist()}
    trust = ssl.create_default_context(cafile=certificate)
    answer = httpx.post(f"{server.url}/v2/models/tiny/infer", json={"inputs": [entry]}, verify=trust)
    assert answer.status_code == 200, answer.text
    np.testing.assert_allclose(answer.json()["outputs"][0]["data"], expected_probabilities(FEATURES)[0], rtol=1e-5)
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


def test_grpc_is_answered_over_tls(server, certificate):
    tensor = oip.ModelInferRequest.InferInputTensor(name="features", datatype="FP32", shape=[1, 4])
    request = oip.ModelInferRequest(model_name="tiny", inputs=[tensor], raw_input_contents=[FEATURES.tobytes()])
    trust = grpc.ssl_channel_credentials(certificate.read_bytes())
    with grpc.secure_channel(f"127.0.0.1:{server.grpc_port}", trust) as channel:
        raw = channel.unary_unary(f"/{SERVICE}/ModelInfer")(request.SerializeToString(), timeout=10)
    (output,) = oip.ModelInferResponse.FromString(raw).raw_output_contents
    np.testing.assert_allclose(np.frombuffer(output, np.float32), expected_probabilities(FEATURES)[0], rtol=1e-5)


def test_nothing_is_answered_in_the_clear(server):
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{server.http_port}/v2/health/live")
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(f"/{SERVICE}/ServerLive")(b"", timeout=5)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_the_command_line_trusts_the_certificate_it_is_given_and_no_other(server, certificate):
    assert Client(url=server.url, certificate=certificate).get("/v2/health/ready")["ready"]
    with pytest.raises(CallError, match="certificate"):
        Client(url=server.url).get("/v2/health/ready")


def test_the_banner_names_the_address_by_https(server):
    wait_until_said(server, f"https://localhost:{server.http_port}/v2/models/tiny")
