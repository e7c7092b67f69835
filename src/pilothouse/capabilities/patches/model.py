"""Baselines and what nodes report, without any I/O: forms, rules, errors.

The members of a baseline stand in rows, snapshots and answers under their wire names, which `rename` makes of ours.
"""

import datetime
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from pilothouse.errors import ApiError, ValidationException

TAGGED_AS: Final = "PatchBaseline"
APT: Final = frozenset({"UBUNTU", "DEBIAN", "RASPBIAN"})
RPM: Final = frozenset(
    {
        "AMAZON_LINUX", "AMAZON_LINUX_2", "AMAZON_LINUX_2022", "AMAZON_LINUX_2023", "REDHAT_ENTERPRISE_LINUX", "CENTOS",
        "ROCKY_LINUX", "ALMA_LINUX", "ORACLE_LINUX",
    }
)  # fmt: skip
NOT_LINUX: Final = frozenset({"WINDOWS", "MACOS"})
_WINDOWS_KEYS: Final = ("PATCH_SET", "PRODUCT", "PRODUCT_FAMILY", "CLASSIFICATION", "MSRC_SEVERITY")
_APT_KEYS: Final = ("PRODUCT", "PRIORITY", "SECTION")
_MACOS_KEYS: Final = ("PRODUCT", "CLASSIFICATION")
_RPM_KEYS: Final = ("PRODUCT", "CLASSIFICATION", "SEVERITY")
_ID: Final = re.compile(r"(?:arn:aws[a-z-]*:ssm:([a-z0-9-]*):([a-z0-9]*):patchbaseline/)?(pb-[0-9a-f]{17})")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
STATES: Final = (
    "INSTALLED", "INSTALLED_OTHER", "INSTALLED_PENDING_REBOOT", "INSTALLED_REJECTED", "MISSING", "FAILED",
    "NOT_APPLICABLE", "AVAILABLE_SECURITY_UPDATE",
)  # fmt: skip
"""PatchComplianceDataState."""
NON_COMPLIANT: Final = frozenset({"INSTALLED_PENDING_REBOOT", "INSTALLED_REJECTED", "MISSING", "FAILED"})


class DoesNotExistException(ApiError):
    """No such baseline, or one that comes with the installation and cannot be changed."""

    def __init__(self, message: str = "Patch Baseline to be retrieved does not exist.") -> None:
        super().__init__(message)


class InvalidResourceId(ApiError):
    """The id of a baseline is malformed."""

    def __init__(self, message: str = "Invalid patch baseline ID") -> None:
        super().__init__(message)


class ResourceInUseException(ApiError):
    """The baseline is a default, or registered for a patch group."""


class AlreadyExistsException(ApiError):
    """The patch group has a baseline of this operating system already."""


class ResourceLimitExceededException(ApiError):
    """There may be no more baselines."""


class IdempotentParameterMismatch(ApiError):
    """The client token made another baseline."""


class UnsupportedOperatingSystem(ApiError):
    """The node runs something that has no baselines here."""


class InvalidFilter(ApiError):
    """A filter's key or value is none that there is."""


