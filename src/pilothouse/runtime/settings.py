"""Settings: frozen values, read once at start from `pilothouse.toml` in the data directory, the environment, options.

An option beats the environment (`PILOTHOUSE_HTTPS`, `PILOTHOUSE_COMMANDS_HISTORY_DAYS` …), that beats the file.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from pilothouse.runtime.files import write_private


class SettingsInvalid(Exception):
    """A setting is unknown or has the wrong form; the text names it and says what fits."""


API, GATEWAY, SCHEDULER = "api", "gateway", "scheduler"
ROLES = (API, GATEWAY, SCHEDULER)
"""What a process may do: answer clients, hold the channels of nodes and answer their agents, run background jobs."""

MOST_WORKERS = 64

_CONNECTION = re.compile(r"[A-Za-z0-9_-]{1,64} +[0-9]{12} +[a-z0-9-]{1,32} +[a-z][a-z0-9+-]*://?[^\s,]*")
_SERVER_URL = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+")


@dataclass(frozen=True, kw_only=True)
class NodeSettings:
    """[nodes]"""

    online_seconds: int = 330
    """A node without an open channel is Online this long after its last contact (agents ping each 300 s)."""
    token_seconds: int = 3600
    """Life of a node's role credentials; agents renew them at half of it."""


@dataclass(frozen=True, kw_only=True)
class CommandSettings:
    """[commands]"""

    history_days: int = 30
    """Finished commands are removed after this."""
    output_mib: int = 64
    """So much of each output stream of a step on a node is kept, if the node shows it while it runs."""


@dataclass(frozen=True, kw_only=True)
class AssociationSettings:
    """[associations]"""

    most: int = 2000
    """Associations of an account in a region."""
    most_versions: int = 1000
    """Of one association."""
    history_days: int = 30
    """Ended executions are removed after this."""


@dataclass(frozen=True, kw_only=True)
class MaintenanceWindowSettings:
    """[maintenance_windows]"""

    most: int = 2000
    """Windows of an account in a region."""
    most_targets: int = 100
    """Of one window."""
    most_tasks: int = 20
    """Of one window."""
    history_days: int = 30
    """Ended executions are removed after this."""
    lambda_url: str = ""
    """Who is called for tasks of type LAMBDA; empty: there can be none."""
    step_functions_url: str = ""
    """Who is called for tasks of type STEP_FUNCTIONS; empty: there can be none."""
    secret_file: str = ""
    """A file with the secret (`whsec_...`) that these calls are signed with."""
    lambda_endpoint: str = ""
    """Where functions are invoked by the cloud's API, in place of `lambda_url`."""
    lambda_seconds: int = 60
    """How long a function may take there."""
    step_functions_endpoint: str = ""
    """Where state machines are started by the cloud's API, in place of `step_functions_url`."""
    credentials_file: str = ""
    """What calls there are signed with, as in `~/.aws/credentials`; empty: a session of the task's role."""

    def __post_init__(self) -> None:
        if (self.lambda_url or self.step_functions_url) and not self.secret_file:
            raise SettingsInvalid("[maintenance_windows] lambda_url and step_functions_url need a secret_file")
        if (self.lambda_url and self.lambda_endpoint) or (self.step_functions_url and self.step_functions_endpoint):
            raise SettingsInvalid("[maintenance_windows] of a …_url and an …_endpoint for the same only one can be set")
        if not 1 <= self.lambda_seconds <= 900:
            raise SettingsInvalid("[maintenance_windows] lambda_seconds is from 1 to 900")


