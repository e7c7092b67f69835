"""What the node asks of the server: signed calls and files. Under Python 3.6; no library is there to sign.

The credentials are the node's own, from the file that its agent keeps and names; they are read anew for each call.
"""

import configparser
import datetime
import hashlib
import hmac
import json
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Dict, List, Optional, Tuple

_TRIES = 5
_SECONDS = 60
_MOST = 64 << 20


class Refused(Exception):
    """The server's answer, or that there is none; the text says so."""


class Server:
    """The server that this node is registered with."""

    def __init__(self, url: str, region: str, credentials_file: str, ca_file: str = "") -> None:
        self._url = url.rstrip("/")
        self._region = region
        self._file = credentials_file
        self._context = ssl.create_default_context(cafile=ca_file or None) if url.startswith("https:") else None

    def call(self, operation: str, request: Dict[str, Any], prefix: str = "AmazonSSM", service: str = "ssm") -> Any:
        """An operation's answer. Raises Refused."""
        body = json.dumps(request).encode()
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"{prefix}.{operation}",
            "Authorization": "",
        }
        return json.loads(self._send("POST", self._url + "/", body, headers, service).decode() or "{}")

    def fetch(self, source: str) -> bytes:
        """A file at https:// or http://, or an object at s3:// of this server. Raises Refused."""
        if source.startswith("s3://"):
            bucket, _, key = source[len("s3://") :].partition("/")
            path = "/{}/{}".format(bucket, urllib.parse.quote(key, safe="/-_.~"))
            return self._send("GET", self._url + path, b"", {"Authorization": ""}, "s3")
        if not source.startswith(("https://", "http://")):
            raise Refused(f"a list is fetched from https://, http:// or s3://, not from {source[:200]}")
        return self._send("GET", source, b"", {}, "")

    def _send(self, method: str, url: str, body: bytes, headers: Dict[str, str], service: str) -> bytes:
        for attempt in range(1, _TRIES + 1):
            signed = dict(headers)
            if "Authorization" in signed:
                signed.update(self._signature(method, url, body, headers, service))
            request = urllib.request.Request(
                url, data=body if method == "POST" else None, headers=signed, method=method
            )
            try:
                with urllib.request.urlopen(request, timeout=_SECONDS, context=self._context) as answer:
                    return bytes(answer.read(_MOST))
            except urllib.error.HTTPError as error:
                said = error.read(4096).decode("utf-8", "replace")
                again = error.code >= 500 or "ExpiredToken" in said or "Throttling" in said
                why = "{} answered {}: {}".format(url.split("?")[0], error.code, said)
            except OSError as error:
                again, why = True, "{} cannot be reached: {}".format(url.split("?")[0], error)
            if not again or attempt == _TRIES:
                raise Refused(why)
            time.sleep(2**attempt)
        raise Refused("not reached")

    def _signature(self, method: str, url: str, body: bytes, headers: Dict[str, str], service: str) -> Dict[str, str]:
        """The headers that sign a request (AWS Signature Version 4)."""
        key, secret, token = credentials(self._file)
        parts = urllib.parse.urlsplit(url)
        now = datetime.datetime.utcnow().strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(body).hexdigest()
        given = {"host": parts.netloc, "x-amz-date": now, "x-amz-content-sha256": digest}
        if token:
            given["x-amz-security-token"] = token
        if "X-Amz-Target" in headers:
            given["x-amz-target"] = headers["X-Amz-Target"]
            given["content-type"] = headers["Content-Type"]
        names = ";".join(sorted(given))
        lines = "".join(f"{name}:{given[name]}\n" for name in sorted(given))
        canonical = "\n".join([method, parts.path or "/", parts.query, lines, names, digest])
        scope = f"{now[:8]}/{self._region}/{service}/aws4_request"
        to_sign = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        derived = ("AWS4" + secret).encode()
        for part in (now[:8], self._region, service, "aws4_request"):
            derived = hmac.new(derived, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(derived, to_sign.encode(), hashlib.sha256).hexdigest()
        told = {name: value for name, value in given.items() if name not in ("host", "content-type", "x-amz-target")}
        told["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return told


def credentials(path: str) -> Tuple[str, str, str]:
    """Key id, secret and session token of the node's role. Raises Refused."""
    files = [path, os.path.expanduser("~/.aws/credentials")]
    profile = os.environ.get("AWS_PROFILE") or "default"
    for each in files:
        if not each or not os.path.isfile(each):
            continue
        found = configparser.RawConfigParser()
        found.read(each)
        if found.has_section(profile):
            section = dict(found.items(profile))
            return (
                section["aws_access_key_id"], section["aws_secret_access_key"], section.get("aws_session_token", "")
            )  # fmt: skip
    raise Refused("the agent's credentials are not where it says: {}".format(", ".join(each for each in files if each)))


def override_list(text: str) -> List[Dict[str, str]]:
    """The patches of an InstallOverrideList: a YAML list of maps with `id` and `title`. Raises Refused.

    Only that form is read: no YAML library comes with Python.
    """
    found: List[Dict[str, str]] = []
    for line in text.splitlines():
        bare = line.split(" #", 1)[0].strip()
        if not bare or bare.startswith("#") or bare in ("---", "patches:"):
            continue
        if bare == "-":
            found.append({})
            continue
        if bare.startswith("- "):
            found.append({})
            bare = bare[2:].strip()
        name, colon, value = bare.partition(":")
        if not colon or not found or name.strip().strip("\"'") not in ("id", "title"):
            raise Refused(f"the list of patches cannot be read at: {line[:200]}")
        found[-1][name.strip().strip("\"'")] = value.strip().strip("\"'")
    if not found or any(not each.get("id") for each in found):
        raise Refused("the list of patches names none: each needs an id")
    return found


def baseline_tag(text: str) -> Tuple[str, List[str]]:
    """Key and values of `Key=KEY,Values=VALUE,VALUE`. Raises Refused."""
    head, found, values = text.partition(",Values=")
    if not found or not head.startswith("Key="):
        raise Refused("BaselineTags have the form Key=KEY,Values=VALUE,...")
    return head[4:], values.split(",")


def override_baseline(text: str, operating_system: str) -> Optional[Dict[str, Any]]:
    """Of a JSON list of baselines the one for the operating system. Raises Refused."""
    try:
        given = json.loads(text)
    except ValueError as error:
        raise Refused(f"the list of baselines is no JSON: {error}")
    for each in given if isinstance(given, list) else [given]:
        if isinstance(each, dict) and each.get("OperatingSystem") == operating_system:
            return {name: value for name, value in each.items() if name in _OVERRIDES}
    return None


_OVERRIDES = (
    "OperatingSystem", "GlobalFilters", "ApprovalRules", "ApprovedPatches", "ApprovedPatchesComplianceLevel",
    "RejectedPatches", "RejectedPatchesAction", "ApprovedPatchesEnableNonSecurity", "Sources",
    "AvailableSecurityUpdatesComplianceStatus",
)  # fmt: skip
