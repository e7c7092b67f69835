"""What asking the policies costs: a user's typical set, asked about parameters, and the compiling of one document."""

import hmac
import json
from itertools import count
from statistics import median
from time import perf_counter
from typing import Any

from pilothouse.identity.permissions import Permissions, Source
from pilothouse.identity.policy import Ask, Verdict, parse

_ASKS = 20_000
_COMPILED = 400
_ACCOUNT = "123456789012"


def _document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def _typical() -> list[Source]:
    """Managed policies of a team, an inline policy with variables and conditions, and a boundary."""
    arn = f"arn:aws:ssm:*:{_ACCOUNT}:parameter"
    team = [
        {"Effect": "Allow", "Action": [f"ssm:{verb}Parameter*", "ssm:Describe*"], "Resource": f"{arn}/{name}/*"}
        for name in ("billing", "search", "web", "mail", "${aws:PrincipalTag/team}")
        for verb in ("Get", "Put")
    ]
    own = {
        "Effect": "Allow", "Action": "ssm:*", "Resource": f"{arn}/home/${{aws:username}}/*",
        "Condition": {"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "192.0.2.0/24"]}},
    }  # fmt: skip
    guard = {
        "Effect": "Deny", "Action": ["ssm:Delete*", "kms:*"], "Resource": "*",
        "Condition": {"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}},
    }  # fmt: skip
    return [
        Source(kind="managed", name="team", document=_document(*team)),
        Source(kind="managed", name="guard", document=_document(guard)),
        Source(kind="inline", name="own", document=_document(own)),
        Source(kind="boundary", name="b", document=_document({"Effect": "Allow", "Action": "ssm:*", "Resource": "*"})),
    ]


def _asks() -> list[Ask]:
    context = {"aws:username": "ada", "aws:SourceIp": "10.1.2.3", "aws:PrincipalTag/team": "web"}
    return [
        Ask(
            principal_arn=f"arn:aws:iam::{_ACCOUNT}:user/ada", principal_account=_ACCOUNT, principal_kind="user",
            action="ssm:GetParameter", context=context,
            resource=f"arn:aws:ssm:eu-west-1:{_ACCOUNT}:parameter/{('web', 'home/ada', 'other')[number % 3]}/{number}",
        )
        for number in range(_ASKS)
    ]  # fmt: skip


def measure(rounds: int) -> dict[str, Any]:
    """Microseconds of a decision and of compiling a document, beside one SHA-256 signature over 256 bytes."""
    permissions, number = Permissions.of(_typical()), count()
    decisions, compiled, signatures = [], [], []
    for _ in range(rounds):
        asks = _asks()
        began = perf_counter()
        found = [permissions.verdict(each) for each in asks]
        decisions.append((perf_counter() - began) / _ASKS * 1e6)
        assert found[:3] == [Verdict.ALLOW, Verdict.ALLOW, Verdict.NEUTRAL]
        team = _typical()[0].document  # a text is compiled once, so each is another one
        texts = [team.replace("billing", f"billing{next(number)}") for _ in range(_COMPILED)]
        began = perf_counter()
        for text in texts:
            parse(text, kind="identity")
        compiled.append((perf_counter() - began) / _COMPILED * 1e6)
        began = perf_counter()
        for _ in range(_ASKS):
            hmac.digest(b"k" * 32, b"x" * 256, "sha256")
        signatures.append((perf_counter() - began) / _ASKS * 1e6)
    one = median(signatures)
    return {
        "decision us": round(median(decisions), 2),
        "compiling a document us": round(median(compiled), 1),
        "signature us": round(one, 2),
        "decision of a signature": round(median(decisions) / one, 2),
        "compiling of a signature": round(median(compiled) / one, 1),
    }
