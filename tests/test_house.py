"""The rules of the house that no linter knows; each exception stands beside its reason.

Import borders between whole rooms are in `.importlinter`. Here is what needs to look inside a file.
"""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from botocore.loaders import Loader

import pilothouse
from pilothouse import errors
from pilothouse.app import CAPABILITIES
from pilothouse.call import Operation
from pilothouse.errors import ApiError
from pilothouse.wire.not_yet import NOT_YET, missing, published

ROOT = Path(__file__).parent.parent
SERVER = ROOT / "src" / "pilothouse"
AGENT = ROOT / "src" / "pilothouse_agent"
FOLDERS = sorted(path.parent for path in (SERVER / "capabilities").glob("*/__init__.py"))
SERVICES = ("ssm", "secretsmanager", "kms", "sts", "iam", "cloudtrail", "logs", "s3", "sns", "resource-groups", "ec2")

SQL_APART_FROM_STORES = {
    "capabilities/access/account_store.py": "a store of its own: what is kept of an account as a whole",
    "capabilities/access/group_store.py": "a store of its own: groups and who is in them",
    "capabilities/access/login_store.py": "stores of their own: passwords, second factors, attempts, providers",
    "capabilities/access/oidc_store.py": "a store of its own: identity providers",
    "capabilities/access/policy_store.py": "a store of its own: managed policies and who holds them",
    "capabilities/access/profile_store.py": "a store of its own: instance profiles",
    "capabilities/access/role_store.py": "a store of its own: roles",
    "capabilities/access/users.py": "a store of its own: users with their keys and policies",
    "capabilities/associations/run_store.py": "a store of its own: executions and what became of them on each node",
    "capabilities/maintenance_windows/run_store.py": "a store of its own: executions, their tasks and invocations",
    "capabilities/commands/listing.py": "a store of its own: the two lists put their filters together there",
    "capabilities/commands/output_store.py": "a store of its own: output streams of steps, byte for byte",
    "capabilities/inventory/deletion_store.py": "a store of its own: deletions of custom types",
    "capabilities/inventory/index_store.py": "a store of its own: the index of distinct entries",
    "capabilities/inventory/sync_store.py": "a store of its own: resource data syncs and what waits for them",
    "capabilities/machines/root_store.py": "a store of its own: first disks that get the content of a snapshot",
    "capabilities/machines/work_store.py": "a store of its own: what is to be done to machines",
    "capabilities/nodes/connector_store.py": "a store of its own: links to other clouds",
    "capabilities/nodes/overview_store.py": "a store of its own: the fleet looked over, filtered and counted",
    "capabilities/documents/attachment_store.py": "a store of its own: the files of versions",
    "capabilities/documents/review_store.py": "a store of its own: what reviewers said",
    "capabilities/documents/share_store.py": "a store of its own: whom documents are shared with",
    "capabilities/secrets/rotation_store.py": "a store of its own: rotations and their logs",
    "capabilities/secrets/rotators": "asks other people's databases, each in its own language",
    "capabilities/sessions/tapes.py": "a store of its own: what is recorded of sessions",
    "capabilities/patches/state_store.py": "a store of its own: how nodes stand, and what they have seen",
    "capabilities/topics/queue_store.py": "a store of its own: messages, and who is still to get them",
    "storage": "the engines keep their own table of migrations",
    "gateway": "owns the outbox and who is connected where; each file holds the statements of its subject",
    "wire/replay.py": "owns the answers that retries get again",
    "cli/doctor.py": "counts the migrations to see that the database answers",
}
OUTSIDE_WORLD_APART_FROM_RUNTIME = {
    "cli": "commands are where the environment and the terminal come in",
    "capabilities/automation/scripts/launcher.py": "a program of its own, which has no clock and no house",
    "crypto/vault.py": "nonces come from the operating system only; nothing may replace them",
    "crypto/master_key.py": "makes the master key, or takes it from the environment, before there is a house",
}
TASKS_APART_FROM_GROUPS = {
    "src/pilothouse/storage/sqlite.py": "the committer lives as long as the database; close() waits for it",
    "src/pilothouse/storage/postgresql_looks.py": "a shared question belongs to all who wait for the answer",
    "src/pilothouse/wire/direct.py": "uvicorn's server waits for them at its end, as for those it starts itself",
    "src/pilothouse/gateway/ec2messages.py": "the watch of a poll is cancelled and awaited before the poll returns",
    "src/pilothouse/runtime/waiting.py": "both are awaited or cancelled before the function returns",
    "src/pilothouse_agent/endings.py": "the work is awaited at once, and ended with whoever waits",
}
FACES_OF_THE_GATEWAY = {
    "outbox": "messages to nodes are rows in it",
    "presence": "who is connected",
    "session_keeper": "what the gateway asks and tells of sessions",
    "session_messages": "what is said about sessions between the gateway, clients and nodes",
    "payloads": "the one JSON form that messages to and from nodes have",
    "node_signature": "how a node's key proves itself, without input or output",
}
FORKS = {
    "workers/supervisor.py": "makes workers of the very program that it is; it starts no other",
    "capabilities/automation/scripts": "scripts of runbooks run in a program of their own, which shuts itself in",
    "cli/secret_files.py": "a command, not the server, starts the editor that its user named",
}
WIRE_NAMES_APART = {
    "capabilities/tags/model.py": "its rules are about the Tags member of many requests, read as it comes",
    "capabilities/access/store.py": "root.sealed keeps the root key under the names that `accounts create` prints",
}
ERRORS_OUTSIDE_THE_MODELS = {
    "NotAuthorizedException": "kms answers it to alias names that are kept for services; its model does not list it",
    "InvalidParameterValue": "sts answers it about the tags of a session; its model does not list it",
    "ActivationExpired": "agents know the registration errors by these codes; no model lists them",
    "RegistrationLimitExceeded": "the same",
    "PublicKeyAlreadyRegistered": "the same",
    "MachineFingerprintDoesNotMatch": "the same, of RequestManagedInstanceRoleToken",
    "InvalidInstanceInformationValue": "the same, of UpdateInstanceInformation",
}
ERRORS_OUTSIDE_THE_MODELS |= dict.fromkeys(
    (
        "AccessControlListNotSupported",
        "BadDigest",
        "BadRequest",
        "BucketNotEmpty",
        "EntityTooLarge",
        "EntityTooSmall",
        "IllegalLocationConstraintException",
        "IncompleteBody",
        "InvalidArgument",
        "InvalidBucketName",
        "InvalidChunkSizeError",
        "InvalidDigest",
        "InvalidLocationConstraint",
        "InvalidPart",
        "InvalidPartNumber",
        "InvalidPartOrder",
        "InvalidRange",
        "InvalidTag",
        "InvalidURI",
        "KeyTooLongError",
        "MalformedPolicy",
        "MalformedTrailerError",
        "MalformedXML",
        "MaxMessageLengthExceeded",
        "MetadataTooLarge",
        "MethodNotAllowed",
        "MissingContentLength",
        "NoSuchBucketPolicy",
        "NoSuchLifecycleConfiguration",
        "NoSuchTagSet",
        "NotModified",
        "PreconditionFailed",
        "RequestTimeout",
        "UnsupportedFeature",
        "XAmzContentSHA256Mismatch",
    ),
    "of S3's list of error codes, or answered by a code of it; its model names few",
)
ERRORS_OUTSIDE_THE_MODELS |= dict.fromkeys(
    (
        "DryRunOperation",
        "EdgeError",
        "IdempotentParameterMismatch",
        "IncorrectInstanceState",
        "IncorrectState",
        "InsufficientInstanceCapacity",
        "InvalidAMIIDMalformed",
        "InvalidAMIIDNotFound",
        "InvalidAMIIDUnavailable",
        "InvalidAMINameDuplicate",
        "InvalidAMINameMalformed",
        "InvalidID",
        "InvalidInstanceIDMalformed",
        "InvalidInstanceIDNotFound",
        "InvalidParameterCombination",
        "InvalidSnapshotIDMalformed",
        "InvalidReplaceRootVolumeTaskIDNotFound",
        "InvalidSnapshotInUse",
        "InvalidSnapshotNotFound",
        "InvalidVolumeNotFound",
        "MissingParameter",
        "OperationNotPermitted",
        "TagLimitExceeded",
        "UnsupportedOperation",
    ),
    "of EC2's list of error codes, some with a point in them; its model names none",
)
IMPURE = {
    "apsw",
    "asyncio",
    "asyncpg",
    "httpx",
    "os",
    "pathlib",
    "random",
    "secrets",
    "socket",
    "sqlite3",
    "subprocess",
}
WRITES_TO = re.compile(
    r"\b(?:insert\s+into|delete\s+from|update)\s+(\w+)(?=\s+set\b|\s*\(|\s+where\b|\s+values\b|\s*$)", re.I
)
IS_SQL = re.compile(
    r"\s*(?:select\s.+\sfrom\s|insert\s+into\s|delete\s+from\s|update\s+\w+\s+set\s|with\s+\w+.*\sas\s*\()", re.I | re.S
)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def sources(*folders: Path) -> Iterator[Path]:
    for folder in folders:
        yield from sorted(folder.rglob("*.py"))


