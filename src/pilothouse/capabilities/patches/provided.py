"""The baselines that come with the installation, one default for each operating system; their owner is AWS.

Names and what they approve are those that users know (patch-manager.md, section 4). Ids are made of the names, so that
they are the same everywhere and never change.
"""

import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final

from pilothouse.capabilities.patches.model import Baseline, Filter, FilterGroup, Rule, Rules, Terms

_AT: Final = 1_764_547_200_000
"""2025-12-01, as for the provided documents."""
OWNER: Final = "aws"
"""Whom their ARNs name."""
_IMPORTANT: Final = ["Critical", "Important"]


def _rule(*filters: tuple[str, list[str]], days: int = 7, non_security: bool = False) -> Rule:
    group = FilterGroup(patch_filters=[Filter(key=key, values=values) for key, values in filters])
    return Rule(patch_filter_group=group, approve_after_days=days, enable_non_security=non_security)


def _advisories(severities: list[str]) -> list[Rule]:
    """Security notices of the severities, and all that mend faults."""
    return [
        _rule(("PRODUCT", ["*"]), ("CLASSIFICATION", ["Security"]), ("SEVERITY", severities)),
        _rule(("PRODUCT", ["*"]), ("CLASSIFICATION", ["Bugfix"])),
    ]


_APT: Final = [_rule(("PRODUCT", ["*"]), ("PRIORITY", ["*"]), days=0)]
_WINDOWS: Final = [
    _rule(
        ("PATCH_SET", ["OS"]),
        ("CLASSIFICATION", ["CriticalUpdates", "SecurityUpdates"]),
        ("MSRC_SEVERITY", _IMPORTANT),
    )
]
_ALL: Final = "Default Patch Baseline for {} Provided by AWS."

_DEFAULTS: Final[Mapping[str, tuple[str, str, list[Rule]]]] = {
    "WINDOWS": ("AWS-DefaultPatchBaseline", "Windows", _WINDOWS),
    "AMAZON_LINUX": ("AWS-AmazonLinuxDefaultPatchBaseline", "Amazon Linux", _advisories(_IMPORTANT)),
    "AMAZON_LINUX_2": ("AWS-AmazonLinux2DefaultPatchBaseline", "Amazon Linux 2", _advisories(_IMPORTANT)),
    "AMAZON_LINUX_2022": ("AWS-AmazonLinux2022DefaultPatchBaseline", "Amazon Linux 2022", _advisories(_IMPORTANT)),
    "AMAZON_LINUX_2023": ("AWS-AmazonLinux2023DefaultPatchBaseline", "Amazon Linux 2023", _advisories(_IMPORTANT)),
    "UBUNTU": ("AWS-UbuntuDefaultPatchBaseline", "Ubuntu", _APT),
    "DEBIAN": ("AWS-DebianDefaultPatchBaseline", "Debian", _APT),
    "RASPBIAN": ("AWS-DefaultRaspbianPatchBaseline", "Raspbian", _APT),
    "REDHAT_ENTERPRISE_LINUX": (
        "AWS-RedHatDefaultPatchBaseline", "Red Hat Enterprise Linux", _advisories(_IMPORTANT)
    ),
    "CENTOS": (
        "AWS-CentOSDefaultPatchBaseline", "CentOS",
        [_rule(("PRODUCT", ["*"]), ("CLASSIFICATION", ["*"]), non_security=True)],
    ),
    "ROCKY_LINUX": ("AWS-RockyLinuxDefaultPatchBaseline", "Rocky Linux", _advisories(_IMPORTANT)),
    "ALMA_LINUX": ("AWS-DefaultAlmaLinuxPatchBaseline", "AlmaLinux", _advisories(_IMPORTANT)),
    "ORACLE_LINUX": ("AWS-OracleLinuxDefaultPatchBaseline", "Oracle Linux", _advisories(["Important", "Moderate"])),
    "SUSE": (
        "AWS-SuseDefaultPatchBaseline", "SUSE",
        [_rule(("PRODUCT", ["*"]), ("CLASSIFICATION", ["Security"]), ("SEVERITY", _IMPORTANT))],
    ),
    "MACOS": (
        "AWS-MacOSDefaultPatchBaseline", "macOS", [_rule(("PRODUCT", ["*"]), ("CLASSIFICATION", ["*"]), days=0)]
    ),
}  # fmt: skip
_MORE: Final = (
    ("WINDOWS", "AWS-WindowsPredefinedPatchBaseline-OS", "Windows", _WINDOWS),
    (
        "WINDOWS", "AWS-WindowsPredefinedPatchBaseline-OS-Applications", "Windows and applications from Microsoft",
        [*_WINDOWS, _rule(("PATCH_SET", ["APPLICATION"]))],
    ),
)  # fmt: skip


def _made(operating_system: str, name: str, about: str, rules: Iterable[Rule]) -> Baseline:
    return Baseline(
        baseline_id=f"pb-{hashlib.sha256(name.encode()).hexdigest()[:17]}",
        account_id="",
        region="",
        operating_system=operating_system,
        terms=Terms(name=name, description=_ALL.format(about), approval_rules=Rules(patch_rules=list(rules))),
        created_at=_AT,
        modified_at=_AT,
    )


@cache
def provided() -> Mapping[str, Baseline]:
    """By id, in the order of their names."""
    made = [_made(system, *rest) for system, rest in _DEFAULTS.items()]
    made += [_made(*each) for each in _MORE]
    return {each.baseline_id: each for each in sorted(made, key=lambda each: each.terms.name)}


@cache
def default_for(operating_system: str) -> Baseline:
    """The one that counts until another is made the default."""
    name = _DEFAULTS[operating_system][0]
    return next(each for each in provided().values() if each.terms.name == name)


def arn_of(region: str, baseline_id: str) -> str:
    """How the API names one of them."""
    return f"arn:aws:ssm:{region}:{OWNER}:patchbaseline/{baseline_id}"
