"""`pilothouse params` in one process with the server: what export and import give back, and every bad entry."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from pilothouse.cli import params
from pilothouse.cli.parameter_files import FORMAT, Unreadable, parse_json, parse_yaml, read_file
from pilothouse.cli.shared import Failed

Run = Callable[..., Result]


@pytest.fixture
def run(aws: Any, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command with its words, against the server of the test; `code` is the exit code it must have."""

    class Here:
        def __init__(self, side: object) -> None:
            self.service = aws

    monkeypatch.setattr(params, "Clients", Here)

    def command(*words: object, code: int = 0) -> Result:
        done = CliRunner().invoke(params.app, [str(word) for word in words])
        failed = isinstance(done.exception, Failed)
        assert (1 if failed else done.exit_code) == code, (done.output, done.exception)
        assert failed or code != 1 or isinstance(done.exception, SystemExit), done.exception
        return done

    return command


def fault(done: Result) -> str:
    """The sentence that the command ends with."""
    assert isinstance(done.exception, Failed)
    return str(done.exception)


def all_names(ssm: Any) -> list[str]:
    pages = ssm.get_paginator("describe_parameters").paginate()
    return sorted(each["Name"] for page in pages for each in page["Parameters"])


def clear(ssm: Any) -> None:
    names = all_names(ssm)
    for start in range(0, len(names), 10):
        ssm.delete_parameters(Names=names[start : start + 10])


# Whatever a database and the wire can hold: no U+0000 and no half of a pair.
TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), min_size=1, max_size=30).filter(
    lambda text: "{{" not in text
)
SEGMENT = st.text("abcXYZ019._-", min_size=1, max_size=6).filter(
    lambda text: not text.lower().startswith(("aws", "ssm"))
)
NAME = st.lists(SEGMENT, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts)) | SEGMENT
LABELS = st.lists(st.sampled_from(["prod", "v-1", "A.b_c"]), unique=True, max_size=3)
TAG = st.text("abcäöü日本 019_.:/=+-@", min_size=1, max_size=8).filter(lambda text: text == text.strip())
IN_A_YEAR = (datetime.now(UTC) + timedelta(days=365)).isoformat(timespec="seconds")
POLICIES = st.lists(
    st.sampled_from(
        [
            {"Type": "NoChangeNotification", "Version": "1.0", "Attributes": {"After": "020", "Unit": "Days"}},
            {"Type": "Expiration", "Version": "1.0", "Attributes": {"Timestamp": IN_A_YEAR}},
        ]
    ),
    unique_by=lambda each: str(each["Type"]),
    max_size=2,
)
TYPED = st.one_of(
    st.tuples(st.just("text"), TEXT),
    st.tuples(st.just("integer"), st.integers(-(10**20), 10**20).map(str)),
    st.tuples(st.just("boolean"), st.sampled_from(["true", "false"])),
    st.tuples(st.just("email"), st.just("a.b@example.com")),
)


@st.composite
def _version(draw: st.DrawFn, tier: str) -> dict[str, Any]:
    data_type, value = draw(TYPED)
    made: dict[str, Any] = {"DataType": data_type, "Value": value, "Tier": tier}
    if draw(st.booleans()):
        made["Description"] = draw(TEXT)
    if draw(st.booleans()):
        made["AllowedPattern"] = draw(st.sampled_from([r"(?s).*", r"(?s).{1,100}", "(?s)^.+$"]))
    if tier == "Advanced" and (policies := draw(POLICIES)):
        made["Policies"] = json.dumps(policies)
    return made


@st.composite
def _parameter(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["String", "StringList", "SecureString"]))
    tier = draw(st.sampled_from(["Standard", "Advanced"]))
    versions = draw(st.lists(_version(tier), min_size=1, max_size=3))
    labels = draw(st.lists(LABELS, min_size=len(versions), max_size=len(versions)))
    tags = draw(st.dictionaries(TAG, TAG, max_size=3))
    return {"type": kind, "versions": list(zip(versions, labels, strict=True)), "tags": tags}


