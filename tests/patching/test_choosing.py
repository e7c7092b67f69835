"""How a baseline judges a patch: the table of patch-manager.md, section 6, and what holds for all baselines."""

import datetime
import os
import shutil
import subprocess
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse_patching import rpm
from pilothouse_patching.apt import policies
from pilothouse_patching.asking import Refused, override_list
from pilothouse_patching.choosing import Patch, judge, overridden
from pilothouse_patching.reporting import planned

TODAY = datetime.date(2026, 11, 30)


def _seconds(year: int, month: int, day: int) -> int:
    return int(datetime.datetime(year, month, day, 12, tzinfo=datetime.UTC).timestamp())


NOTICE = Patch(
    "openssl", "x86_64", "1:3.0.1-5.el9", "1:3.0.1-4.el9", classification="Security", severity="Important",
    released=_seconds(2026, 11, 27), security=True, advisories=("RHSA-2026:17",), cves=("CVE-2026-1",),
    bugzillas=("2040",),
)  # fmt: skip
PLAIN = Patch("vim", "x86_64", "9.0-2.el9", "9.0-1.el9", released=_seconds(2026, 11, 1))
DEB = Patch("openssl", "amd64", "3.0.2", "3.0.1", priority="important", section="contrib/utils", security=True)


def baseline(*rules: dict[str, Any], system: str = "REDHAT_ENTERPRISE_LINUX", **members: Any) -> dict[str, Any]:
    return {"OperatingSystem": system, "ApprovalRules": {"PatchRules": list(rules)}, **members}


def rule(days: int | None = 0, non_security: bool = False, until: str | None = None, **filters: list[str]) -> Any:
    group = {"PatchFilters": [{"Key": key, "Values": values} for key, values in filters.items()]}
    found = {"PatchFilterGroup": group, "ComplianceLevel": "HIGH", "EnableNonSecurity": non_security}
    return found | ({"ApproveUntilDate": until} if until else {"ApproveAfterDays": days})


@pytest.mark.parametrize(
    ("said", "patch", "approved"),
    [
        (baseline(rule(7)), NOTICE, False),
        (baseline(rule(3)), NOTICE, True),
        (baseline(rule(4)), NOTICE, False),
        (baseline(rule(until="2026-11-27")), NOTICE, True),
        (baseline(rule(until="2026-11-26")), NOTICE, False),
        (baseline(rule(CLASSIFICATION=["Security"], SEVERITY=["Critical", "Important"])), NOTICE, True),
        (baseline(rule(CLASSIFICATION=["Security"], SEVERITY=["Low"])), NOTICE, False),
        (baseline(rule(CLASSIFICATION=["Bugfix"]), rule(SEVERITY=["Important"])), NOTICE, True),
        (baseline(rule(PRODUCT=["RedhatEnterpriseLinux9.*"])), NOTICE, True),
        (baseline(rule(PRODUCT=["RedhatEnterpriseLinux9.1"])), NOTICE, False),
        (baseline(rule(PRODUCT=["*"])), NOTICE, True),
        (baseline(rule(), GlobalFilters={"PatchFilters": [{"Key": "SEVERITY", "Values": ["Low"]}]}), NOTICE, False),
        (baseline(rule()), PLAIN, False),
        (baseline(rule(non_security=True)), PLAIN, True),
        (baseline(rule(non_security=True, CLASSIFICATION=["Security"])), PLAIN, True),
        (baseline(rule(60, non_security=True)), PLAIN, False),
        (baseline(ApprovedPatches=["vim-9.0-2.el9.x86_64"]), PLAIN, False),
        (baseline(ApprovedPatches=["vim-9.0-2.el9.x86_64"], ApprovedPatchesEnableNonSecurity=True), PLAIN, True),
        (baseline(ApprovedPatches=["RHSA-2026:17"]), NOTICE, True),
        (baseline(ApprovedPatches=["CVE-2026-1"]), NOTICE, True),
        (baseline(ApprovedPatches=["2040"]), NOTICE, True),
        (baseline(ApprovedPatches=["openssl-3.0.1-*.el9.x86_64"]), NOTICE, True),
        (baseline(ApprovedPatches=["openssl-3.0.2-*"]), NOTICE, False),
        (baseline(rule(), RejectedPatches=["openssl-*"]), NOTICE, False),
        (baseline(ApprovedPatches=["RHSA-2026:17"], RejectedPatches=["CVE-2026-1"]), NOTICE, False),
        (baseline(rule(360), system="DEBIAN"), DEB, True),
        (baseline(rule(PRIORITY=["Important"]), system="DEBIAN"), DEB, True),
        (baseline(rule(PRIORITY=["Required"]), system="DEBIAN"), DEB, False),
        (baseline(rule(SECTION=["utils"]), system="DEBIAN"), DEB, True),
        (baseline(rule(), system="DEBIAN"), DEB._replace(security=False), False),
        (baseline(rule(non_security=True), system="DEBIAN"), DEB._replace(security=False), True),
        (baseline(ApprovedPatches=["openssl"], system="DEBIAN"), DEB, True),
        (baseline(ApprovedPatches=["openss*"], system="DEBIAN"), DEB, False),
        (baseline(ApprovedPatches=["openssl"], system="DEBIAN"), DEB._replace(security=False), False),
    ],
)
def test_what_is_approved(said: dict[str, Any], patch: Patch, approved: bool) -> None:
    verdict = judge(said, "RedhatEnterpriseLinux9.3", patch, TODAY)
    assert verdict.approved is approved, verdict.reason
    assert verdict.reason