def inside(path: Path, places: dict[str, str]) -> bool:
    """Whether the file of the server is, or lies below, one of the places."""
    name = path.relative_to(SERVER).as_posix()
    return any(name == place or name.startswith(f"{place}/") for place in places)


def imports(path: Path) -> Iterator[str]:
    """Dotted names that the file imports: `from a.b import c` gives `a.b.c`."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def texts(path: Path) -> Iterator[str]:
    """String literals that are not docstrings; a formatted one with `?` where its values go."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "?" for part in node.values)


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a chain of attributes; a call in it stands as `()`."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    if isinstance(node, ast.Call):
        return f"{dotted(node.func)}()"
    return node.id if isinstance(node, ast.Name) else ""


@cache
def models() -> dict[str, dict]:
    """The public service models, the agents' own ones, and that of our own service."""
    found = {name: Loader().load_service_model(name, "service-2") for name in SERVICES}
    private = Loader(extra_search_paths=[str(SERVER / "wire" / "agent-models")], include_default_search_paths=False)
    for name in private.list_available_services("service-2"):
        found[f"agent {name}"] = private.load_service_model(name, "service-2")
    own = Loader(extra_search_paths=[str(SERVER / "wire" / "own-models")], include_default_search_paths=False)
    for name in own.list_available_services("service-2"):
        found[f"own {name}"] = own.load_service_model(name, "service-2")
    return found