TREES = st.dictionaries(NAME, _parameter(), min_size=1, max_size=5)


def plant(ssm: Any, tree: dict[str, dict[str, Any]]) -> None:
    """Put the parameters of a drawn tree, the way a user would: by PutParameter and LabelParameterVersion."""
    for name, parameter in tree.items():
        tags = [{"Key": key, "Value": value} for key, value in parameter["tags"].items()]
        for place, (version, labels) in enumerate(parameter["versions"]):
            first = {"Type": parameter["type"], "Tags": tags} if place == 0 else {"Overwrite": True}
            nothing = {"Description": "", "AllowedPattern": "", "Policies": "[{}]"}
            ssm.put_parameter(**{"Name": name, **nothing, **first, **version})
            if labels:
                ssm.label_parameter_version(Name=name, Labels=labels)


def without_times(file: Path) -> Any:
    tree = json.loads(file.read_text()) if file.suffix == ".json" else yaml.safe_load(file.read_text())
    for parameter in tree["parameters"]:
        for version in parameter.get("history", ()):
            del version["last_modified"]
    return tree


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=TREES, form=st.sampled_from(["json", "yaml"]), history=st.booleans())
def test_an_export_of_an_import_is_the_same_file(
    aws: Any, run: Run, tmp_path: Path, tree: dict[str, dict[str, Any]], form: str, history: bool
) -> None:
    ssm = aws("ssm")
    clear(ssm)
    paths: dict[str, dict[str, Any]] = {}
    for name, parameter in tree.items():
        if name.removeprefix("/") not in {taken.removeprefix("/") for taken in paths}:
            paths[name] = parameter
    plant(ssm, paths)
    one, other = tmp_path / f"one.{form}", tmp_path / f"other.{form}"
    words = ("export", "--with-decryption", "--format", form, *(["--with-history"] if history else []), "-o")
    run(*words, one)
    clear(ssm)
    run("import", one)
    run(*words, other)
    if history:
        assert without_times(other) == without_times(one)
    else:
        assert other.read_bytes() == one.read_bytes()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.dictionaries(st.text("abcXYZ_", min_size=1, max_size=8), TEXT, min_size=1, max_size=6))
def test_texts_come_back_through_dotenv(aws: Any, run: Run, tmp_path: Path, values: dict[str, str]) -> None:
    ssm = aws("ssm")
    clear(ssm)
    for name, value in values.items():
        ssm.put_parameter(Name=f"/p/{name}", Value=value, Type="String")
    one, other = tmp_path / "one.env", tmp_path / "other.env"
    run("export", "--path", "/p", "--format", "env", "-o", one)
    clear(ssm)
    run("import", one, "--path", "/p")
    run("export", "--path", "/p", "--format", "env", "-o", other)
    assert other.read_bytes() == one.read_bytes()
    assert {name: ssm.get_parameter(Name=f"/p/{name}")["Parameter"]["Value"] for name in values} == values


