"""The node's RSA key pair. Loaded and used in short-lived children: the library would double the agent's memory."""

import base64
from pathlib import Path

from pilothouse_agent import processes


def generate() -> tuple[bytes, str]:
    """A new 2048-bit key pair: the private key as PEM, the public key as base64 of its SubjectPublicKeyInfo."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private, base64.b64encode(public).decode()


async def sign(key_file: Path, text: bytes) -> bytes:
    """RSASSA-PSS, SHA-256, salt of 32 bytes. Raises processes.ChildFailed."""
    return await processes.in_child(lambda: _sign(key_file, text))


def _sign(key_file: Path, text: bytes) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(key_file.read_bytes(), password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError(f"{key_file} holds no RSA key")
    return key.sign(text, padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32), hashes.SHA256())
