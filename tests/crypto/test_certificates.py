"""The installation's CA and the certificate it issues."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from pilothouse.crypto.certificates import days_left, ensure_certificates

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def _names(chain: Path) -> set[str]:
    certificate = x509.load_pem_x509_certificate(chain.read_bytes())
    covered = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in covered}


def test_covers_loopback_and_the_names_asked_for(tmp_path: Path) -> None:
    chain, key = ensure_certificates(tmp_path, ("ssm.eu-1.example.test", "192.0.2.7"), NOW)
    assert {"localhost", "127.0.0.1", "::1", "ssm.eu-1.example.test", "192.0.2.7"} <= _names(chain)
    assert key.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "ca.key").stat().st_mode & 0o777 == 0o600


def test_issued_by_the_authority(tmp_path: Path) -> None:
    chain, _ = ensure_certificates(tmp_path, (), NOW)
    authority = x509.load_pem_x509_certificate((tmp_path / "ca.pem").read_bytes())
    x509.load_pem_x509_certificate(chain.read_bytes()).verify_directly_issued_by(authority)


def test_kept_while_good_made_again_when_names_change_or_it_nears_its_end(tmp_path: Path) -> None:
    chain, _ = ensure_certificates(tmp_path, (), NOW)
    first, authority = chain.read_bytes(), (tmp_path / "ca.pem").read_bytes()
    ensure_certificates(tmp_path, (), NOW + timedelta(days=100))
    assert chain.read_bytes() == first
    ensure_certificates(tmp_path, ("new.example.test",), NOW)
    second = chain.read_bytes()
    assert second != first
    ensure_certificates(tmp_path, ("new.example.test",), NOW + timedelta(days=380))
    assert chain.read_bytes() != second
    assert (tmp_path / "ca.pem").read_bytes() == authority
    assert days_left(chain, NOW + timedelta(days=380)) > 300


def test_an_address_is_an_address(tmp_path: Path) -> None:
    chain, _ = ensure_certificates(tmp_path, ("2001:db8::1",), NOW)
    certificate = x509.load_pem_x509_certificate(chain.read_bytes())
    covered = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert ipaddress.ip_address("2001:db8::1") in covered.get_values_for_type(x509.IPAddress)