def test_capabilities_meet_at_their_faces():
    for folder in FOLDERS:
        others = {other.name for other in FOLDERS} - {folder.name}
        for path in sources(folder):
            for name in imports(path):
                parts = name.split(".")
                if parts[:2] != ["pilothouse", "capabilities"] or len(parts) < 4 or parts[2] not in others:
                    continue
                behind = SERVER / "capabilities" / parts[2] / parts[3]
                inner = behind.is_dir() or behind.with_suffix(".py").exists()
                assert not inner, f"{path} reaches past the face: {name}"


def test_capabilities_see_only_the_faces_of_the_gateway():
    for path in sources(SERVER / "capabilities"):
        for name in imports(path):
            if name.startswith("pilothouse.gateway"):
                assert name.split(".")[2:3], f"{path} imports the whole gateway"
                assert name.split(".")[2] in FACES_OF_THE_GATEWAY, f"{path} imports {name}"


def test_models_are_pure():
    for path in sources(*FOLDERS):
        if path.name == "model.py":
            found = {name.split(".")[0] for name in imports(path)} & IMPURE
            found |= {
                name
                for name in imports(path)
                if re.match(r"pilothouse\.(storage|gateway\.(?!node_signature)|call)\b", name)
            }
            assert not found, f"{path} imports {sorted(found)}"


def test_wire_names_stay_out_of_models_and_stores():
    shapes = [shape for model in models().values() for shape in model["shapes"].values()]
    members = {member for shape in shapes for member in shape.get("members", ()) if member[0].isupper()}
    members -= {
        value for shape in shapes for value in shape.get("enum", ())
    }  # values, such as Failed, are the domain's too
    for path in sources(*FOLDERS):
        if path.name not in {"model.py", "store.py"} or inside(path, WIRE_NAMES_APART):
            continue
        for node in ast.walk(parsed(path)):
            keys: list[ast.expr | None] = []
            if isinstance(node, ast.Subscript):
                keys = [node.slice]
            elif isinstance(node, ast.Dict):
                keys = list(node.keys)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
                keys = list(node.args[:1])
            for key in keys:
                if isinstance(key, ast.Constant) and key.value in members:
                    raise AssertionError(f"{path}:{key.lineno} speaks wire: {key.value}")


def test_sql_lives_in_stores():
    for path in sources(SERVER):
        if path.name == "store.py" or inside(path, SQL_APART_FROM_STORES):
            continue
        found = [text for text in texts(path) if IS_SQL.match(text)]
        assert not found, f"{path} holds SQL: {found[0]!r}"


