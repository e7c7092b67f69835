"""Files of parameters: JSON and YAML read with their lines, dotenv, and the three forms of an export."""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]
from pathlib import Path
from typing import Any, Final

import yaml

from pilothouse.cli.shared import Failed

FORMAT: Final = "pilothouse-parameters-1"
MOST_BYTES: Final = 16 << 20
MEMBERS: Final = {
    "name": "Name", "type": "Type", "value": "Value", "tier": "Tier", "data_type": "DataType",
    "description": "Description", "allowed_pattern": "AllowedPattern", "key_id": "KeyId", "policies": "Policies",
    "tags": "Tags", "labels": "Labels",
}  # fmt: skip
"""Members of an entry in a file, and those of the operation."""
_READ_ONLY: Final = {"version", "last_modified"}
_OF_VERSIONS: Final = {
    "type",
    "value",
    "tier",
    "data_type",
    "description",
    "allowed_pattern",
    "key_id",
    "policies",
    "labels",
}
"""What each version of a history has. The type is that of the parameter."""
WITHHELD: Final = "secret_withheld"
_DEPTH: Final = 30


class Unreadable(Exception):
    """The file breaks a rule at a line."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


@dataclass(frozen=True, slots=True)
class Node:
    """A value of a file and the line it begins on; scalars are text as written, true and false included."""

    value: Any
    line: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One parameter of a file, in the members of the operation, and its line."""

    members: dict[str, Any]
    line: int
    history: tuple[int, ...] = ()
    """The lines of the earlier versions."""

    def __repr__(self) -> str:
        return f"Entry({self.members.get('Name')!r}, line {self.line})"


