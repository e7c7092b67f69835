"""Codes of virtual devices: TOTP (RFC 6238) as all their programs make it, six digits of SHA-1 in steps of 30 s."""

import hmac
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

STEP: Final = 30
_WINDOW: Final = 1
"""Steps that a code may be early or late: people type slowly."""
_SEARCH: Final = 20
"""Steps that the clock of a device may be off when two codes in a row show it."""


def step_at(now_ms: int) -> int:
    """The step of a moment."""
    return now_ms // 1000 // STEP


def code_of(seed: bytes, step: int) -> str:
    """The code of a step."""
    return TOTP(seed, 6, SHA1(), STEP, enforce_key_length=False).generate(step * STEP).decode()  # noqa: S303 - as RFC 6238


def step_of_code(seed: bytes, code: str, around: int, after: int) -> int | None:
    """The step that the code is of, near a step and above another one; None: of none."""
    for step in range(max(around - _WINDOW, after + 1, 0), around + _WINDOW + 1):
        if hmac.compare_digest(code_of(seed, step), code):
            return step
    return None


def step_of_two(seed: bytes, first: str, second: str, around: int) -> int | None:
    """The step of the second of two codes in a row; None: they are not."""
    for step in range(max(around - _SEARCH, 1), around + _SEARCH + 1):
        if hmac.compare_digest(code_of(seed, step - 1), first) and hmac.compare_digest(code_of(seed, step), second):
            return step
    return None
