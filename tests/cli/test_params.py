"""`pilothouse params` against a real server; its files, its words and its exit codes."""

import json
import stat
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pilothouse.cli.parameter_files import FORMAT, Unreadable, parse_env, parse_json, parse_yaml, read_file, written
from pilothouse.cli.params import parse_moment
from pilothouse.cli.shared import Failed
from tests.acceptance.installation import BIN, Installation, installation


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("params")) as made:
        yield made


_ENVIRONMENTS: dict[Path, dict[str, str]] = {}


def params(house: Installation, *words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    if house.data not in _ENVIRONMENTS:
        _ENVIRONMENTS[house.data] = {**house.environment(), "COLUMNS": "120"}
    environment = _ENVIRONMENTS[house.data]
    done = subprocess.run(
        [BIN / "pilothouse", "params", *(str(word) for word in words)],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


BAD = {
    "bad.json": (f'{{"format": "{FORMAT}",\n "parameters": [\n  {{"name": "/b/ok", "type": "String", "value": "1"}},\n'
                 '  {"name": "/b/no", "type": "String", "value": "", "tags": {"k": "v"}}\n]}\n', 4),
    "bad.yaml": ("# values\n/b/ok: fine\n\n/b/n o: x\n", 4),
    "bad.env": ("# values\nOK=1\nTEXT=\"two\nlines\"\nssm_no=x\n", 5),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_entry_is_named_with_its_line_and_changes_nothing(house: Installation, tmp_path: Path, name: str) -> None:
    text, line = BAD[name]
    file = tmp_path / name
    file.write_text(text)
    before = house.boto("ssm").describe_parameters()["Parameters"]
    done = params(house, "import", file, code=1)
    assert f"{name}, line {line}: " in done.stderr
    assert "Nothing was imported." in done.stderr
    assert house.boto("ssm").describe_parameters()["Parameters"] == before


def test_secrets_leave_only_when_asked_for(house: Installation, tmp_path: Path) -> None:
    ssm = house.boto("ssm")
    ssm.put_parameter(Name="/s/a", Value="hush-hush", Type="SecureString", Tags=[{"Key": "k", "Value": "v"}])
    ssm.put_parameter(Name="/s/b", Value="plain", Type="String", Description="d")
    assert "hush-hush" not in params(house, "export", "--path", "/s").stdout
    withheld, whole = tmp_path / "withheld.yaml", tmp_path / "whole.json"
    params(house, "export", "--path", "/s", "-o", withheld, "--format", "yaml")
    assert "--with-decryption" in params(house, "import", withheld, code=1).stderr
    params(house, "export", "--path", "/s", "-o", whole, "--with-decryption")
    assert stat.S_IMODE(whole.stat().st_mode) == 0o600
    assert "2 unchanged" in params(house, "import", whole).stderr
    ssm.delete_parameters(Names=["/s/a", "/s/b"])
    assert "hush" not in params(house, "import", whole, "--dry-run").stdout
    params(house, "import", whole)
    again = tmp_path / "again.json"
    params(house, "export", "--path", "/s", "-o", again, "--with-decryption")
    assert again.read_bytes() == whole.read_bytes()


def test_diff_copy_move_restore(house: Installation) -> None:
    ssm = house.boto("ssm")
    ssm.put_parameter(Name="/d/a", Value="one", Type="SecureString")
    ssm.put_parameter(Name="/d/a", Value="two", Overwrite=True)
    done = params(house, "diff", "/d/a:1", "/d/a:2", code=1)
    assert "value" in done.stdout
    assert "two" not in done.stdout
    assert "two" in params(house, "diff", "/d/a:1", "/d/a:2", "--show-secrets", code=1).stdout
    assert "could not find version 9" in params(house, "diff", "/d/a:1", "/d/a:9", code=2).stderr
    params(house, "copy", "/d", "/e", "--recursive")
    params(house, "diff", "/d", "/e")
    ssm.put_parameter(Name="/e/a", Value="three", Overwrite=True)
    taken = params(house, "copy", "/d", "/e", "--recursive", code=1).stderr
    assert taken == (
        "pilothouse: /e/a: it exists with another content; add --overwrite, or choose another destination "
        "(ParameterAlreadyExists). Nothing was copied.\n"
    )
    params(house, "copy", "/d", "/e", "--recursive", "--overwrite")
    assert "no parameters at /no/1 and none at /no/2" in params(house, "diff", "/no/1", "/no/2", code=2).stderr
    moved = json.loads(params(house, "move", "/e", "/f", "--recursive", "--output", "json").stdout)
    assert moved == [{"Source": "/e/a", "Destination": "/f/a"}]
    ssm.delete_parameter(Name="/f/a")
    assert "/f/a" in params(house, "trash", "list", "--path", "/f").stdout
    assert "is back" in params(house, "trash", "restore", "/f/a").stderr
    assert ssm.get_parameter(Name="/f/a", WithDecryption=True)["Parameter"]["Value"] == "two"
    assert "1 newer" in params(house, "restore", "--path", "/f", "--as-of", "2 days ago", "--dry-run").stderr


def test_a_dry_run_shows_what_is_there_and_what_would_be(house: Installation, tmp_path: Path) -> None:
    ssm = house.boto("ssm")
    ssm.put_parameter(Name="/w/plain", Value="one", Type="String", Description="was")
    ssm.put_parameter(Name="w-secret", Value="canary-1", Type="SecureString", Tags=[{"Key": "k", "Value": "v"}])
    file = tmp_path / "w.json"
    entries = [
        {"name": "/w/plain", "type": "String", "value": "two", "description": "is"},
        {"name": "/w-secret", "type": "SecureString", "value": "canary-2", "tags": {"k": "w"}},
        {"name": "/w/new", "type": "String", "value": "three"},
    ]
    file.write_text(json.dumps({"format": FORMAT, "parameters": entries}))
    shown = params(house, "import", file, "--dry-run", "--overwrite")
    rows = [" ".join(line.split()) for line in shown.stdout.splitlines()]
    assert "Changed /w/plain 2 Value: one → two; Description: was → is" in rows
    assert "Changed /w-secret 2 Value: •••••• → ••••••; Tags" in rows
    assert "Added /w/new 1 = three" in rows
    assert "canary" not in shown.stdout
    told = params(house, "import", file, "--dry-run", "--overwrite", "--show-secrets").stdout
    assert "Value: canary-1 → canary-2" in told
    assert params(house, "import", file, "--dry-run", code=1).stderr.startswith("Dry run, nothing was changed: ")


def test_the_region_is_that_of_aws_region(house: Installation) -> None:
    house.boto("ssm").put_parameter(Name="/r/a", Value="one", Type="String")
    params(house, "export", "--path", "/r")
    known = dict(_ENVIRONMENTS[house.data])
    try:
        _ENVIRONMENTS[house.data] = {name: value for name, value in known.items() if name != "AWS_DEFAULT_REGION"}
        params(house, "export", "--path", "/r")
        _ENVIRONMENTS[house.data] |= {"AWS_REGION": "eu-north-1", "AWS_DEFAULT_REGION": known["AWS_DEFAULT_REGION"]}
        assert "no parameters at /r" in params(house, "export", "--path", "/r", code=1).stderr
        del _ENVIRONMENTS[house.data]["AWS_REGION"], _ENVIRONMENTS[house.data]["AWS_DEFAULT_REGION"]
        assert "add --region, or set AWS_REGION" in params(house, "export", "--path", "/r", code=1).stderr
    finally:
        _ENVIRONMENTS[house.data] = known


def test_no_server_is_one_sentence(house: Installation) -> None:
    done = params(house, "export", "--endpoint-url", "http://127.0.0.1:9", code=1)
    assert "is the server running" in done.stderr


@pytest.mark.parametrize(
    ("text", "line"),
    [('{\n "a": "1",\n "a": "2"}', 3), ('{\n "a": nope}', 2), ('{"a":\n["b"\n', 3), ('{"a": "b\n"}', 1)],
)
def test_json_faults_have_lines(text: str, line: int) -> None:
    with pytest.raises(Unreadable) as raised:
        parse_json(text)
    assert raised.value.line == line


@pytest.mark.parametrize(("text", "line"), [("a: 1\nb: 2\na: 3\n", 3), ("a: 1\nb: [\n", 3), ("a: &x 1\nb: *x\n", 2)])
def test_yaml_faults_have_lines(text: str, line: int) -> None:
    with pytest.raises(Unreadable) as raised:
        parse_yaml(text)
    assert raised.value.line == line


def test_names_twice_under_both_spellings(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("a: 1\n/a: 2\n")
    with pytest.raises(Failed, match="line 2: /a stands on line 1 already"):
        read_file(file, prefix="")


VALUES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), min_size=1, max_size=50)


@given(VALUES)
@example("certain\x85   \u2028ends of\u2029\x85lines")
@example("\x85")
def test_values_come_back_from_every_form(value: str) -> None:
    entry = {"name": "/p/x", "type": "String", "value": value}
    for form, parse in (("json", parse_json), ("yaml", parse_yaml)):
        tree = parse(written([entry], form, path="/p"))
        assert tree.value["parameters"].value[0].value["value"].value == value
    assert list(parse_env(written([entry], "env", path="/p"))) == [("x", value, 1)]


def test_a_parameter_at_the_path_itself_has_its_whole_name_in_the_environment() -> None:
    entry = {"name": "/prod/app", "type": "String", "value": "v"}
    assert written([entry], "env", path="/prod/app") == 'prod_app="v"\n'


def test_moments() -> None:
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert parse_moment("2 hours ago", now) == now - timedelta(hours=2)
    assert parse_moment("2026-11-23T10:00:00Z", now) == parse_moment("2 hours ago", now)
    with pytest.raises(Failed, match="2 hours ago"):
        parse_moment("yesterday-ish", now)
