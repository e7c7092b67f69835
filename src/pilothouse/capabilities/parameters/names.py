"""Names of parameters: which may be made, which may be asked for, and what one spelling means.

`/x` and `x` are one parameter. Its `path` is the name without the leading slash, and ends its ARN.
Source of the rules and texts: Parameter Store's name requirements.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple

from pilothouse.capabilities.parameters.model import HierarchyLevelLimitExceededException, ParameterNotFound
from pilothouse.errors import AccessDeniedException, ValidationException

LEVELS: Final = 15
ARN_LENGTH: Final = 1011
SECRETS: Final = "/aws/reference/secretsmanager/"
PUBLIC: Final = "aws/service/"
"""How the paths of public parameters begin."""

_FORM: Final = re.compile(r"/?[A-Za-z0-9_.-]+|(?:/[A-Za-z0-9_.-]+){2,}")
_PATH_FORM: Final = re.compile(r"/|(?:/[A-Za-z0-9_.-]+)+/?")
_RESERVED: Final = ("aws", "ssm")
_ARN: Final = re.compile(r"arn:aws:ssm:([a-z0-9-]*):(\d{12}|):parameter/(.+)", re.DOTALL)

_RESERVED_NAME: Final = 'Parameter name: can\'t be prefixed with "aws" or "ssm" (case-insensitive).'
_MALFORMED: Final = (
    'Parameter name: can\'t be prefixed with "ssm" (case-insensitive). If formed as a path, it can consist of '
    "sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the following "
    "3 symbols .-_"
)
_MALFORMED_PATH: Final = (
    "The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward slash "
    '"/". It can\'t be prefixed with "aws" or "ssm" (case-insensitive). It must use only letters, numbers, or the '
    "following symbols: . (period), - (hyphen), _ (underscore). Special characters are not allowed. All sub-paths, if "
    'specified, must use the forward slash symbol "/". Valid example: /get/parameters2-/by1./path0_.'
)


class Name(NamedTuple):
    """A well-formed name: as written (trimmed), and the path that identifies the parameter."""

    text: str
    path: str


class Asked(NamedTuple):
    """What a Get operation asks for. `name` is echoed; None (asked by ARN) means the name as created."""

    path: str
    name: str | None
    selector: str | None


class Hierarchy(NamedTuple):
    """Which part of the tree a list walks: every path with a prefix, or the children of one parent.

    Every character of a path lies between `-` and `z`, hence the bounds `!` and `~`.
    """

    prefix: str = ""
    parent: str | None = None

    def start(self, after: str) -> str:
        """The lowest path that may come after `after` (empty: from the beginning)."""
        return max(self.prefix, f"{after}!") if after else self.prefix

    @property
    def end(self) -> str:
        """A text above every path with the prefix."""
        return f"{self.prefix}~"


def below(path: str, *, recursive: bool) -> Hierarchy:
    """The descendants or the children of a path; the root's path is empty."""
    if not recursive:
        return Hierarchy(parent=path)
    return Hierarchy(prefix=f"{path}/" if path else "")


def arn(account_id: str, region: str, path: str) -> str:
    """`arn:aws:ssm:REGION:ACCOUNT:parameter/PATH`; public parameters have no account in theirs."""
    if path.startswith(PUBLIC):
        account_id = ""
    return f"arn:aws:ssm:{region}:{account_id}:parameter/{path}"


def parent(path: str) -> str:
    """The path one level up; empty for a root parameter."""
    return path.rpartition("/")[0]


def plain_name(text: str) -> Name:
    """A name without selector or ARN, as deletes, labels and tags take it. Raises ValidationException."""
    text = text.strip()
    if not _FORM.fullmatch(text):
        raise ValidationException(_MALFORMED)
    return Name(text, text.removeprefix("/"))


def check_not_reserved(text: str) -> None:
    """Raises AccessDeniedException for a path in the provider's namespace: nobody may change parameters there."""
    text = text.strip()
    if text.lower().startswith("/aws") and "/" in text[1:]:
        raise AccessDeniedException(f"No access to reserved parameter name: {text}.")


def new_name(text: str, account_id: str, region: str) -> Name:
    """A name that a parameter may be put under.

    Raises ValidationException, AccessDeniedException, HierarchyLevelLimitExceededException.
    """
    text = text.strip()
    check_not_reserved(text)
    if "/" not in text[1:] and text.removeprefix("/").lower().startswith(_RESERVED):
        raise ValidationException(_RESERVED_NAME)
    name = plain_name(text)
    if name.path.lower().startswith(_RESERVED):
        raise ValidationException(_MALFORMED)
    if name.path.count("/") >= LEVELS:
        raise HierarchyLevelLimitExceededException(
            f"A hierarchy can have a maximum of {LEVELS} levels. The name {text} has {name.path.count('/') + 1}."
        )
    if len(arn(account_id, region, name.path)) > ARN_LENGTH:
        raise ValidationException(
            f"Parameter name: the name together with its ARN prefix can't be longer than {ARN_LENGTH} characters."
        )
    return name


@lru_cache(maxsize=8192)
def asked(text: str, account_id: str, region: str) -> Asked:
    """Read a name or ARN with an optional `:version` or `:label`.

    Raises ValidationException for a malformed name, ParameterNotFound for more than one selector and for an ARN of
    another account, region or kind.
    """
    name = text.strip()
    by_arn = name.startswith("arn:") and name.count(":") >= 5
    if by_arn:
        match = _ARN.fullmatch(name)
        if match is None or match[1] != region:
            raise ParameterNotFound.named(text)
        if match[2] != ("" if match[3].startswith(PUBLIC) else account_id):
            raise ParameterNotFound.named(text)
        name = f"/{match[3]}"
    name, *selectors = name.split(":")
    plain = plain_name(name)
    if len(selectors) > 1 or selectors == [""]:
        raise ParameterNotFound.named(text)
    return Asked(plain.path, None if by_arn else plain.text, selectors[0] if selectors else None)


def check_path(text: str) -> str:
    """The `path` of a hierarchy, empty for the root. A slash at its end is allowed. Raises ValidationException."""
    if not _PATH_FORM.fullmatch(text):
        raise ValidationException(_MALFORMED_PATH)
    return text.strip("/")


def is_reserved_path(path: str) -> bool:
    """Whether a hierarchy lies in the provider's namespace."""
    return path.lower().startswith(_RESERVED)


def is_secret_reference(text: str) -> bool:
    """Whether the name asks for a secret instead of a parameter."""
    return text.startswith(SECRETS)


def resource(account_id: str, region: str, text: str) -> str:
    """The ARN that policies are asked about for a name, ARN or path as it stands in a request, well-formed or not.

    A reference to a secret is asked about as the parameter of its name, without the selector.
    """
    text = text.strip()
    if text.startswith("arn:"):
        return ":".join(text.split(":", 6)[:6])
    return arn(account_id, region, text.partition(":")[0].removeprefix("/").removesuffix("/"))