class Filter(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """One of the values must fit; `*` fits all."""

    key: str
    values: list[str]


class FilterGroup(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """All filters must fit."""

    patch_filters: list[Filter] = []


class Rule(msgspec.Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=False):
    """Approves what its filters fit, so many days after its release or if it was released until a date."""

    patch_filter_group: FilterGroup
    compliance_level: str = "UNSPECIFIED"
    approve_after_days: int | None = None
    approve_until_date: str | None = None
    enable_non_security: bool = False


class Rules(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The approval rules of a baseline."""

    patch_rules: list[Rule] = []


class Source(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A repository that nodes of the products use in place of their own. The configuration may hold a password."""

    name: str
    products: list[str]
    configuration: str

    def __repr__(self) -> str:
        return f"Source({self.name!r})"


class Terms(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """What a baseline says."""

    name: str
    description: str | None = None
    global_filters: FilterGroup = FilterGroup()
    approval_rules: Rules = Rules()
    approved_patches: list[str] = []
    approved_patches_compliance_level: str = "UNSPECIFIED"
    approved_patches_enable_non_security: bool = False
    rejected_patches: list[str] = []
    rejected_patches_action: str = "ALLOW_AS_DEPENDENCY"
    sources: list[Source] = []
    available_security_updates_compliance_status: str | None = None


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """A baseline of an account, or one that comes with the installation (account_id is empty)."""

    baseline_id: str
    account_id: str
    region: str
    operating_system: str
    terms: Terms
    created_at: int
    modified_at: int
    client_token: str = ""
    digest: str = ""


def terms_of(said: Any, before: Terms | None = None) -> Terms:
    """A request's members as terms; those that it leaves out are as before. Raises ValidationException."""
    given = {name: value for name, value in said.items() if value is not None and name in _NAMES}
    if before is not None:
        given = {**msgspec.to_builtins(before), **given}
    return msgspec.convert({name: value for name, value in given.items() if value is not None}, Terms)


_NAMES: Final = frozenset(each.encode_name for each in msgspec.structs.fields(Terms))


def told(terms: Any) -> Any:
    """Terms, or a part of them, under wire names; members that were not given are not there."""
    return _without_none(msgspec.to_builtins(terms))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_none(each) for name, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_none(each) for each in value]
    return value


def check(operating_system: str, terms: Terms) -> None:
    """Raises ValidationException for what a baseline of the operating system cannot say."""
    keys = _keys(operating_system)
    linux = operating_system not in NOT_LINUX
    for group in (terms.global_filters, *(each.patch_filter_group for each in terms.approval_rules.patch_rules)):
        _check_filters(group, keys, operating_system)
    for rule in terms.approval_rules.patch_rules:
        _check_rule(rule, operating_system)
    if not linux and terms.sources:
        raise ValidationException(f"Sources can be given for Linux only, not for {operating_system}.")
    if operating_system == "WINDOWS" and terms.approved_patches_enable_non_security:
        raise ValidationException("ApprovedPatchesEnableNonSecurity can be given for Linux only.")
    if terms.available_security_updates_compliance_status is not None and operating_system != "WINDOWS":
        raise ValidationException("AvailableSecurityUpdatesComplianceStatus can be given for WINDOWS only.")
    names = [each.name for each in terms.sources]
    if len(set(names)) != len(names):
        raise ValidationException("Each source needs a name of its own.")


def _keys(operating_system: str) -> tuple[str, ...]:
    if operating_system == "WINDOWS":
        return _WINDOWS_KEYS
    if operating_system == "MACOS":
        return _MACOS_KEYS
    return _APT_KEYS if operating_system in APT else _RPM_KEYS


def _check_filters(group: FilterGroup, keys: Sequence[str], operating_system: str) -> None:
    seen = set()
    for each in group.patch_filters:
        if each.key not in keys:
            known = ", ".join(keys)
            raise ValidationException(f"{each.key} is no filter for {operating_system}. There are: {known}.")
        if each.key in seen:
            raise ValidationException(f"The filter {each.key} is given twice.")
        seen.add(each.key)


def _check_rule(rule: Rule, operating_system: str) -> None:
    if rule.approve_after_days is not None and rule.approve_until_date is not None:
        raise ValidationException("A rule has either ApproveAfterDays or ApproveUntilDate, and not both.")
    if rule.approve_after_days is None and rule.approve_until_date is None and operating_system not in APT:
        raise ValidationException("A rule needs ApproveAfterDays or ApproveUntilDate.")
    if rule.enable_non_security and operating_system in NOT_LINUX:
        raise ValidationException("EnableNonSecurity can be given for Linux only.")
    if rule.approve_until_date is not None:
        try:
            if not _DATE.fullmatch(rule.approve_until_date):
                raise ValueError
            datetime.date.fromisoformat(rule.approve_until_date)
        except ValueError as error:
            raise ValidationException(
                f"ApproveUntilDate must be a date in the form YYYY-MM-DD, not {rule.approve_until_date!r}."
            ) from error


def id_of(asked: str) -> str:
    """The bare id in an id or ARN. Raises InvalidResourceId."""
    return parts_of(asked)[1]


def parts_of(asked: str) -> tuple[tuple[str, str] | None, str]:
    """((region, owner) of an ARN, the bare id). Raises InvalidResourceId."""
    found = _ID.fullmatch(asked)
    if found is None:
        raise InvalidResourceId
    return (None if found[1] is None else (found[1], found[2])), found[3]


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What a node last reported of itself as a whole (AWS:PatchSummary)."""

    node_id: str
    patch_group: str
    baseline_id: str
    snapshot_id: str
    operation: str
    started_at: int
    ended_at: int
    counts: dict[str, int]
    """By state."""
    critical: int = 0
    """Patches that are not compliant and whose level is CRITICAL."""
    security: int = 0
    """The same of other levels, whose classification is Security."""
    other: int = 0
    not_applicable_unreported: int = 0
    override_list: str = ""
    owner_information: str = ""
    reboot_option: str = ""
    no_reboot_at: int | None = None
    """When patches were last installed without a reboot, epoch milliseconds."""


class NodePatch(msgspec.Struct, frozen=True, kw_only=True):
    """A patch as a node reported it (AWS:PatchCompliance)."""

    patch_id: str
    title: str
    classification: str
    severity: str
    state: str
    level: str
    """Compliance level of the rule that speaks of it."""
    installed_at: int
    """Epoch milliseconds, 0 if it is not installed or nobody knows."""
    cves: str

    @property
    def compliant(self) -> bool:
        return self.state not in NON_COMPLIANT


def counted(patches: Sequence[NodePatch]) -> tuple[dict[str, int], int, int, int]:
    """How many there are in each state; and of what is not compliant: critical, security, other."""
    counts = dict.fromkeys(STATES, 0)
    critical = security = other = 0
    for each in patches:
        counts[each.state] += 1
        if each.compliant:
            continue
        if each.level == "CRITICAL":
            critical += 1
        elif each.classification == "Security":
            security += 1
        else:
            other += 1
    return counts, critical, security, other


_SYSTEMS: Final = (
    ("ubuntu", "UBUNTU", "Ubuntu"),
    ("raspbian", "RASPBIAN", "Raspbian"),
    ("debian", "DEBIAN", "Debian"),
    ("red hat", "REDHAT_ENTERPRISE_LINUX", "RedhatEnterpriseLinux"),
    ("centos", "CENTOS", "CentOS"),
    ("rocky", "ROCKY_LINUX", "RockyLinux"),
    ("almalinux", "ALMA_LINUX", "AlmaLinux"),
    ("oracle", "ORACLE_LINUX", "OracleLinux"),
    ("sles", "SUSE", "Suse"),
    ("suse", "SUSE", "Suse"),
)
_AMAZON: Final = {"2": "AMAZON_LINUX_2", "2022": "AMAZON_LINUX_2022", "2023": "AMAZON_LINUX_2023"}


def system_of(platform_name: str | None, platform_version: str | None) -> tuple[str, str]:
    """The operating system and the product, as filters name them, of a node. Raises UnsupportedOperatingSystem."""
    name, version = (platform_name or "").lower(), platform_version or ""
    if "amazon linux" in name:
        system = _AMAZON.get(version.partition(".")[0], "AMAZON_LINUX")
        return system, f"AmazonLinux{version if system == 'AMAZON_LINUX' else version.partition('.')[0]}"
    for word, system, product in _SYSTEMS:
        if word in name:
            whole = system in ("DEBIAN", "RASPBIAN")
            return system, product + (version.partition(".")[0] if whole else version)
    raise UnsupportedOperatingSystem(
        f"There are no baselines for nodes that run {platform_name or 'an unknown operating system'}."
    )