def test_only_the_owner_writes_its_tables():
    owners: dict[str, Path] = {}
    for file in SERVER.rglob("migrations/*.sql"):
        for table in re.findall(r"create table (?:if not exists )?(\w+)", file.read_text("utf-8")):
            owner = file.parent.parent
            assert owners.setdefault(table, owner) == owner, f"{table} is made by {owners[table]} and {owner}"
    assert owners
    for path in sources(SERVER):
        if path.is_relative_to(SERVER / "storage"):
            continue
        for text in texts(path):
            for table in WRITES_TO.findall(text):
                if table in owners:
                    assert path.is_relative_to(owners[table]), f"{path} writes {table}, which {owners[table]} owns"


def test_migrations_are_numbered_without_gaps():
    for folder in {file.parent for file in SERVER.rglob("migrations/*.sql")}:
        numbers = sorted(int(file.name[:4]) for file in folder.glob("*.sql"))
        assert numbers == list(range(1, len(numbers) + 1)), folder


OUTSIDE_WORLD = re.compile(
    r"(?:time\.(?:time|time_ns|monotonic|monotonic_ns|sleep)|(?:datetime\.)*(?:now|utcnow|today)"
    r"|(?:datetime|date)\.(?:now|utcnow|today)|random\..+|secrets\.(?:token_\w+|choice|randbelow|randbits)"
    r"|uuid\.uuid[14]|os\.(?:environ|getenv|urandom)(?:\..*)?|asyncio\.sleep|asyncio\.get_running_loop\(\)\.time)"
)


def test_time_randomness_and_environment_come_from_runtime():
    for path in sources(SERVER):
        if path.is_relative_to(SERVER / "runtime") or inside(path, OUTSIDE_WORLD_APART_FROM_RUNTIME):
            continue
        for name in imports(path):
            bare = r"time\.(time|time_ns|monotonic|sleep)|random(\..*)?|os\.(environ|getenv|urandom)|uuid\.uuid[14]"
            assert not re.fullmatch(bare, name), f"{path} imports {name}"
        for node in ast.walk(parsed(path)):
            if not isinstance(node, ast.Attribute) or not OUTSIDE_WORLD.fullmatch(dotted(node)):
                continue
            raise AssertionError(f"{path}:{node.lineno} uses {dotted(node)}; take it from call, house or runtime")


def test_tasks_have_an_owner():
    for path in sources(SERVER, AGENT):
        if path.relative_to(ROOT).as_posix() in TASKS_APART_FROM_GROUPS:
            continue
        groups = task_groups(parsed(path))
        for node in ast.walk(parsed(path)):
            if not isinstance(node, ast.Call):
                continue
            name = dotted(node.func)
            assert name not in {"asyncio.ensure_future", "ensure_future"}, f"{path}:{node.lineno} starts a loose task"
            if name.endswith("create_task"):
                receiver = name.removesuffix("create_task").rstrip(".").split(".")[-1].lstrip("_")
                assert receiver in groups, f"{path}:{node.lineno} starts a task outside a TaskGroup"


def task_groups(module: ast.Module) -> set[str]:
    """Names that hold a TaskGroup, by `async with … as name` or by annotation, without leading underscores."""
    names = set()
    for node in ast.walk(module):
        if isinstance(node, ast.withitem) and dotted(node.context_expr).endswith("TaskGroup()"):
            names.add(dotted(node.optional_vars) if node.optional_vars else "")
        elif isinstance(node, ast.arg) and node.annotation and "TaskGroup" in ast.unparse(node.annotation):
            names.add(node.arg)
        elif isinstance(node, ast.AnnAssign) and "TaskGroup" in ast.unparse(node.annotation):
            names.add(dotted(node.target).split(".")[-1])
    return {name.lstrip("_") for name in names}


def test_nothing_runs_text_as_code():
    for path in sources(SERVER, AGENT):
        assert not {"pickle", "marshal", "shelve"} & {name.split(".")[0] for name in imports(path)}, path
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call):
                name = dotted(node.func)
                shell = any(
                    word.arg == "shell" and not (isinstance(word.value, ast.Constant) and word.value.value is False)
                    for word in node.keywords
                )
                assert not shell, f"{path}:{node.lineno} asks for a shell"
                assert name not in {"eval", "exec", "compile", "os.system", "os.popen"}, f"{path}:{node.lineno} {name}"
                assert name != "asyncio.create_subprocess_shell", f"{path}:{node.lineno} asks for a shell"


def test_server_starts_no_programs():
    for path in sources(SERVER):
        if inside(path, FORKS):
            continue
        names = {name for name in imports(path) if name.split(".")[0] in {"subprocess", "pty"}}
        names |= {dotted(node) for node in ast.walk(parsed(path)) if isinstance(node, ast.Attribute)} & {
            "asyncio.create_subprocess_exec",
            "os.fork",
            "os.posix_spawn",
        }
        assert not names, f"{path} uses {sorted(names)}"


