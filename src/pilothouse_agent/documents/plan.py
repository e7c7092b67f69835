"""The plan of a command: its steps in order, filled in and checked, as it is stored before anything runs.

Documents of schema 1.2 (runtimeConfig) and 2.x (mainSteps). Rules: agent-protocol 6.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pilothouse_agent.documents import limits, substitution
from pilothouse_agent.documents.preconditions import Verdict, judge
from pilothouse_agent.documents.substitution import StoredParameter, UnresolvedReference
from pilothouse_agent.state import files

SCHEMAS_WITH_STEPS = frozenset({"2.0", "2.0.1", "2.0.2", "2.0.3", "2.2"})
_SCHEMAS_WITH_PLUGINS = frozenset({"1.0", "1.2"})
_STEP_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}\Z")

Fetch = Callable[[list[str]], Awaitable[Mapping[str, StoredParameter]]]
"""Reads parameters by name from the store."""


class InvalidDocument(Exception):
    """The job cannot be run as it stands; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One result to come. runs holds the inputs of each run: one, but for lists in schema 1.2."""

    key: str  # under which the result is reported: the step's name, or the plugin's in schema 1.2
    plugin: str
    runs: list[dict[str, Any]]
    verdict: str = Verdict.RUN.value
    reason: str = ""
    finally_step: bool = False
    environment: dict[str, str] = field(default_factory=dict)  # parameters of interpolationType ENV_VAR


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All steps of a command."""

    schema: str
    steps: list[Step]

    def to_json(self) -> dict[str, Any]:
        return {"schema": self.schema, "steps": [asdict(step) for step in self.steps]}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Plan":
        return cls(schema=stored["schema"], steps=[files.known(Step, step) for step in stored["steps"]])


async def plan(document: object, given: object, fetch: Fetch, *, strict: bool = False) -> Plan:
    """Check the document, resolve references and parameters. Raises InvalidDocument.

    strict also checks what the server checks before it sends a command: for documents it has not seen.
    """
    if not isinstance(document, dict):
        raise InvalidDocument("DocumentContent is not an object")
    given = given or {}
    if not isinstance(given, dict):
        raise InvalidDocument("Parameters is not an object")
    schema = document.get("schemaVersion")
    if isinstance(schema, float):
        schema = str(schema)  # YAML without quotes
    if not isinstance(schema, str) or schema not in SCHEMAS_WITH_STEPS | _SCHEMAS_WITH_PLUGINS:
        raise InvalidDocument(f"schemaVersion {schema!r} is not supported")
    values = {name: value for name, value in given.items() if substitution.VALID_NAME.match(name)}
    definitions = _object(document, "parameters")
    body_name = "mainSteps" if schema in SCHEMAS_WITH_STEPS else "runtimeConfig"
    values = {**defaults(definitions), **values}
    names = [*substitution.references(document.get(body_name)), *substitution.references(values)]
    stored = await fetch(list(dict.fromkeys(names))) if names else {}
    try:
        values = {name: substitution.fill(value, {}, stored) for name, value in values.items()}
        check_patterns(definitions, values)
        if strict:
            limits.check(definitions, values)
        body = document.get(body_name)
        steps = (
            _main_steps(schema, body, Values(values, _in_environment(schema, definitions, values)), stored)
            if schema in SCHEMAS_WITH_STEPS
            else _runtime_config(body, values, stored)
        )
    except (UnresolvedReference, limits.OutOfLimits) as error:
        raise InvalidDocument(str(error)) from error
    if not steps:
        raise InvalidDocument(f"{body_name} holds no steps")
    return Plan(schema=schema, steps=steps)