def test_a_server_of_others_is_read_by_the_plain_operations(
    aws: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Name by name, several at once: the file is the same. It has other addresses, or no such operation."""
    ssm = aws("ssm")
    tags = [{"Key": "k", "Value": "v"}]
    for number in range(120):
        ssm.put_parameter(Name=f"/m/{number:03}", Type="SecureString", Value=f"v{number}", Tags=tags)
    ssm.put_parameter(Name="/m/007", Value="later", Overwrite=True)
    ssm.label_parameter_version(Name="/m/007", Labels=["live"])
    words = ("export", "--path", "/m", "--with-decryption", "--with-history", "-o")
    run(*words, tmp_path / "ours.json")

    class Elsewhere:
        def __init__(self, side: object) -> None:
            pass

        def service(self, name: str) -> Any:
            made = aws(name)
            made.meta._endpoint_url = f"http://{name}.test"
            return made

    class Older(Elsewhere):
        def service(self, name: str) -> Any:
            made = aws(name)
            made.meta.events.register_first("before-call.pilothouse", unknown)
            return made

    def unknown(params: Any, **_: Any) -> None:
        params["headers"]["X-Amz-Target"] = "Pilothouse.NoSuchOperation"

    for number, other in enumerate((Elsewhere, Older)):
        monkeypatch.setattr(params, "Clients", other)
        run(*words, tmp_path / f"{number}.json")
        assert (tmp_path / f"{number}.json").read_bytes() == (tmp_path / "ours.json").read_bytes()


def versions(ssm: Any, name: str) -> list[tuple[int, str, list[str]]]:
    pages = ssm.get_paginator("get_parameter_history").paginate(Name=name, WithDecryption=True)
    return [(each["Version"], each["Value"], each["Labels"]) for page in pages for each in page["Parameters"]]


def test_a_copy_with_history_has_every_version_that_is_kept(aws: Any, run: Run) -> None:
    ssm = aws("ssm")
    ssm.put_parameter(Name="/c/x", Value="0", Type="SecureString")
    for number in range(1, 103):
        ssm.put_parameter(Name="/c/x", Value=str(number), Overwrite=True)
    ssm.label_parameter_version(Name="/c/x", ParameterVersion=50, Labels=["prod"])
    run("copy", "/c", "/d", "--recursive", "--with-history", "--dry-run")
    assert all_names(ssm) == ["/c/x"]
    run("copy", "/c", "/d", "--recursive", "--with-history")
    kept = versions(ssm, "/c/x")
    assert len(kept) == 100
    assert versions(ssm, "/d/x") == [(number - 3, value, labels) for number, value, labels in kept]
    assert ssm.get_parameter(Name="/d/x:prod", WithDecryption=True)["Parameter"]["Value"] == "49"
    run("copy", "/c/x", "/e")
    assert versions(ssm, "/e") == [(1, "102", [])]


def test_every_answer_can_be_json_and_every_fault_is_one_sentence(aws: Any, run: Run, tmp_path: Path) -> None:
    ssm = aws("ssm")
    file = tmp_path / "one.yaml"
    file.write_text("/j/a: one\n/j/b: two\n")
    now = datetime.now(UTC).isoformat()
    good = [
        ("import", file, "--dry-run"),
        ("import", file),
        ("copy", "/j", "/k", "--recursive"),
        ("diff", "/j", "/k"),
        ("move", "/k", "/l", "--recursive"),
        ("restore", "--path", "/j", "--as-of", now),
        ("trash", "list"),
    ]
    for words in good:
        assert isinstance(json.loads(run(*words, "--output", "json").stdout), list), words
    ssm.delete_parameters(Names=["/l/a", "/l/b"])
    listed = json.loads(run("trash", "list", "--output", "json").stdout)
    assert [each["Name"] for each in listed] == ["/l/a", "/l/b"]
    assert json.loads(run("trash", "restore", "/l/a", "--output", "json").stdout) == {"Name": "/l/a", "Version": 1}
    differing = json.loads(run("diff", "/j", "/l", "--output", "json", code=1).stdout)
    assert [each["name"] for each in differing] == ["/b"]
    bad = [
        ("import", tmp_path / "none.json"),
        ("copy", "/none", "/x"),
        ("move", "/none", "/x"),
        ("restore", "--path", "/j", "--as-of", "2999-01-01"),
        ("trash", "restore", "/none"),
    ]
    for words in bad:
        done = run(*words, "--output", "json", code=1)
        assert done.stdout == "", words
        assert "\n" not in fault(done), words
    assert "--recursive" in fault(run("move", "/j", "/x", code=1))
    assert "trash list" in fault(run("trash", "restore", "/none", code=1))
    assert "use table or json" in fault(run("trash", "list", "--output", "xml", code=1))
    assert run("diff", "/j:1:2:3", "/j", "--output", "json", code=2).stdout == ""


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "name": ({"name": "/b/n o"}, "ValidationException"),
    "reserved name": ({"name": "/ssm/x"}, "ValidationException"),
    "provider's name": ({"name": "/aws/x"}, "AccessDeniedException"),
    "levels": ({"name": "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16"}, "HierarchyLevelLimitExceededException"),
    "type": ({"type": "Text"}, "ValidationException"),
    "no type": ({"type": None}, "ValidationException"),
    "value": ({"value": "{{x}}"}, "ValidationException"),
    "empty value": ({"value": ""}, "ValidationException"),
    "too large": ({"value": "x" * 4097}, "ValidationException"),
    "too large for any": ({"value": "x" * 8193, "tier": "Advanced"}, "ValidationException"),
    "tier": ({"tier": "Golden"}, "ValidationException"),
    "data type": ({"data_type": "number"}, "ValidationException"),
    "not of the data type": ({"data_type": "integer"}, "ValidationException"),
    "pattern": ({"allowed_pattern": "\\d+"}, "ParameterPatternMismatchException"),
    "bad pattern": ({"allowed_pattern": "("}, "InvalidAllowedPatternException"),
    "description": ({"description": "x" * 1025}, "ValidationException"),
    "policies": ({"policies": "["}, "InvalidPolicyAttributeException"),
    "policy type": ({"tier": "Advanced", "policies": [{"Type": "Never"}]}, "InvalidPolicyTypeException"),
    "tag key": ({"tags": {"aws:x": "v"}}, "ValidationException"),
    "tags": ({"tags": {f"k{n}": "v" for n in range(51)}}, "TooManyTagsError"),
    "label": ({"labels": ["1st"]}, "ValidationException"),
    "key": ({"type": "SecureString", "key_id": "alias/none"}, "InvalidKeyId"),
    "exists": ({"name": "/b/taken"}, "ParameterAlreadyExists"),
    "earlier version": ({"history": [{"value": "ok"}, {"value": "x" * 4097}]}, "ValidationException"),
    "empty earlier version": ({"history": [{"value": ""}]}, "ValidationException"),
}


def bad_file(folder: Path, form: str, bad: dict[str, Any]) -> tuple[Path, int, int]:
    """A file with the bad entry as the second of three; the lines on which it begins and ends."""
    entries = [{"name": f"/b/{n}", "type": "String", "value": "fine"} for n in range(3)]
    entries[1] = {name: part for name, part in {**entries[1], "name": "/b/bad", **bad}.items() if part is not None}
    file = folder / f"bad.{form}"
    head, texts = f'{{"format": "{FORMAT}", "parameters": [\n', [json.dumps(each, indent=1) for each in entries]
    if form == "yaml":
        head = f"format: {FORMAT}\nparameters:\n"
        texts = [yaml.safe_dump([each], sort_keys=False).rstrip("\n") for each in entries]
    joint = "\n" if form == "yaml" else ",\n"
    file.write_text(head + joint.join(texts) + ("\n" if form == "yaml" else "\n]}\n"))
    first = head.count("\n") + 1 + texts[0].count("\n") + 1
    return file, first, first + texts[1].count("\n")


@pytest.fixture
def taken(aws: Any) -> Iterator[Any]:
    """The one parameter that is there, and must be there alone at the end."""
    ssm = aws("ssm")
    ssm.put_parameter(Name="/b/taken", Value="kept", Type="String")
    yield ssm
    assert all_names(ssm) == ["/b/taken"]
    assert ssm.get_parameter(Name="/b/taken")["Parameter"]["Value"] == "kept"


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_each_bad_entry_is_named_with_its_line(taken: Any, run: Run, tmp_path: Path, form: str) -> None:
    for kind, (bad, expected) in BAD.items():
        file, first, last = bad_file(tmp_path, form, bad)
        said = fault(run("import", file, code=1))
        assert f"({expected}). Nothing was imported." in said, (kind, said)
        assert bad.get("name", "/b/bad") in said, (kind, said)
        line = int(said.removeprefix(f"{file}, line ").split(":")[0])
        assert (first < line <= last) if "history" in bad else line == first, (kind, said)
        assert len(said) < 700 + len(str(file)), kind


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("b c=1", None),
        ("BAD=", "ValidationException"),
        ("BAD={{x}}", "ValidationException"),
        (f"BAD={'x' * 4097}", "ValidationException"),
        ("SSM_BAD=1", "ValidationException"),
        ("/b/taken=2", "ParameterAlreadyExists"),
        ('BAD="no end', None),
        ('BAD="a" b', None),
    ],
)
def test_each_bad_line_of_dotenv_is_named(
    taken: Any, run: Run, tmp_path: Path, line: str, expected: str | None
) -> None:
    file = tmp_path / "bad.env"
    file.write_text(f"# values\nFINE=1\n{line}\nALSO=2\n")
    said = fault(run("import", file, code=1))
    assert said.startswith(f"{file}, line 3: "), said
    assert expected is None or f"({expected}). Nothing was imported." in said


MALFORMED = {
    "cut.json": ('{"format": "' + FORMAT + '",\n"parameters": [\n{"name": "/b/x", "va', 3),
    "list.json": ("[]", 1),
    "nothing.json": ("{}", 1),
    "empty.yaml": ("", 1),
    "tabs.yaml": ("a: 1\n\tb: 2\n", 2),
    "two.yaml": ("a: 1\n---\nb: 2\n", 2),
    "number.yaml": ("7\n", 1),
    "format.yaml": ("format: other\nparameters: []\n", 1),
    "members.yaml": (f"format: {FORMAT}\nparameters:\n- name: /b/x\n  vaule: x\n", 4),
    "no_value.yaml": (f"format: {FORMAT}\nparameters:\n- type: String\n  name: /b/x\n", 3),
    "no_name.yaml": (f"format: {FORMAT}\nparameters:\n- value: x\n", 3),
    "tags.yaml": (f"format: {FORMAT}\nparameters:\n- name: /b/x\n  value: x\n  tags: [a]\n", 5),
    "history.yaml": (f"format: {FORMAT}\nparameters:\n- name: /b/x\n  value: x\n  history: x\n", 5),
    "types.yaml": (
        f"format: {FORMAT}\nparameters:\n- name: /b/x\n  value: x\n  type: String\n  history:\n"
        "  - {type: SecureString, value: y}\n", 7),
    "deep.yaml": ("a: " + "[" * 40 + "]" * 40 + "\n", 1),
    "deeper.yaml": ("a: " + "[" * 200_000, 1),
    "deeper.json": ('{"a": ' + "[" * 200_000, 1),
    "bomb.yaml": ("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n", 2),
    "merge.yaml": ("a: &a\n  x: y\nb:\n  <<: *a\n", 4),
    "anchor_to_itself.yaml": ("a: &a [*a]\n", 1),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_files_are_refused_with_the_line(tmp_path: Path, name: str) -> None:
    text, line = MALFORMED[name]
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(Failed) as raised:
        read_file(file, prefix="")
    assert str(raised.value).startswith(f"{file}, line {line}: ")


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(Failed, match="UTF-8"):
        read_file(file, prefix="")


def test_files_that_are_too_large_are_told_to_be_split(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "large.json"
    with file.open("wb") as opened:
        opened.truncate((16 << 20) + 1)
    assert "split it" in fault(run("import", file, code=1))
    file.write_text(json.dumps({f"/m/{n}": "x" for n in range(10_001)}))
    said = fault(run("import", file, code=1))
    assert "10001" in said
    assert "split it" in said


@given(st.text(st.sampled_from("{}[]\":,\\ \n\tab01-&*!|>#%@`'?<"), max_size=60))
def test_no_text_makes_a_parser_fail_otherwise(text: str) -> None:
    for parse in (parse_json, parse_yaml):
        assert 1 <= line_of_fault(parse, text) <= text.count("\n") + 2


def line_of_fault(parse: Callable[[str], object], text: str) -> int:
    """The line that the parser refuses the text for; 1 if it does not."""
    try:
        parse(text)
    except Unreadable as error:
        return error.line
    return 1