def read_file(path: Path, *, prefix: str) -> list[Entry]:
    """The entries of a file; names get `prefix` in front. Raises Failed naming the line."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise Failed(f"{path} has more than {MOST_BYTES >> 20} MiB; split it and import the parts one by one")
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise Failed(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Failed(f"{path} is not UTF-8 text") from error
    try:
        return _prefixed(_entries(path, text), prefix)
    except Unreadable as error:
        raise Failed(f"{path}, line {error.line}: {error}") from error


def _entries(path: Path, text: str) -> list[Entry]:
    if path.suffix == ".json" or text.lstrip().startswith("{"):
        return _of_tree(parse_json(text))
    if path.suffix in {".yaml", ".yml"}:
        return _of_tree(parse_yaml(text))
    return [_simple(name, Node(value, line)) for name, value, line in parse_env(text)]


def _prefixed(entries: list[Entry], prefix: str) -> list[Entry]:
    seen: dict[str, int] = {}
    for entry in entries:
        name = entry.members["Name"]
        if prefix.strip("/"):
            name = entry.members["Name"] = f"/{prefix.strip('/')}/{name.removeprefix('/')}"
        first = seen.setdefault(name.removeprefix("/"), entry.line)
        if first != entry.line:
            raise Unreadable(entry.line, f"{name} stands on line {first} already")
    if not entries:
        raise Unreadable(1, "there are no parameters in it")
    return entries


def _of_tree(root: Node) -> list[Entry]:
    if not isinstance(root.value, dict):
        raise Unreadable(root.line, "the file must hold a mapping of names to values, or an export")
    if "format" not in root.value or "parameters" not in root.value:
        return [_simple(name, node) for name, node in root.value.items()]
    if root.value["format"].value != FORMAT:
        raise Unreadable(root.value["format"].line, f"this format is not known; it should be {FORMAT}")
    listed = root.value["parameters"]
    if not isinstance(listed.value, list):
        raise Unreadable(listed.line, "parameters must be a list")
    return [_full(node) for node in listed.value]


def _simple(name: str, node: Node) -> Entry:
    if not isinstance(node.value, str):
        raise Unreadable(node.line, f"the value of {name} must be a text")
    return Entry({"Name": name, "Type": "String", "Value": node.value}, node.line)


def _full(node: Node) -> Entry:
    if not isinstance(node.value, dict):
        raise Unreadable(node.line, "a parameter must be a mapping with name, type and value")
    given = node.value
    name = given["name"].value if "name" in given else None
    if not isinstance(name, str):
        raise Unreadable(node.line, "a parameter has no name")
    members = _members(name, node, {*MEMBERS, "history"})
    earlier, lines = _earlier(name, given["history"], members) if "history" in given else ([], [])
    if earlier:
        members["History"] = [{part: text for part, text in each.items() if part != "Type"} for each in earlier]
    return Entry(members, node.line, tuple(lines))


def _earlier(name: str, node: Node, newest: dict[str, Any]) -> tuple[list[dict[str, Any]], list[int]]:
    """The versions of a history before the newest, and their lines; the newest may be its last."""
    if not isinstance(node.value, list) or not all(isinstance(each.value, dict) for each in node.value):
        raise Unreadable(node.line, f"history of {name} must be a list of versions, the oldest first")
    versions = [_members(f"a version of {name}", each, _OF_VERSIONS) for each in node.value]
    lines = [each.line for each in node.value]
    for each, line in zip(versions, lines, strict=True):
        if each.get("Type", newest.get("Type")) != newest.get("Type"):
            raise Unreadable(line, f"a version of {name} has another type; all versions of a parameter have one")
    besides = {"Name", "Tags", "Labels"}
    if versions and not any(versions[-1].get(part) != newest.get(part) for part in {*newest, *versions[-1]} - besides):
        versions, lines = versions[:-1], lines[:-1]
    return versions, lines


def _members(name: str, node: Node, known: Collection[str]) -> dict[str, Any]:
    """The members of the operation; those that only say how it was are left out, and so is the history."""
    given = node.value
    if WITHHELD in given:
        raise Unreadable(
            given[WITHHELD].line,
            f"{name} is a secret that was exported without its value; export again with --with-decryption, or put "
            f"its value here in place of {WITHHELD}",
        )
    members: dict[str, Any] = {}
    for member, part in given.items():
        if member in _READ_ONLY:
            continue
        if member not in known:
            raise Unreadable(part.line, f"{name} has a member {member}; known are {', '.join(sorted(known))}")
        if member == "history":
            continue
        members[MEMBERS[member]] = _member(name, member, part)
    if "Value" not in members:
        raise Unreadable(node.line, f"{name} has no value")
    return members


def _member(name: str, member: str, part: Node) -> Any:
    if member == "tags":
        if isinstance(part.value, dict) and all(isinstance(each.value, str) for each in part.value.values()):
            return [{"Key": key, "Value": each.value} for key, each in part.value.items()]
        raise Unreadable(part.line, f"tags of {name} must be a mapping of texts")
    if member == "labels":
        if isinstance(part.value, list) and all(isinstance(each.value, str) for each in part.value):
            return [each.value for each in part.value]
        raise Unreadable(part.line, f"labels of {name} must be a list of texts")
    if member == "policies" and isinstance(part.value, list):
        return json.dumps(_plain(part))
    if not isinstance(part.value, str):
        raise Unreadable(part.line, f"{member} of {name} must be a text")
    return part.value


def _plain(node: Node) -> Any:
    if isinstance(node.value, dict):
        return {key: _plain(part) for key, part in node.value.items()}
    if isinstance(node.value, list):
        return [_plain(part) for part in node.value]
    return node.value


class _Json:
    """A reader of JSON that knows where it stands. Numbers stay text as written."""

    _SCALAR: Final = re.compile(r"true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
    _BLANK: Final = re.compile(r"[ \t\r\n]*")

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._counted = 0
        self._line = 1

    def whole(self) -> Node:
        node = self._value(0)
        if self._peek():
            raise self._error("something follows after the end")
        return node

    def _value(self, depth: int) -> Node:
        if depth > _DEPTH:
            raise self._error("it is nested too deep")
        first, line = self._peek(), self._here()
        if first == "{":
            return Node(self._object(depth), line)
        if first == "[":
            return Node(self._list(depth), line)
        if first == '"':
            return Node(self._string(), line)
        match = self._SCALAR.match(self._text, self._at)
        if match is None:
            raise self._error("this is not JSON")
        self._at = match.end()
        return Node(None if match[0] == "null" else match[0], line)

    def _object(self, depth: int) -> dict[str, Node]:
        self._at += 1
        found: dict[str, Node] = {}
        while self._peek() != "}":
            if found:
                self._expect(",")
            if self._peek() != '"':
                raise self._error("a name in quotes is missing")
            line = self._here()
            name = self._string()
            if name in found:
                raise Unreadable(line, f"{name} stands on line {found[name].line} already")
            self._expect(":")
            found[name] = self._value(depth + 1)
        self._at += 1
        return found

    def _list(self, depth: int) -> list[Node]:
        self._at += 1
        found: list[Node] = []
        while self._peek() != "]":
            if found:
                self._expect(",")
            found.append(self._value(depth + 1))
        self._at += 1
        return found

    def _string(self) -> str:
        try:
            text, self._at = scanstring(self._text, self._at + 1, True)
        except ValueError as error:
            raise self._error("a text has no end, or a character that must be escaped") from error
        return str(text)

    def _expect(self, character: str) -> None:
        if self._peek() != character:
            raise self._error(f"a {character} is missing")
        self._at += 1

    def _peek(self) -> str:
        blank = self._BLANK.match(self._text, self._at)
        self._at = blank.end() if blank else self._at
        return self._text[self._at : self._at + 1]

    def _here(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _error(self, text: str) -> Unreadable:
        return Unreadable(self._here(), text)


def parse_json(text: str) -> Node:
    """The tree of a JSON text. Raises Unreadable."""
    return _Json(text).whole()


def parse_yaml(text: str) -> Node:
    """The tree of a YAML text. Raises Unreadable; aliases are refused, as they can make a small file huge.

    It is built from the parser's events: composing nodes would use up the stack for a text that is nested deep enough.
    """
    reader = _Yaml()
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            reader.take(event)
    except yaml.MarkedYAMLError as error:
        raise Unreadable((error.problem_mark.line if error.problem_mark else 0) + 1, f"{error.problem}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1 if isinstance(error.position, int) else 1
        raise Unreadable(line, "a character that YAML does not allow") from error
    except yaml.YAMLError as error:
        raise Unreadable(1, "this is not YAML") from error
    return reader.root or Node({}, 1)


_NULLS: Final = {"", "~", "null", "Null", "NULL"}


class _Yaml:
    """Builds the tree from the events of the parser."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self._open: list[Node] = []
        self._names: list[tuple[str, int] | None] = []
        """Of each open mapping the name, with its line, whose value comes next."""

    def take(self, event: Any) -> None:
        line = event.start_mark.line + 1
        match event:
            case yaml.DocumentStartEvent() if self.root is not None:
                raise Unreadable(line, "the file must hold one document only")
            case yaml.AliasEvent():
                raise Unreadable(line, "aliases are not supported; write the value out")
            case yaml.ScalarEvent():
                null = event.tag == "tag:yaml.org,2002:null" or (event.implicit[0] and event.value in _NULLS)
                self._put(None if null else event.value, line, name=event.value)
            case yaml.MappingStartEvent():
                self._begin({}, line)
            case yaml.SequenceStartEvent():
                self._begin([], line)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._open.pop()
                self._names.pop()

    def _begin(self, value: Any, line: int) -> None:
        if len(self._open) > _DEPTH:
            raise Unreadable(line, "it is nested too deep")
        self._put(value, line, name=None)
        self._open.append(Node(value, line))
        self._names.append(None)

    def _put(self, value: Any, line: int, *, name: str | None) -> None:
        if not self._open:
            self.root = Node(value, line)
            return
        inside, expected = self._open[-1].value, self._names[-1]
        if isinstance(inside, list):
            inside.append(Node(value, line))
        elif expected is not None:
            inside[expected[0]] = Node(value, expected[1])
            self._names[-1] = None
        elif name is None:
            raise Unreadable(line, "a name must be a text")
        elif name in inside:
            raise Unreadable(line, f"{name} stands on line {inside[name].line} already")
        else:
            self._names[-1] = name, line