def _object(of: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = of.get(name) or {}
    if not isinstance(value, dict):
        raise InvalidDocument(f"{name} is not an object")
    return value


def defaults(definitions: Mapping[str, Any]) -> dict[str, Any]:
    for name, definition in definitions.items():
        if not isinstance(definition, dict):
            raise InvalidDocument(f"the definition of parameter {name} is not an object")
    return {name: definition["default"] for name, definition in definitions.items() if "default" in definition}


@dataclass(frozen=True, slots=True)
class Values:
    """Values of parameters. Those named in by_environment reach scripts as variables, never as text."""

    all: Mapping[str, Any]
    by_environment: Mapping[str, str]

    def inputs(self, plugin: str, raw: Any, stored: Mapping[str, StoredParameter]) -> Any:
        """The inputs of a step, filled in. In scripts a placeholder becomes a reference to the variable."""
        filled = substitution.fill(raw, self.all, stored)
        reference = _REFERENCES.get(plugin)
        if reference and self.by_environment and isinstance(filled, dict) and "runCommand" in raw:
            safe = {**self.all, **{name: reference.format(name) for name in self.by_environment}}
            filled["runCommand"] = substitution.fill(raw["runCommand"], safe, stored)
        return filled

    def environment(self, plugin: str) -> dict[str, str]:
        if plugin not in _REFERENCES:
            return {}
        return {f"SSM_{name}": value for name, value in self.by_environment.items()}


_REFERENCES = {"aws:runShellScript": "${{SSM_{}}}", "aws:runPowerShellScript": "${{env:SSM_{}}}"}


def _in_environment(schema: str, definitions: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, str]:
    """Texts of interpolationType ENV_VAR, which schema 2.2 knows."""
    if schema != "2.2":
        return {}
    chosen = (name for name, definition in definitions.items() if definition.get("interpolationType") == "ENV_VAR")
    return {name: values[name] for name in chosen if isinstance(values.get(name), str)}


def check_patterns(definitions: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """allowedPattern, which may match anywhere in each text of a value."""
    for name, definition in definitions.items():
        pattern = definition.get("allowedPattern")
        if not pattern or name not in values:
            continue
        try:
            compiled = re.compile(_end_of_text(str(pattern)))
        except re.error as error:
            raise InvalidDocument(f"allowedPattern of parameter {name} cannot be read: {error}") from error
        if not all(compiled.search(text) for text in _texts(values[name])):
            raise InvalidDocument(f"the value of parameter {name} does not match its allowedPattern")


def _end_of_text(pattern: str) -> str:
    r"""`$` means the very end in these patterns; Python's own would also match before a last newline."""
    piece = r"\\.|\[(?:\\.|[^\]\\])*\]|\$"
    return re.sub(piece, lambda found: r"\Z" if found.group() == "$" else found.group(), pattern)


def _texts(value: object) -> Iterable[str]:
    if isinstance(value, str):
        return [value]
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _main_steps(schema: str, body: Any, values: Values, stored: Mapping[str, StoredParameter]) -> list[Step]:
    if not isinstance(body, list):
        raise InvalidDocument("mainSteps is not a list")
    steps: list[Step] = []
    for position, raw in enumerate(body):
        if not isinstance(raw, dict):
            raise InvalidDocument("a step is not an object")
        name, action = raw.get("name"), raw.get("action")
        if not isinstance(name, str) or not _STEP_NAME.match(name) or not isinstance(action, str):
            raise InvalidDocument(f"step {position + 1} needs an action and a name of letters, digits, _ and -")
        if any(step.key == name for step in steps):
            raise InvalidDocument(f"two steps are named {name}")
        for member in ("timeoutSeconds", "maxAttempts"):
            if not isinstance(raw.get(member, 0), int | None):
                raise InvalidDocument(f"{member} of step {name} is not a number")
        inputs = values.inputs(action, raw.get("inputs") or {}, stored)
        if not isinstance(inputs, dict):
            raise InvalidDocument(f"the inputs of step {name} are not an object")
        verdict, reason = judge(raw.get("precondition"), schema, values.all, name)
        last = position == len(body) - 1
        steps.append(
            Step(
                key=name,
                plugin=action,
                runs=[inputs],
                verdict=verdict.value,
                reason=reason,
                finally_step=last and _is_true(inputs.get("finallyStep")),
                environment=values.environment(action),
            )
        )
    return steps


def _runtime_config(body: Any, values: Mapping[str, Any], stored: Mapping[str, StoredParameter]) -> list[Step]:
    if not isinstance(body, dict):
        raise InvalidDocument("runtimeConfig is not an object")
    steps: list[Step] = []
    for plugin, raw in body.items():
        if not isinstance(raw, dict):
            raise InvalidDocument(f"the configuration of {plugin} is not an object")
        properties = substitution.fill(raw.get("properties") or {}, values, stored)
        runs = [run for run in (properties if isinstance(properties, list) else [properties]) if isinstance(run, dict)]
        if not runs or (isinstance(properties, list) and len(runs) != len(properties)):
            raise InvalidDocument(f"the properties of {plugin} are no objects")
        steps.append(Step(key=plugin, plugin=plugin, runs=runs))
    return steps


def _is_true(value: object) -> bool:
    return value is True or (isinstance(value, str) and value.lower() == "true")
