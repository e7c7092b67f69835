"""GetRandomPassword, and passwords as rotation makes them."""

import string
from collections.abc import Sequence
from typing import Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.secrets.model import InvalidParameterException
from pilothouse.runtime.ids import Ids

_USUAL: Final = 32
_SHORTEST: Final = 4
_TOO_SHORT: Final = "Password length is too short based on the required types."


@operation("secretsmanager", "GetRandomPassword", audited=True)
async def get_random_password(call: Call, request: Shape) -> Shape:
    """A new password. It is kept nowhere."""
    excluded = request.get("ExcludeCharacters") or ""
    kinds = {
        "ExcludeUppercase": string.ascii_uppercase,
        "ExcludeLowercase": string.ascii_lowercase,
        "ExcludeNumbers": string.digits,
        "ExcludePunctuation": string.punctuation,
    }
    alphabets = [letters for name, letters in kinds.items() if not request.get(name)]
    if request.get("IncludeSpace"):
        alphabets.insert(0, " ")
    alphabets = [left for letters in alphabets if (left := "".join(each for each in letters if each not in excluded))]
    require = request.get("RequireEachIncludedType")
    length = request.get("PasswordLength", _USUAL)
    return {"RandomPassword": password(call.ids, length, alphabets, each=require is not False)}


def password(ids: Ids, length: int, alphabets: Sequence[str], *, each: bool = True) -> str:
    """A password of letters of these alphabets; `each`: with at least one of every alphabet that there is room for.

    Raises InvalidParameterException.
    """
    if not alphabets:
        raise InvalidParameterException("All characters are excluded: there is nothing to make a password of.")
    if length < _SHORTEST or (each and length < min(len(alphabets), _SHORTEST)):
        raise InvalidParameterException(_TOO_SHORT)
    draw = _Draw(ids)
    first = [draw.one_of(letters) for letters in alphabets[:length]] if each else []
    every = "".join(alphabets)
    drawn = first + [draw.one_of(every) for _ in range(length - len(first))]
    for at in range(length - 1, 0, -1):  # so that nobody knows where the required ones stand
        other = draw.below(at + 1)
        drawn[at], drawn[other] = drawn[other], drawn[at]
    return "".join(drawn)


class _Draw:
    """Fair numbers from random bytes."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._bytes = b""

    def below(self, limit: int) -> int:
        fair = 65_536 - 65_536 % limit
        while True:
            if len(self._bytes) < 2:
                self._bytes = self._ids.random_bytes(512)
            number = int.from_bytes(self._bytes[:2])
            self._bytes = self._bytes[2:]
            if number < fair:
                return number % limit

    def one_of(self, letters: str) -> str:
        return letters[self.below(len(letters))]
