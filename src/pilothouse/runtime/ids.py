"""Ids and randomness, all from the operating system's generator."""

import secrets
import string

_CODE_ALPHABET = string.ascii_letters + string.digits
_KEY_ALPHABET = string.ascii_uppercase + "234567"
_DRAWN = 256


class Ids:
    """Makes every id and secret of the installation. Tests may subclass it to know them beforehand."""

    def __init__(self) -> None:
        self._drawn: list[str] = []

    def uuid(self) -> str:
        """A random UUID in its 36-character form: command ids, activation ids, request ids. No secret.

        Randomness is drawn for many at once: a system call for each would cost more than all the rest of it.
        """
        if not self._drawn:
            drawn = secrets.token_hex(16 * _DRAWN)
            self._drawn = [drawn[start : start + 32] for start in range(0, len(drawn), 32)]
        digits = self._drawn.pop()
        variant = "89ab"[int(digits[16], 16) & 3]
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"

    def node_id(self) -> str:
        """`mi-` and 17 hex digits."""
        return f"mi-{secrets.token_hex(9)[:17]}"

    def access_key_id(self, prefix: str = "AKIA") -> str:
        """`AKIA` (long-lived) or `ASIA` (temporary) and 16 characters."""
        return prefix + "".join(secrets.choice(_KEY_ALPHABET) for _ in range(16))

    def unique_id(self, prefix: str) -> str:
        """`AIDA` (users) and 17 characters; never given twice."""
        return prefix + "".join(secrets.choice(_KEY_ALPHABET) for _ in range(17))

    def secret_key(self) -> str:
        """40 characters."""
        return secrets.token_urlsafe(30)

    def activation_code(self) -> str:
        """20 letters and digits; the official agent refuses shorter ones before sending."""
        return "".join(secrets.choice(_CODE_ALPHABET) for _ in range(20))

    def account_id(self) -> str:
        """12 digits, the first not zero."""
        return str(secrets.randbelow(900_000_000_000) + 100_000_000_000)

    def random_bytes(self, count: int) -> bytes:
        """Raw randomness for nonces and keys."""
        return secrets.token_bytes(count)