@dataclass(frozen=True, kw_only=True)
class AutomationSettings:
    """[automation]"""

    concurrent: int = 100
    """Executions of an account in a region that go on at once; children of others do not count."""
    rate_controlled: int = 25
    """Of these, the ones that start executions for targets or places."""
    queued: int = 1000
    """Those that wait for their turn; no more are started then."""
    endpoints: str = ""
    """A file of TOML with the endpoints of services that are not here; empty: there are none."""
    history_days: int = 30
    """Ended executions are removed after this."""
    url: str = ""
    """Where approvers reach the server, such as `https://pilothouse.example:7743`; empty: where subscribers of topics
    do, else by the first of `names`."""
    powershell: str = ""
    """The program that runs scripts of PowerShell, as an absolute path; empty: `pwsh`, where PATH leads to one."""

    def __post_init__(self) -> None:
        if self.powershell and not self.powershell.startswith("/"):
            raise SettingsInvalid("[automation] powershell must be the absolute path of a program, such as /opt/…/pwsh")
        if self.url and not _SERVER_URL.fullmatch(self.url):
            raise SettingsInvalid("[automation] url must be http:// or https:// with a host, and no path")
        if self.concurrent < 1 or self.rate_controlled < 1 or self.queued < 0:
            raise SettingsInvalid("[automation] concurrent and rate_controlled must be 1 or more, queued 0 or more")
        if self.history_days < 1:
            raise SettingsInvalid("[automation] history_days must be 1 or more")


@dataclass(frozen=True, kw_only=True)
class PatchSettings:
    """[patches]"""

    most: int = 100
    """Baselines of an account in a region."""
    snapshot_days: int = 3
    """What a run was given of a baseline is removed after this."""
    catalogue_days: int = 90
    """Patches that no node has seen for so long are forgotten."""
    lock_seconds: int = 120
    """How long a node waits for another program that is at work on its packages."""


@dataclass(frozen=True, kw_only=True)
class EventSettings:
    """[events]"""

    keep_days: int = 7
    """Events are removed after this; who reads later than that misses some."""
    streams: int = 20
    """Event streams that one principal may have open at once, on one process."""


@dataclass(frozen=True, kw_only=True)
class TopicSettings:
    """[topics]"""

    url: str = ""
    """Where subscribers reach the server, such as `https://pilothouse.example:7743`; empty: as whoever subscribed
    them addressed it over TLS, else by the first of `names`."""
    keep_days: int = 7
    """What a subscriber did not take in this time is dropped."""

    def __post_init__(self) -> None:
        if self.url and not _SERVER_URL.fullmatch(self.url):
            raise SettingsInvalid("[topics] url must be http:// or https:// with a host, and no path")
        if self.keep_days < 1:
            raise SettingsInvalid("[topics] keep_days must be 1 or more")


@dataclass(frozen=True, kw_only=True)
class AuditSettings:
    """[audit]"""

    keep_days: int = 90
    """Records are removed after this; 0: never."""
    sink: str = ""
    """Where records go besides the database: `file:/path`, `syslog:///dev/log`, `syslog+tcp://host:port`,
    `syslog+tls://host:port`, or the `https://` URL of a receiver. What must be recorded is refused while it is away."""
    sink_token_file: str = ""
    """A file with the bearer token that a receiver wants."""