def test_files_and_functions_are_short():
    for path in sources(SERVER, AGENT):
        assert len(path.read_text("utf-8").splitlines()) < 500, f"{path}: split it by subject"
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno
                assert length < 80, f"{path}:{node.lineno} {node.name} has {length} lines"


def test_modules_say_what_they_own():
    for path in sources(SERVER, AGENT):
        if path.read_text("utf-8").strip():
            assert ast.get_docstring(parsed(path)), f"{path} has no docstring"


def test_no_module_is_named_after_nothing():
    nothing = {"utils", "util", "helpers", "helper", "service", "services", "manager", "misc", "common", "base"}
    assert not [path for path in sources(SERVER, AGENT) if path.stem in nothing or path.parent.name in nothing]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_capability_has_one_name_everywhere(folder):
    assert folder.name in {capability.name for capability in CAPABILITIES}, "app does not list it"
    assert (ROOT / "tests" / "capabilities" / folder.name).is_dir(), "no tests"
    assert (ROOT / "docs" / "reference" / f"{folder.name}.md").is_file(), "no reference page"


def test_the_console_has_the_names_of_capabilities():
    layers = (ROOT / ".importlinter").read_text("utf-8").partition("layers =")[2].partition("exhaustive")[0]
    names = set(re.findall(r"\w+", layers))
    folders = {path.name for path in (ROOT / "console" / "src" / "capabilities").iterdir()}
    assert folders <= names, f"no capability is named {sorted(folders - names)}"


def test_no_operation_has_two_owners():
    owners: dict[tuple[str, str], str] = {}
    for capability in CAPABILITIES:
        for operation in capability.operations:
            assert isinstance(operation, Operation)
            key = (operation.service, operation.name)
            assert key not in owners, f"{key} is answered by {owners[key]} and {capability.name}"
            owners[key] = capability.name


def test_operations_are_answered_or_listed_as_not_yet():
    answered = {(each.service, each.name) for capability in CAPABILITIES for each in capability.operations}
    unlisted, answered_after_all = missing(answered) - NOT_YET, NOT_YET & answered
    assert not unlisted, f"neither answered nor in NOT_YET: {sorted(unlisted)}"
    assert not answered_after_all, f"take out of NOT_YET: {sorted(answered_after_all)}"
    unknown = {each for each in answered - published() if each[0] in SERVICES} - agent_operations()
    assert not unknown, f"no model has {sorted(unknown)}"


def agent_operations() -> set[tuple[str, str]]:
    """What agents call beyond the public models."""
    return {
        (name.removeprefix("agent "), operation)
        for name, model in models().items()
        if name.startswith("agent ")
        for operation in model["operations"]
    }


def test_every_error_is_one_that_clients_know():
    known = set(ERRORS_OUTSIDE_THE_MODELS)
    known |= {each.__name__ for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ApiError)}
    for model in models().values():
        for name, shape in model["shapes"].items():
            if shape.get("exception"):
                known |= {name, shape.get("error", {}).get("code", name)}
    for module in pkgutil.walk_packages(pilothouse.__path__, "pilothouse."):
        importlib.import_module(module.name)
    for error in every_subclass(ApiError):
        if error.__module__.startswith("pilothouse."):
            assert error.__name__ in known, f"{error.__module__} raises {error.__name__}: no service model has it"


def every_subclass(of: type) -> Iterator[type]:
    for each in of.__subclasses__():
        yield each
        yield from every_subclass(each)


NOT_OURS = {".git", ".venv", "data", "dist", "build", "node_modules", "__pycache__"}
UNWANTED = {
    "a path of one machine": r"/(?:work|root|home/\w+|Users/\w+)/[\w.]",
    "a package registry's host": r"(?:pypi|pythonhosted|npmjs|debian|golang|crates)\.(?:org|io|com)",
    "a promise to do it later": r"\b(?:TODO|FIXME|XXX|HACK)\b|# for now",
}


def our_files() -> Iterator[Path]:
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        if NOT_OURS & set(parts) or any(part.endswith("_cache") or part == ".hypothesis" for part in parts):
            continue
        if path.is_file() and path != Path(__file__):
            yield path


def test_files_speak_of_the_project_alone():
    for path in our_files():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        for what, pattern in UNWANTED.items():
            if found := re.search(pattern, text):
                raise AssertionError(f"{path.relative_to(ROOT)} holds {what}: {found[0]!r}")
