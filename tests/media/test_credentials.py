"""Content Credentials of files that are signed here, by a signer that nobody else knows."""

from __future__ import annotations

import datetime
import io
import json
import time

import pytest

from media import credentials, prepare
from media.credentials import read_credentials
from media.provenance import TRUST_ANCHORS, read_provenance

c2pa = pytest.importorskip("c2pa", reason="c2pa-python, an optional package, is not installed")
x509 = pytest.importorskip("cryptography.x509", reason="cryptography signs the test certificates")

from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402 (optional)
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402

MANIFEST = {
    "claim_generator_info": [{"name": "Testbench <b>", "version": "1.0"}],
    "title": "clip", "format": "video/mp4",
    "assertions": [{"label": "c2pa.actions", "data": {"actions": [
        {"action": "c2pa.created", "softwareAgent": "Gen\u202e 1",
         "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"},
        {"action": "c2pa.edited", "description": "cut {{7*7}}"},
        {"action": "com.example.sparkled"},
    ]}}],
}


class Authority:
    """A root certificate and one signer below it."""

    def __init__(self) -> None:
        root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        root = self._certificate("Test root", "Test root", root_key, root_key, is_root=True)
        signer = self._certificate("Signer", "Test root", key, root_key, is_root=False)
        self.root_pem = root.public_bytes(serialization.Encoding.PEM).decode()
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                    serialization.NoEncryption())
        chain = signer.public_bytes(serialization.Encoding.PEM) + self.root_pem.encode()
        self.signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", chain, private, None))

    @staticmethod
    def _certificate(subject: str, issuer: str, key, issuer_key, is_root: bool):
        now = datetime.datetime.now(datetime.timezone.utc)
        names = [x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Testbench"),
                            x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in (subject, issuer)]
        usage = x509.KeyUsage(not is_root, False, False, False, False, is_root, is_root, False, False)
        builder = (x509.CertificateBuilder().subject_name(names[0]).issuer_name(names[1])
                   .public_key(key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(now - datetime.timedelta(days=1))
                   .not_valid_after(now + datetime.timedelta(days=9))
                   .add_extension(x509.BasicConstraints(is_root, None), True).add_extension(usage, True)
                   .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
                   .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False))
        if not is_root:
            purpose = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(purpose, False)
        return builder.sign(issuer_key, hashes.SHA256())


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture(scope="module")
def signed(authority, examples_dir) -> bytes:
    builder = c2pa.Builder(json.dumps(MANIFEST))
    with open(examples_dir / "no_face.mp4", "rb") as part:
        builder.add_ingredient(json.dumps({"title": "bars.mp4", "relationship": "componentOf"}), "video/mp4", part)
    return _sign(builder, authority, examples_dir / "mouth_redrawn.mp4")


def _sign(builder, authority, source) -> bytes:
    out = io.BytesIO()
    with open(source, "rb") as file:
        builder.sign(authority.signer, "video/mp4", file, out)
    return out.getvalue()


@pytest.fixture
def write(tmp_path):
    def to_file(data: bytes):
        path = tmp_path / "clip.mp4"
        path.write_bytes(data)
        return path

    return to_file


def test_an_intact_manifest_and_an_unknown_signer_are_two_facts(write, signed):
    found = read_credentials(write(signed), "mov,mp4,m4a")
    assert (found.state, found.signer_trusted, found.failures) == ("intact", "unknown", ())
    assert found.signer == "Signer, Testbench" and "not say that what it shows is true" in found.limit


def test_a_signer_is_trusted_by_the_list_that_is_given(write, signed, authority):
    trusted = read_credentials(write(signed), "mov", authority.root_pem)
    assert (trusted.state, trusted.signer_trusted) == ("intact", "yes")
    stranger = read_credentials(write(signed), "mov", Authority().root_pem)
    assert (stranger.state, stranger.signer_trusted) == ("intact", "no")


def test_the_environment_names_the_list_of_trusted_signers(write, signed, authority, tmp_path, monkeypatch):
    path = write(signed)
    info = prepare(path).info
    assert read_provenance(path, info).credentials.signer_trusted == "unknown"
    monkeypatch.setenv(TRUST_ANCHORS, str(tmp_path / "anchors.pem"))
    (tmp_path / "anchors.pem").write_text(authority.root_pem)
    assert read_provenance(path, info).credentials.signer_trusted == "yes"


def test_one_changed_byte_breaks_them_and_the_assertion_is_named(write, signed, authority):
    changed = bytearray(signed)
    changed[-2000] ^= 1
    found = read_credentials(write(bytes(changed)), "mov", authority.root_pem)
    assert (found.state, found.signer_trusted) == ("broken", "yes")
    [failure] = found.failures
    assert failure.code == "assertion.bmffHash.mismatch" and failure.assertion.startswith("c2pa.hash.bmff")
    assert failure.words in found.message and "Innocent steps" in found.limit


def test_what_was_done_is_told_in_harmless_words(write, signed):
    found = read_credentials(write(signed), "mov")
    assert found.generator == "Testbench ‹b› 1.0"
    assert found.actions == ("created, generated by a trained model, with Gen 1", "edited, cut ((7*7))",
                             "com.example.sparkled")
    assert found.ingredients == ("contains “bars.mp4”, without credentials",)
    assert json.loads(json.dumps(found.to_json()))["actions"] == list(found.actions)


def test_none_proves_nothing(examples_dir):
    found = read_credentials(examples_dir / "mouth_redrawn.mp4", "mov")
    assert found.state == "none" and found.signer_trusted == "unknown" and "proves nothing" in found.limit


def test_an_address_is_told_but_not_called(write, authority, examples_dir):
    builder = c2pa.Builder(json.dumps(MANIFEST))
    builder.set_no_embed()
    builder.set_remote_url("http://127.0.0.1:9/manifest.c2pa")
    data = _sign(builder, authority, examples_dir / "no_face.mp4")
    assert read_credentials(write(data), "mov").state == "elsewhere"


def test_kinds_of_file_that_the_reader_does_not_know(examples_dir):
    found = read_credentials(examples_dir / "speech_only.ogg", "ogg")
    assert found.state == "unread" and "does not know this kind" in found.message


def test_damaged_manifests_raise_nothing(write, signed):
    place = signed.index(b"jumb")
    for step in range(0, 2400, 400):  # behind it lies padding
        changed = bytearray(signed)
        changed[place + step:place + step + 20] = bytes(20)
        assert read_credentials(write(bytes(changed)), "mov").state in ("broken", "unread", "none")
    assert read_credentials(write(signed[:place + 600]), "mov").state in ("broken", "unread", "none")


def test_reading_ends_after_its_time(examples_dir, monkeypatch):
    monkeypatch.setattr(credentials, "_read", lambda *_: time.sleep(2))
    begin = time.perf_counter()
    found = read_credentials(examples_dir / "mouth_redrawn.mp4", "mov", limit_s=0.1)
    assert found.state == "unread" and "longer than" in found.message and time.perf_counter() - begin < 1.5
