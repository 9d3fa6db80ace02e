"""Make keys that sign tokens, and tell of each what anybody may know: its public part as a JWK (RFC 7517)."""

import base64
import enum
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from cath_dagster.core.errors import MaintenanceError

Jwk = dict[str, str]
PUBLIC_MEMBERS: Final = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}
"""By type what makes a key of it, in the order in which RFC 7638 hashes them. `oct` is no public key."""
SECRET_BYTES: Final = 48
_COORDINATE: Final = 32


class Algorithm(enum.StrEnum):
    ES256 = "ES256"
    EDDSA = "EdDSA"
    HS256 = "HS256"


class UnusableKeyError(MaintenanceError):
    """A signing key is none of its algorithm; the message says nothing of its content."""


@dataclass(frozen=True)
class SigningKey:
    """A key that signs. `secret` is PKCS#8 text, or for HS256 the secret that both sides share."""

    kid: str
    algorithm: Algorithm
    secret: str = field(repr=False)


def make_key(algorithm: Algorithm) -> SigningKey:
    """Return a new key; its `kid` is the thumbprint of its public part (RFC 7638), of one without such it is random."""
    if algorithm is Algorithm.HS256:
        # A hash of a shared secret would be a hint at it.
        return SigningKey(secrets.token_urlsafe(32), algorithm, secrets.token_urlsafe(SECRET_BYTES))
    private = generate_private_key(SECP256R1()) if algorithm is Algorithm.ES256 else Ed25519PrivateKey.generate()
    text = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return SigningKey(thumbprint(_public_part(private)), algorithm, text)


def public_jwk(kid: str, algorithm: str, secret: str) -> Jwk | None:
    """Return what anybody may know of a key, None for HS256, of which that is nothing.

    Raises `UnusableKeyError`.
    """
    if algorithm == Algorithm.HS256:
        return None
    if algorithm not in (Algorithm.ES256, Algorithm.EDDSA):
        raise UnusableKeyError(f"{kid} is for {algorithm}; {', '.join(Algorithm)} are known here")
    try:
        private = load_pem_private_key(secret.encode(), password=None)
    except (ValueError, TypeError):
        raise UnusableKeyError(f"{kid} is no private key in PKCS#8") from None
    expected = EllipticCurvePrivateKey if algorithm == Algorithm.ES256 else Ed25519PrivateKey
    if not isinstance(private, (EllipticCurvePrivateKey, Ed25519PrivateKey)) or not isinstance(private, expected):
        raise UnusableKeyError(f"{kid} is for {algorithm}, and no key of that kind")
    return {**_public_part(private), "kid": kid, "use": "sig", "alg": algorithm}


def thumbprint(jwk: Mapping[str, str]) -> str:
    """Return a public key's thumbprint, RFC 7638."""
    members = {name: jwk[name] for name in PUBLIC_MEMBERS[jwk["kty"]]}
    return _base64url(hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest())


def _public_part(private: EllipticCurvePrivateKey | Ed25519PrivateKey) -> Jwk:
    if isinstance(private, Ed25519PrivateKey):
        raw = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return {"kty": "OKP", "crv": "Ed25519", "x": _base64url(raw)}
    if not isinstance(private.curve, SECP256R1):
        raise UnusableKeyError(f"a key on the curve {private.curve.name}; ES256 has P-256")
    numbers = private.public_key().public_numbers()
    x, y = (_base64url(number.to_bytes(_COORDINATE, "big")) for number in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