def test_levels_come_from_the_rule_or_the_list() -> None:
    assert judge(baseline(rule()), "x", NOTICE, TODAY).level == "HIGH"
    listed = baseline(ApprovedPatches=["2040"], ApprovedPatchesComplianceLevel="CRITICAL")
    assert judge(listed, "x", NOTICE, TODAY).level == "CRITICAL"


def test_of_several_versions_the_newest_approved_is_missing() -> None:
    young = NOTICE._replace(version="1:3.0.1-9.el9", released=int(time.time()))  # the program asks the clock
    old = NOTICE._replace(version="1:3.0.1-4.9.el9", released=_seconds(2026, 11, 1))
    lines = planned(baseline(rule(2)), "x", [young, old, NOTICE])
    assert [(line.patch.version, line.state) for line in lines] == [
        ("1:3.0.1-9.el9", ""), ("1:3.0.1-4.9.el9", ""), ("1:3.0.1-5.el9", "MISSING"),
    ]  # fmt: skip


_FILTERS = st.dictionaries(
    st.sampled_from(["PRODUCT", "CLASSIFICATION", "SEVERITY"]),
    st.lists(st.sampled_from(["*", "Security", "Bugfix", "Low", "Important", "P1"]), min_size=1, max_size=3),
)
_PATCHES = st.builds(
    Patch, name=st.sampled_from(["a", "b"]), arch=st.just("noarch"), version=st.sampled_from(["1-1", "2-1"]),
    classification=st.sampled_from(["", "Security", "Bugfix"]), severity=st.sampled_from(["", "Low", "Important"]),
    released=st.one_of(st.none(), st.integers(0, 2_000_000_000)),
)  # fmt: skip


@given(st.lists(st.tuples(_FILTERS, st.integers(0, 360)), max_size=4), _PATCHES, st.booleans())
def test_a_rule_more_never_takes_an_approval_and_a_rejection_always_does(
    rules: list[tuple[dict[str, list[str]], int]], patch: Patch, non_security: bool
) -> None:
    made = [rule(days, non_security, **filters) for filters, days in rules]
    before = [judge(baseline(*made[:many]), "P1", patch, TODAY).approved for many in range(len(made) + 1)]
    assert before == sorted(before)
    rejected = judge(baseline(*made, RejectedPatches=[patch.nvra]), "P1", patch, TODAY)
    assert (rejected.approved, rejected.rejected) == (False, True)


def test_lists_of_overrides() -> None:
    listed = override_list("patches:\n    -\n        id: 'openssl.x86_64'\n        title: '3.0.1-5*'\n    - id: vim*\n")
    assert listed == [{"id": "openssl.x86_64", "title": "3.0.1-5*"}, {"id": "vim*"}]
    assert overridden(listed, NOTICE)
    assert overridden(listed, PLAIN)
    assert not overridden(listed, NOTICE._replace(version="3.0.1-6.el9"))
    for text in ("", "patches:\n", "- name: x\n", "patches: {a: b}\n", "- title: x\n"):
        with pytest.raises(Refused):
            override_list(text)


def test_what_apt_says_of_versions() -> None:
    said = policies(
        "tool:\n  Installed: 1.0\n  Candidate: 1.1\n  Version table:\n     1.1 500\n"
        "        500 http://deb.example.org/debian-security bookworm-security/main amd64 Packages\n *** 1.0 500\n"
        "        500 http://deb.example.org/debian bookworm/main amd64 Packages\n        100 /var/lib/dpkg/status\n"
        "other:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n"
    )
    assert (said["tool"].installed, said["tool"].candidate) == ("1.0", "1.1")
    assert said["tool"].sources["1.1"] == [("http://deb.example.org/debian-security", "bookworm-security/main")]
    assert said["other"].candidate == "(none)"


_VERSIONS = st.from_regex(r"[0-9a-c~^]{1,4}(\.[0-9a-c~^]{1,3}){0,2}-[0-9]{1,2}", fullmatch=True)


@given(st.lists(_VERSIONS, min_size=3, max_size=3))
def test_versions_are_in_one_order(three: list[str]) -> None:
    one, two, last = three
    assert rpm.compare(one, one) == 0
    assert rpm.compare(one, two) == -rpm.compare(two, one)
    if rpm.compare(one, two) <= 0 and rpm.compare(two, last) <= 0:
        assert rpm.compare(one, last) <= 0


@pytest.mark.skipif(shutil.which("rpm") is None and not os.environ.get("CI"), reason="there is no rpm to ask")
@settings(max_examples=10, deadline=None)
@given(st.data())
def test_versions_are_in_the_order_of_rpm(data: st.DataObject) -> None:
    parts = st.from_regex(r"[0-9a-cZ~^._]{1,8}", fullmatch=True)
    pairs = data.draw(st.lists(st.tuples(parts, parts), min_size=50, max_size=50))
    asked = "".join(f"%{{lua:print(rpm.vercmp('{one}', '{other}'))}}\n" for one, other in pairs)
    said = subprocess.run(["rpm", "--eval", asked], check=True, capture_output=True, text=True).stdout.split()
    for (one, other), order in zip(pairs, said, strict=True):
        assert rpm._compare(one, other) == int(order), (one, other)
