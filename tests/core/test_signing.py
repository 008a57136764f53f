"""C2PA: a file signed with a certificate made by the test is valid and says c2pa.created; what cannot be is named."""

from __future__ import annotations

import datetime
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from diffused_heads import main
from diffused_heads.diffused_heads_core.assets import PORTRAITS, RECORDINGS, bundled_file
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.media import signing
from diffused_heads.diffused_heads_core.media.provenance import SYNTHETIC, read_provenance
from diffused_heads.diffused_heads_core.media.signing import Signer, check_signable
from diffused_heads.diffused_heads_core.media.video import read_video, write_video

FRAMES = np.zeros((5, 64, 64, 3), np.uint8)
USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A chain of a signer's and a root's certificate, and the signer's key. Skips without c2pa-python."""
    pytest.importorskip("c2pa", reason="the extra c2pa is not installed")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("keys")
    root, signer = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    now = datetime.datetime.now(datetime.timezone.utc)
    day, usages = datetime.timedelta(days=1), dict.fromkeys(USAGES, False)

    def certificate(name: str, key: ec.EllipticCurvePrivateKey, **allowed: bool) -> x509.Certificate:
        def named(text: str) -> x509.Name:
            attributes = x509.NameOID.COMMON_NAME, x509.NameOID.ORGANIZATION_NAME
            return x509.Name([x509.NameAttribute(attribute, text) for attribute in attributes])

        builder = x509.CertificateBuilder(named("Root"), named(name), key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - day).not_valid_after(now + day)
        extensions = [
            (x509.BasicConstraints(key is root, None), True),
            (x509.KeyUsage(**{**usages, **allowed}), True),
            (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), False),
        ]
        if key is not root:
            extensions.append((x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION]), False))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(root, hashes.SHA256())

    chain = certificate("Signer", signer, digital_signature=True), certificate("Root", root, key_cert_sign=True)
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "chain.pem").write_bytes(b"".join(part.public_bytes(pem) for part in chain))
    (folder / "key.pem").write_bytes(signer.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return folder / "chain.pem", folder / "key.pem"


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_signed_video_is_valid_and_tells_what_made_it(keys: tuple[Path, Path], tmp_path: Path, suffix: str) -> None:
    import c2pa

    path = tmp_path / f"a{suffix}"
    write_video(path, FRAMES, 25, sign=Signer(*keys).sign)
    with c2pa.Reader(str(path)) as reader:
        told = json.loads(reader.json())
    manifest = told["manifests"][told["active_manifest"]]
    actions = [a for part in manifest["assertions"] if "actions" in part["label"] for a in part["data"]["actions"]]
    assert [(a["action"], a["digitalSourceType"]) for a in actions] == [("c2pa.created", SYNTHETIC)]
    assert told["validation_state"] == "Valid" and manifest["claim_generator_info"][0]["name"] == "Diffused Heads"
    assert len(list(read_video(path).frames)) == 5 and list(tmp_path.iterdir()) == [path]
    found = read_provenance(path)
    assert "intact" in found.manifest and found.source_types == {"trainedAlgorithmicMedia": ["XMP", "tags"]}
    data = bytearray(path.read_bytes())
    data[data.index(b"mdat") + 60] ^= 1
    path.write_bytes(data)
    assert "invalid" in read_provenance(path).manifest


def test_generate_signs(keys: tuple[Path, Path], tmp_path: Path) -> None:
    arguments = [
        "--identity",
        bundled_file(PORTRAITS),
        "--audio",
        bundled_file(RECORDINGS),
        "--output",
        tmp_path / "a.mp4",
    ]
    arguments += ["--start", "0.5", "--duration", "0.2", "--steps", "1", "--c2pa-cert", keys[0], "--c2pa-key", keys[1]]
    assert main(["generate", *map(str, arguments)]) == 0
    assert "intact" in read_provenance(tmp_path / "a.mp4").manifest


def test_wrong_certificates_are_named(keys: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "text.pem").write_text("no certificate")
    for pair, said in (
        ((tmp_path / "none.pem", keys[1]), "none.pem: expected a certificate chain"),
        ((tmp_path / "text.pem", keys[1]), "text.pem: expected a certificate chain .PEM., found something else"),
        ((keys[0], tmp_path / "text.pem"), "cannot sign with them"),
    ):
        with pytest.raises(DiffusedHeadsError, match=said):
            write_video(tmp_path / "a.mp4", FRAMES, 25, sign=Signer(*pair).sign)
        assert not (tmp_path / "a.mp4").exists()


def run(tmp_path: Path, output: str, *more: str) -> int:
    arguments = [
        "--identity",
        bundled_file(PORTRAITS),
        "--audio",
        bundled_file(RECORDINGS),
        "--output",
        tmp_path / output,
    ]
    return main(["generate", *map(str, arguments), *more])


def test_without_the_package_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    assert run(tmp_path, "a.mp4", "--c2pa-cert", "a.pem", "--c2pa-key", "b.pem") == 1
    assert capsys.readouterr().err.strip() == f"diffused-heads: error: {signing.MISSING}"


def test_what_cannot_be_signed_is_named_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "a.webm", "--c2pa-cert", "a.pem", "--c2pa-key", "b.pem") == 1
    assert "C2PA has no place in such a file" in capsys.readouterr().err
    assert run(tmp_path, "a.mp4", "--c2pa-cert", "a.pem") == 1
    assert "expected both or none" in capsys.readouterr().err
    check_signable("a.MP4")


def test_the_manifest_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the package gets the manifest and both files."""
    (tmp_path / "chain.pem").write_text("chain")
    (tmp_path / "key.pem").write_text("key")
    given: list = []

    class Builder:
        def __init__(self, manifest: str):
            given.append(json.loads(manifest))

        def sign_file(self, source: Path, target: Path, signer: tuple) -> None:
            assert not target.exists() and target.suffix == source.suffix
            target.write_bytes(source.read_bytes() + b"signed")
            given.append(signer)

    package = SimpleNamespace(
        Builder=Builder, C2paSignerInfo=lambda *info: info, Signer=SimpleNamespace(from_info=lambda info: info)
    )
    monkeypatch.setitem(sys.modules, "c2pa", package)
    monkeypatch.setattr(signing, "_algorithm", lambda chain, file: b"es256")
    (tmp_path / "a.mp4").write_bytes(b"video")
    Signer(tmp_path / "chain.pem", tmp_path / "key.pem").sign(tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == b"videosigned" and given[1] == (b"es256", b"chain", b"key", None)
    assert given[0]["assertions"][0]["data"]["actions"] == [{"action": "c2pa.created", "digitalSourceType": SYNTHETIC}]
