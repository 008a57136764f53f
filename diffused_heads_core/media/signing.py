"""C2PA: a signed manifest of a finished file, with the user's own certificate (optional package c2pa-python)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import ModuleType

from ..errors import DiffusedHeadsError
from ..files import atomic_path, readable_file
from .provenance import SYNTHETIC

SIGNABLE = (".mp4", ".mov", ".png", ".webp", ".gif")  # of what this program writes
MISSING = "signing needs the package c2pa-python: pip install 'diffused-heads[c2pa]'"


class Signer:
    """Signs files with a certificate chain (PEM, the signer's first) and its private key (PEM, without password).

    Raises DiffusedHeadsError if the package is missing, or if a file is missing or of another kind.
    """

    def __init__(self, certificate: str | os.PathLike[str], key: str | os.PathLike[str]):
        c2pa = _package()
        chain = readable_file(certificate, "a certificate chain (PEM)").read_bytes()
        private = readable_file(key, "a private key (PEM)").read_bytes()
        try:
            info = c2pa.C2paSignerInfo(_algorithm(chain, Path(certificate)), chain, private, None)
            self._signer = c2pa.Signer.from_info(info)
        except DiffusedHeadsError:
            raise
        except Exception as error:  # C2paError is one of many
            raise DiffusedHeadsError(f"{certificate} and {key}: cannot sign with them ({error})") from error

    def sign(self, path: Path) -> None:
        """Put a signed manifest into a file of SIGNABLE: it was created by a trained model, today.

        Raises DiffusedHeadsError if the file cannot be signed.
        """
        manifest = {
            "claim_generator_info": [{"name": "Diffused Heads"}],
            "assertions": [
                {
                    "label": "c2pa.actions",
                    "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": SYNTHETIC}]},
                }
            ],
        }
        with atomic_path(path) as signed:
            signed.unlink()  # the package refuses a file that exists
            try:
                _package().Builder(json.dumps(manifest)).sign_file(path, signed, self._signer)
            except Exception as error:
                raise DiffusedHeadsError(f"{path}: cannot sign it ({error})") from error


def check_signable(path: str | os.PathLike[str]) -> None:
    """Raise DiffusedHeadsError if C2PA has no place in files of this name."""
    if Path(path).suffix.lower() not in SIGNABLE:
        raise DiffusedHeadsError(f"{path}: C2PA has no place in such a file, expected {', '.join(SIGNABLE)}")


def _package() -> ModuleType:
    try:
        import c2pa
    except ImportError as error:
        raise DiffusedHeadsError(MISSING) from error
    return c2pa


def _algorithm(chain: bytes, file: Path) -> bytes:
    """C2PA's name of the algorithm that a certificate's key signs with."""
    from cryptography import x509  # comes with c2pa-python
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    try:
        key = x509.load_pem_x509_certificates(chain)[0].public_key()
    except ValueError as error:
        raise DiffusedHeadsError(f"{file}: expected a certificate chain (PEM), found something else") from error
    if isinstance(key, ec.EllipticCurvePublicKey):
        return {256: b"es256", 384: b"es384", 521: b"es512"}.get(key.curve.key_size, b"es256")
    if isinstance(key, ed25519.Ed25519PublicKey):
        return b"ed25519"
    if isinstance(key, rsa.RSAPublicKey):
        return b"ps256"
    raise DiffusedHeadsError(f"{file}: expected an EC, RSA or Ed25519 key, found {type(key).__name__}")