@dataclass(frozen=True, kw_only=True)
class LimitSettings:
    """[limits]; of one process. 0: none, but for the times."""

    connections: int = 16_384
    """Connections at once: a channel for each of 10,000 nodes, and calls of half of them in the same moment."""
    connections_per_address: int = 512
    """Connections of one address that have carried no call with a good signature yet."""
    handshakes: int = 128
    """TLS handshakes in progress at once; a quarter of them of one address."""
    failures_per_minute: int = 600
    """Bad signatures of one address, after which only what is known to be good is looked at."""
    in_flight: int = 128
    """Calls in work from which on each principal has a share of them."""
    body_mib: int = 256
    """Memory for bodies that are under way, in MiB; a quarter of it for one address."""
    head_seconds: float = 10
    """From the connection to the end of TLS's handshake, and from a request's first byte to the end of its headers."""
    body_seconds: float = 30
    """For a body to arrive."""
    idle_seconds: int = 75
    """How long a kept-alive connection may be silent between two requests; SDK pools keep theirs about a minute."""
    stall_seconds: float = 30
    """How long a client may leave its buffers full."""

    def of_each(self, processes: int) -> "LimitSettings":
        """What each of several processes of a server may take, so that all together take no more than is set: places,
        memory and guesses are divided. What shares out the time of one process stays."""
        divided = ("connections", "connections_per_address", "failures_per_minute", "body_mib")
        return replace(self, **{name: -(-getattr(self, name) // processes) for name in divided})

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value < 0 or (value == 0 and each.name.endswith("_seconds")):
                least = "more than 0" if each.name.endswith("_seconds") else "0 or more"
                raise SettingsInvalid(f"[limits] {each.name} must be {least}")


@dataclass(frozen=True, kw_only=True)
class OutboundSettings:
    """[outbound]: requests that the server makes, to webhooks for one."""

    allow: tuple[str, ...] = ()
    """Networks such as `10.1.0.0/16` that may be called although they are not public."""
    ca_file: str = ""
    """PEM file of further certificate authorities."""


@dataclass(frozen=True, kw_only=True)
class ParameterSettings:
    """[parameters]; of an account in a region, 0: as many as there is room for."""

    standard_limit: int = 10_000
    """Parameters of the Standard tier."""
    advanced_limit: int = 100_000
    """Parameters of the Advanced tier."""


@dataclass(frozen=True, kw_only=True)
class SecretSettings:
    """[secrets]"""

    unlabelled_versions: int = 100
    """Versions without staging labels that are kept of each secret; none goes before it is a day old."""
    hook_secret_file: str = ""
    """A file with the secret (`whsec_...`) that calls of rotation hooks are signed with; empty: there can be none."""
    lambda_endpoint: str = ""
    """Where rotation functions are invoked, such as `https://lambda.eu-west-1.amazonaws.com`; empty: nowhere."""
    lambda_credentials_file: str = ""
    """A file with two lines, an access key id and its secret, that these calls are signed with."""
    rotation_history_days: int = 90
    """Ended rotations and their logs are removed after this."""

    def __post_init__(self) -> None:
        if self.unlabelled_versions < 1 or self.rotation_history_days < 1:
            raise SettingsInvalid("[secrets] unlabelled_versions and rotation_history_days must be 1 or more")
        if self.lambda_endpoint and not _SERVER_URL.fullmatch(self.lambda_endpoint):
            raise SettingsInvalid("[secrets] lambda_endpoint must be http:// or https:// with a host, and no path")


@dataclass(frozen=True, kw_only=True)
class MachineSettings:
    """[machines]"""

    connections: tuple[str, ...] = ()
    """Where machines are that are not in EC2: `NAME ACCOUNT REGION URI`, the URI as libvirt has them, such as
    `lab 111122223333 eu-west-1 qemu:///system`."""
    look_seconds: float = 5
    """How often a connection is looked at."""
    call_seconds: float = 30
    """For what a connection is asked, but for copies of disks."""
    stop_seconds: int = 120
    """A machine that was asked to stop is cut off after this."""
    terminate_found: bool = False
    """Whether also machines may be terminated that were not run from an image here; their disks go with them."""

    def __post_init__(self) -> None:
        if any(_CONNECTION.fullmatch(each) is None for each in self.connections):
            raise SettingsInvalid("[machines] connections must be texts of the form NAME ACCOUNT REGION URI")
        if len({each[:3] for each in self.places}) < len(self.connections):
            raise SettingsInvalid("[machines] connections of an account and region must have names of their own")
        if self.look_seconds <= 0 or self.call_seconds <= 0 or self.stop_seconds < 0:
            raise SettingsInvalid("[machines] look_seconds, call_seconds must be more than 0, stop_seconds 0 or more")

    @property
    def places(self) -> tuple[tuple[str, str, str, str], ...]:
        """Name, account, region and URI of each."""
        found = []
        for each in self.connections:
            name, account_id, region, uri = each.split()
            found.append((name, account_id, region, uri))
        return tuple(found)


@dataclass(frozen=True, kw_only=True)
class ObjectSettings:
    """[objects]"""

    host: str = ""
    """A host name that buckets may stand before, as in `BUCKET.objects.example.com`; `names` count as well."""


@dataclass(frozen=True, kw_only=True)
class SessionSettings:
    """[sessions]"""

    url: str = ""
    """Where clients of sessions reach the server, such as `https://pilothouse.example:7743`; empty: where they asked
    for the session."""
    origins: tuple[str, ...] = ()
    """Further sites, such as `https://console.example`, whose pages may open terminals."""
    agents_upload: bool = False
    """Whether agents are told to upload the logs of sessions themselves; they need a way to buckets and logs then."""

    def __post_init__(self) -> None:
        if self.url and not _SERVER_URL.fullmatch(self.url):
            raise SettingsInvalid("[sessions] url must be http:// or https:// with a host, and no path")


@dataclass(frozen=True, kw_only=True)
class InventorySettings:
    """[inventory]"""

    item_bytes: int = 3 << 20
    """JSON of one item: as much as agents send."""
    node_bytes: int = 10 << 20
    """JSON of all items of a node together."""
    custom_types: int = 20
    """Of an account in a region."""
    versions: int = 5
    """What a node said of a type before, kept for looking back."""
    sync_endpoint: str = ""
    """`https://...` of the S3 that resource data syncs write to; empty: this server's own buckets."""
    sync_credentials: str = ""
    """A file with `access key id:secret` for that endpoint."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that an operator may set."""

    data: Path
    http: str = "127.0.0.1:7700"
    https: str = "0.0.0.0:7743"
    database: str = ""
    """`postgresql://...`; empty: SQLite in the data directory."""
    blobs: str = ""
    """`s3://bucket/prefix` or `file:///directory`; empty: the directory `blobs` in the data directory."""
    bus: str = ""
    """`nats://...` for wake-ups between server processes; empty: PostgreSQL's own NOTIFY where that is the database."""
    master_key: str = ""
    """`file`, `environment`, `aws-kms:...`, `transit:...`; empty: the environment's, else the file."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks such as `10.1.0.0/16` of reverse proxies, which are believed about where a request comes from."""
    names: tuple[str, ...] = ()
    """Further host names and addresses that the server's own certificate covers."""
    certificate: str = ""
    """PEM file of a certificate chain to serve instead of our own, with `key`."""
    key: str = ""
    roles: tuple[str, ...] = ROLES
    """What this server does; other servers of the installation do the rest."""
    workers: int = 1
    """Processes that share the listeners and the work."""
    region: str = "us-east-1"
    """The region that `pilothouse env` prints; requests carry their own in the signature's scope."""
    dev: bool = False
    """Accept any 12-digit access key with the secret `test` as that account's administrator; loopback only."""
    skew_seconds: int = 300
    node_skew_seconds: int = 900
    nodes: NodeSettings = field(default_factory=NodeSettings)
    commands: CommandSettings = field(default_factory=CommandSettings)
    associations: AssociationSettings = field(default_factory=AssociationSettings)
    maintenance_windows: MaintenanceWindowSettings = field(default_factory=MaintenanceWindowSettings)
    inventory: InventorySettings = field(default_factory=InventorySettings)
    automation: AutomationSettings = field(default_factory=AutomationSettings)
    parameters: ParameterSettings = field(default_factory=ParameterSettings)
    patches: PatchSettings = field(default_factory=PatchSettings)
    events: EventSettings = field(default_factory=EventSettings)
    topics: TopicSettings = field(default_factory=TopicSettings)
    audit: AuditSettings = field(default_factory=AuditSettings)
    outbound: OutboundSettings = field(default_factory=OutboundSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    secrets: SecretSettings = field(default_factory=SecretSettings)
    machines: MachineSettings = field(default_factory=MachineSettings)
    objects: ObjectSettings = field(default_factory=ObjectSettings)
    sessions: SessionSettings = field(default_factory=SessionSettings)

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.roles) - set(ROLES)):
            raise SettingsInvalid(f"no role is named {unknown[0]!r}; there are {', '.join(ROLES)}")
        if not self.roles:
            raise SettingsInvalid(f"roles must name at least one of {', '.join(ROLES)}")
        if not 1 <= self.workers <= MOST_WORKERS:
            raise SettingsInvalid(f"workers must be from 1 to {MOST_WORKERS}")

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.data.absolute()}/pilothouse.db"


_VARIABLES = {"master_key": "PILOTHOUSE_MASTER_KEY_FROM"}
"""Where the variable is not named after the setting: PILOTHOUSE_MASTER_KEY holds the key itself."""
_KINDS = {float: "number"}
_MASTER_KEY_LINE = re.compile(r"^[ \t]*master_key[ \t]*=.*$", re.M)
_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_TABLE_LINE = re.compile(r"^[ \t]*\[", re.M)


def write_master_key(data: Path, value: str, *, environment: Mapping[str, str] | None = None) -> None:
    """Set `master_key` in the data directory's file, in one durable step; other lines stay. Raises SettingsInvalid."""
    environment = os.environ if environment is None else environment
    if _VARIABLES["master_key"] in environment:
        raise SettingsInvalid(f"{_VARIABLES['master_key']} decides; unset it, or set it to {value}")
    file = data / "pilothouse.toml"
    text = file.read_text("utf-8") if file.exists() else ""
    table = _TABLE_LINE.search(text)
    top, rest = (text[: table.start()], text[table.start() :]) if table else (text, "")
    line = f'master_key = "{value}"'
    known = _MASTER_KEY_LINE.search(top)
    top = top[: known.start()] + line + top[known.end() :] if known else f"{line}\n{top}"
    if tomllib.loads(top + rest).get("master_key") != value:
        raise SettingsInvalid(f"{file}: set {line} by hand")
    write_private(file, (top + rest).encode())


def load(data: Path, *, environment: Mapping[str, str] | None = None, **options: Any) -> Settings:
    """Settings of an installation. Options that are None do not count. Raises SettingsInvalid."""
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    file = data / "pilothouse.toml"
    if file.exists():
        try:
            values = tomllib.loads(file.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsInvalid(f"{file}: {error}") from error
    found = _read(Settings, values, environment, "PILOTHOUSE", str(file))
    found.update({name: value for name, value in options.items() if value is not None})
    found["data"] = data
    return Settings(**found)


def _read(
    kind: Any, values: Mapping[str, Any], environment: Mapping[str, str], prefix: str, file: str
) -> dict[str, Any]:
    known = {each.name: each for each in fields(kind) if each.name != "data"}
    if unknown := sorted(set(values) - set(known)):
        raise SettingsInvalid(f"{file}: no setting is named {unknown[0]!r}; there are {', '.join(sorted(known))}")
    found: dict[str, Any] = {}
    for name, each in known.items():
        variable = _VARIABLES.get(name) or f"{prefix}_{name.upper()}"
        if isinstance(each.type, type) and is_dataclass(each.type):
            found[name] = each.type(**_read(each.type, values.get(name, {}), environment, variable, file))
        elif variable in environment:
            found[name] = _from_text(each.type, environment[variable], variable)
        elif name in values:
            value = values[name]
            found[name] = _checked(each.type, value, name, file)
    return found


def _from_text(kind: Any, text: str, variable: str) -> Any:
    if kind is bool:
        if text.lower() not in {"true", "false", "1", "0"}:
            raise SettingsInvalid(f"{variable} must be true or false")
        return text.lower() in {"true", "1"}
    if kind is int:
        try:
            return int(text)
        except ValueError as error:
            raise SettingsInvalid(f"{variable} must be a whole number") from error
    if kind is float:
        if not _NUMBER.fullmatch(text):
            raise SettingsInvalid(f"{variable} must be a number")
        return float(text)
    if kind == tuple[str, ...]:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text


def _checked(kind: Any, value: Any, name: str, file: str) -> Any:
    if kind == tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise SettingsInvalid(f"{file}: {name} must be a list of texts")
        return tuple(value)
    fits = type(value) in (int, float) and _NUMBER.fullmatch(str(value)) if kind is float else type(value) is kind
    if not fits:
        raise SettingsInvalid(f"{file}: {name} must be a {_KINDS.get(kind, kind.__name__)}")
    return value
