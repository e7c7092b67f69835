"""Passwords: argon2id, worked out beside the loop by few at once, and the rules of an account for them."""

import asyncio
import string
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from argon2.profiles import RFC_9106_LOW_MEMORY

from pilothouse.capabilities.access.login_model import PasswordPolicyViolationException
from pilothouse.errors import ThrottlingException
from pilothouse.runtime.metrics import THROTTLED

_HASHER: Final = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
_AT_ONCE: Final = 2
"""Each takes 64 MiB and some 50 ms of a core."""
_MOST_WAITING: Final = 40
_POOL: Final = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="password")
_waiting: Final[set[object]] = set()
"""Of this process, as the memory is."""
_SYMBOLS: Final = frozenset("!@#$%^&*()_+-=[]{}|'")
_DEFAULT_LENGTH: Final = 8
_DEFAULT_KINDS: Final = 3

T = TypeVar("T")


async def _worked(function: Callable[..., T], *given: str) -> T:
    """Raises ThrottlingException while too many wait."""
    if len(_waiting) >= _MOST_WAITING:
        THROTTLED.labels("passwords").inc()
        raise ThrottlingException("Rate exceeded")
    place = object()
    _waiting.add(place)
    try:
        return await asyncio.get_running_loop().run_in_executor(_POOL, function, *given)
    finally:
        _waiting.discard(place)


async def hashed(password: str) -> str:
    """The hash with its salt and parameters, as text. Raises ThrottlingException."""
    return await _worked(_HASHER.hash, password)


async def matches(kept: str | None, password: str) -> bool:
    """Whether the hash is the password's. Without one it takes as long, and is never so. Raises ThrottlingException."""
    right = await _worked(_verified, _nobody() if kept is None else kept, password)
    return right and kept is not None


@cache
def _nobody() -> str:
    return _HASHER.hash("of nobody")


def _verified(kept: str, password: str) -> bool:
    try:
        return _HASHER.verify(kept, password)
    except VerifyMismatchError:
        return False


def check_rules(password: str, user_name: str, rules: Mapping[str, Any] | None) -> None:
    """Hold a password to the account's rules, or where none are set to the default ones.

    Raises PasswordPolicyViolationException with the rule that it breaks.
    """
    kinds = {
        "RequireUppercaseCharacters": any(each in string.ascii_uppercase for each in password),
        "RequireLowercaseCharacters": any(each in string.ascii_lowercase for each in password),
        "RequireNumbers": any(each in string.digits for each in password),
        "RequireSymbols": any(each in _SYMBOLS for each in password),
    }
    least = _DEFAULT_LENGTH if rules is None else rules["MinimumPasswordLength"]
    if len(password) < least:
        raise _violation(f"It must have at least {least} characters.")
    if password.lower() == user_name.lower():
        raise _violation("It must not be the user's name.")
    if rules is None and sum(kinds.values()) < _DEFAULT_KINDS:
        raise _violation("It must have three of: uppercase letters, lowercase letters, numbers, symbols.")
    words = {
        "RequireUppercaseCharacters": "an uppercase letter",
        "RequireLowercaseCharacters": "a lowercase letter",
        "RequireNumbers": "a number",
        "RequireSymbols": "one of the symbols ! @ # $ % ^ & * ( ) _ + - = [ ] { } | '",
    }
    for name, there in kinds.items():
        if rules is not None and rules[name] and not there:
            raise _violation(f"It must have {words[name]}.")


def _violation(rule: str) -> PasswordPolicyViolationException:
    return PasswordPolicyViolationException(f"Password does not conform to the account password policy. {rule}")