_ENV: Final = re.compile(r"[ \t]*(?:export[ \t]+)?([^\s=#]+)[ \t]*=[ \t]*")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|\'([^\']*)\'', re.DOTALL)
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t"}


def parse_env(text: str) -> Iterator[tuple[str, str, int]]:
    """Name, value and line of each line of a dotenv file; quoted values may go over lines. Raises Unreadable."""
    at, line = 0, 1
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        row = text[at:end].strip()
        if not row or row.startswith("#"):
            at, line = end + 1, line + 1
            continue
        match = _ENV.match(text, at, end)
        if match is None:
            raise Unreadable(line, "this is not NAME=value")
        quoted = _QUOTED.match(text, match.end())
        if quoted is not None:
            value = quoted[2] if quoted[1] is None else re.sub(
                r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), quoted[1], flags=re.DOTALL
            )  # fmt: skip
            end = text.find("\n", quoted.end())
            end = len(text) if end < 0 else end
            if (rest := text[quoted.end() : end].strip()) and not rest.startswith("#"):
                raise Unreadable(line, "something follows after the closing quote")
        elif text[match.end() : match.end() + 1] in {'"', "'"}:
            raise Unreadable(line, "a quoted value has no end")
        else:
            value = re.split(r"\s#", text[match.end() : end], maxsplit=1)[0].strip()
        yield match[1], value, line
        line += text.count("\n", at, end) + 1
        at = end + 1


class _Dumper(yaml.SafeDumper):
    """Writes texts so that they are read as they were."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # in single quotes a reader takes these for ends of lines, and folds them with the blanks around
    style = '"' if re.search("[\x85\u2028\u2029]", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _text)


def written(parameters: Sequence[Mapping[str, Any]], form: str, *, path: str) -> str:
    """The text of an export."""
    if form == "json":
        return json.dumps({"format": FORMAT, "parameters": parameters}, indent=2, ensure_ascii=False) + "\n"
    if form == "yaml":
        tree = {"format": FORMAT, "parameters": [dict(each) for each in parameters]}
        return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000)
    lines: dict[str, str] = {}
    for each in parameters:
        below = each["name"].removeprefix("/").removeprefix(path.strip("/")).strip("/") or each["name"].strip("/")
        name = re.sub(r"[^A-Za-z0-9_]", "_", below)
        name = f"_{name}" if name[0].isdigit() else name
        if name in lines:
            raise Failed(f"two parameters would be called {name} in the environment; choose --format json or yaml")
        value = each.get("value")
        if value is None:
            lines[name] = f"# {name}: a secret; export it with --with-decryption"
        else:
            escaped = re.sub(r'([\\"$`])', r"\\\1", value).replace("\n", "\\n").replace("\r", "\\r")
            lines[name] = f'{name}="{escaped}"'
    return "".join(f"{line}\n" for line in lines.values())
