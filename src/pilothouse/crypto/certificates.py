"""The installation's own certificate authority and the server certificate it issues.

Made at first start; the server certificate is made again when its names change or it has less than 30 days left. An
operator can bring a certificate instead (`certificate` and `key` in the settings).
"""

import ipaddress
import socket
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pilothouse.runtime.files import alone_in, write_private

_CA_LIFE = timedelta(days=3650)
_SERVER_LIFE = timedelta(days=397)  # what TLS clients of today accept at most
_RENEW_BEFORE = timedelta(days=30)


def ensure_certificates(data: Path, names: tuple[str, ...], now: datetime) -> tuple[Path, Path]:
    """(certificate chain, key) files of the server, valid for `names`, this machine's names and loopback.

    The CA's certificate is `ca.pem` in the data directory; nodes and clients trust that.
    """
    chain, key = data / "server.pem", data / "server.key"
    wanted = _wanted_names(names)
    with alone_in(data):
        authority, authority_key = _ensure_authority(data, now)
        if not _still_good(chain, key, wanted, authority, now):
            _issue(chain, key, wanted, authority, authority_key, now)
    return chain, key


def sign_as_authority(data: Path, text: bytes) -> bytes | None:
    """The CA's ECDSA signature (SHA-256, DER) of a text; None where the data directory has no CA."""
    key_file = data / "ca.key"
    if not key_file.exists():
        return None
    key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key.sign(text, ec.ECDSA(hashes.SHA256()))


def days_left(chain: Path, now: datetime) -> int:
    """Whole days until the first certificate of the file ends."""
    return (x509.load_pem_x509_certificate(chain.read_bytes()).not_valid_after_utc - now).days


def _wanted_names(names: tuple[str, ...]) -> list[str]:
    own = {"localhost", "127.0.0.1", "::1", socket.gethostname().lower()}
    own.update(_addresses())
    return sorted(own | {name.lower() for name in names})


def _addresses() -> set[str]:
    """The addresses that this machine's own name stands for."""
    try:
        return {str(found[4][0]).partition("%")[0] for found in socket.getaddrinfo(socket.gethostname(), None)}
    except OSError:
        return set()  # a machine that does not know its own name is reached by the names in the settings


def _ensure_authority(data: Path, now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    file, key_file = data / "ca.pem", data / "ca.key"
    if file.exists() and key_file.exists():
        loaded = serialization.load_pem_private_key(key_file.read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        return x509.load_pem_x509_certificate(file.read_bytes()), loaded
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Pilothouse CA {x509.random_serial_number():x}"[:40])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_private(key_file, _pem_key(key))
    write_private(file, certificate.public_bytes(serialization.Encoding.PEM))
    return certificate, key


def _issue(
    chain: Path,
    key_file: Path,
    names: list[str],
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Pilothouse server")]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(min(now + _SERVER_LIFE, authority.not_valid_after_utc))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    write_private(key_file, _pem_key(key))
    pem = serialization.Encoding.PEM
    write_private(chain, certificate.public_bytes(pem) + authority.public_bytes(pem))


def _still_good(chain: Path, key: Path, names: list[str], authority: x509.Certificate, now: datetime) -> bool:
    if not (chain.exists() and key.exists()):
        return False
    certificate = x509.load_pem_x509_certificate(chain.read_bytes())
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    covered = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return (
        certificate.issuer == authority.subject
        and certificate.public_key() == private.public_key()
        and certificate.not_valid_after_utc - now > _RENEW_BEFORE
        and set(covered) == {_general_name(name) for name in names}
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
