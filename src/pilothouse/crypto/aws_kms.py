"""A master key in a KMS that speaks AWS's API: AWS itself, or another Pilothouse. The key never comes here.

Credentials are found as every AWS program finds them. The endpoint is AWS's, or the one in the setting: variables such
as AWS_ENDPOINT_URL do not count, since they often point at the very server that starts.
"""

import re
import threading
from typing import Any

import botocore.exceptions
import botocore.parsers
import botocore.session
from botocore.config import Config

from pilothouse.crypto.master_key import MasterKeyUnreachable, MasterKeyUnusable
from pilothouse.crypto.outside import CONNECT_SECONDS, READ_SECONDS, ask, checked_address, fingerprint_of_place

_LATER = {"ThrottlingException", "KMSInternalException", "DependencyTimeoutException", "ServiceUnavailableException"}
_CODE = re.compile(r"[A-Za-z0-9.:_-]{1,100}")
_NO_KMS = (
    botocore.parsers.ResponseParserError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What botocore and the look at its answer raise where the bytes are not those of a KMS."""


class AwsKmsKey:
    """A symmetric key by id, ARN or alias. The context goes along as encryption context."""

    def __init__(self, name: str, key_id: str, *, endpoint: str | None, region: str | None) -> None:
        if endpoint is not None:
            checked_address(endpoint)
        self.name = name
        self._key_id = key_id
        self._endpoint = endpoint
        self._region = region or (key_id.split(":")[3] if key_id.startswith("arn:") and key_id.count(":") > 4 else None)
        self.fingerprint = fingerprint_of_place("aws-kms", key_id, endpoint or "", self._region or "")
        self._making = threading.Lock()
        self._client: Any = None

    async def wrap(self, plaintext: bytes, context: str) -> bytes:
        return await self._asked(
            "encrypt", "CiphertextBlob", KeyId=self._key_id, Plaintext=plaintext, EncryptionContext=_bound(context)
        )

    async def unwrap(self, wrapped: bytes, context: str) -> bytes:
        return await self._asked(
            "decrypt", "Plaintext", KeyId=self._key_id, CiphertextBlob=wrapped, EncryptionContext=_bound(context)
        )

    async def rewrap(self, wrapped: bytes, context: str) -> bytes:
        return await self.wrap(await self.unwrap(wrapped, context), context)

    async def _asked(self, operation: str, member: str, **request: Any) -> bytes:
        def call() -> bytes:
            try:
                found: Any = getattr(self._connected(), operation)(**request)[member]
            except botocore.exceptions.ClientError as error:
                raise self._refused(error) from None
            except (botocore.exceptions.HTTPClientError, botocore.exceptions.ConnectionError) as error:
                raise MasterKeyUnreachable(
                    f"the KMS that keeps the master key ({self.name}) cannot be reached: {type(error).__name__}; "
                    "check the address and that it runs"
                ) from None
            except botocore.exceptions.BotoCoreError as error:
                raise MasterKeyUnusable(
                    f"the KMS that keeps the master key ({self.name}) cannot be asked: {error}; "
                    "set region and credentials as for any AWS program"
                ) from None
            except _NO_KMS as error:
                raise self._stranger() from error
            if not isinstance(found, bytes) or not found:
                raise self._stranger()
            return found

        return await ask(f"the KMS that keeps the master key ({self.name})", call)

    def _connected(self) -> Any:
        with self._making:
            if self._client is None:
                options: dict[str, Any] = {
                    "connect_timeout": CONNECT_SECONDS,
                    "read_timeout": READ_SECONDS,
                    "retries": {"max_attempts": 0},
                    "ignore_configured_endpoint_urls": True,
                    "proxies": {},
                }
                self._client = botocore.session.get_session().create_client(
                    "kms",
                    endpoint_url=self._endpoint,
                    region_name=self._region,
                    config=Config(**options),
                )
            return self._client

    def _stranger(self) -> MasterKeyUnusable:
        return MasterKeyUnusable(f"what answers in the place of the KMS ({self.name}) is no KMS; check the address")

    def _refused(self, error: Any) -> MasterKeyUnusable:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = str(error.response.get("Error", {}).get("Code", ""))
        if not _CODE.fullmatch(code):
            code = f"status {status}"  # it is shown in a terminal, and anybody may have answered
        if code in _LATER or status >= 500:
            return MasterKeyUnreachable(
                f"the KMS that keeps the master key ({self.name}) does not serve now: {code}; try again"
            )
        return MasterKeyUnusable(
            f"the KMS that keeps the master key ({self.name}) refuses: {code}; "
            "check that the key is enabled and that these credentials may kms:Encrypt and kms:Decrypt with it"
        )


def _bound(context: str) -> dict[str, str]:
    return {"pilothouse": context}
