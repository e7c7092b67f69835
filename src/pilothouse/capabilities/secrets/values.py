"""GetSecretValue, and the reading of values for who reads them otherwise."""

from pilothouse.call import Act, Call, Caller, Shape, operation
from pilothouse.capabilities.secrets.conditions import of_read
from pilothouse.capabilities.secrets.finding import MARKED, check_key, found
from pilothouse.capabilities.secrets.model import (
    CURRENT,
    DAY_MS,
    InvalidRequestException,
    Reading,
    ResourceNotFoundException,
    Secret,
    Version,
    references,
)
from pilothouse.capabilities.secrets.naming import named
from pilothouse.capabilities.secrets.sealing import unseal
from pilothouse.capabilities.secrets.settling import LOOKS, is_settled, look_again
from pilothouse.capabilities.secrets.store import SecretStore
from pilothouse.errors import ApiError, ValidationException
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction


async def _named(call: Call, request: Shape) -> list[str]:
    """As `named`. What is found is all that the handler needs: a call asks the database once."""
    if call.prepared is None:
        try:
            async with call.reading() as tx:
                call.prepared = await _own(call, tx, request)
        except (ResourceNotFoundException, ValidationException):
            pass  # the handler says what is wrong
    return await named(call, request) if call.prepared is None else [call.prepared.arn]


@operation(
    "secretsmanager",
    "GetSecretValue",
    callers=Caller.ACCOUNT | Caller.NODE,
    resources=_named,
    conditions=of_read,
    audited=True,
)
async def get_secret_value(call: Call, request: Shape) -> Shape:
    """The value of one version."""
    version_id, stage = request.get("VersionId"), request.get("VersionStage")
    asks_current = version_id is None and stage in (None, CURRENT)
    for looks_left in reversed(range(LOOKS)):
        async with call.reading() as tx:
            reading, call.prepared = call.prepared or await _read(call, tx, request), None
            if reading.purge_at is not None:
                raise InvalidRequestException(MARKED)
            check_key(call, reading)
            if not asks_current or is_settled(call, reading) or not looks_left:
                value = await unseal(call, tx, reading, checked(reading, version_id, stage))
                break
        await look_again()
    await note_read(call, reading, reading)
    return told_value(reading, value)


async def _own(call: Call, tx: Transaction, request: Shape) -> Reading | None:
    """What is asked for, of a secret of the caller's account. Raises ResourceNotFoundException, ValidationException."""
    for reference in references(request["SecretId"], call.account_id, call.region):
        if reference.account_id == call.account_id:
            store = SecretStore(tx, call.account_id, call.region)
            reading = await store.reading(
                reference.name, request.get("VersionId"), request.get("VersionStage") or CURRENT
            )
            if reading is not None and reference.suffix in (None, reading.suffix):
                return reading
    return None


async def _read(call: Call, tx: Transaction, request: Shape) -> Reading:
    """The same of any account whose policy lets the caller in. Raises as `found` does."""
    reading = await _own(call, tx, request)
    if reading is None:
        store, secret = await found(call, tx, request["SecretId"], "GetSecretValue")
        reading = await store.reading(secret.name, request.get("VersionId"), request.get("VersionStage") or CURRENT)
    if reading is None:
        raise ResourceNotFoundException
    return reading


async def choose(store: SecretStore, name: str, version_id: str | None = None, stage: str | None = None) -> Reading:
    """The version asked for of a secret that is there; AWSCURRENT if none is. Raises as `checked` does."""
    reading = await store.reading(name, version_id, stage or CURRENT)
    if reading is None:
        raise ResourceNotFoundException
    return checked(reading, version_id, stage)


def checked(reading: Reading, version_id: str | None, stage: str | None) -> Reading:
    """What was read, if it is what was asked for. Raises ResourceNotFoundException, InvalidRequestException."""
    if not reading.has_value:
        what = f"staging label: {stage or CURRENT}" if version_id is None else f"VersionId: {version_id}"
        raise ResourceNotFoundException(f"Secrets Manager can't find the specified secret value for {what}")
    if version_id is not None and stage is not None and stage not in reading.stages:
        raise InvalidRequestException("You provided a VersionStage that is not associated to the provided VersionId.")
    return reading


async def note_read(call: Call, secret: Secret | Reading, version: Version | Reading) -> None:
    """Remember the day of the read, in a transaction of its own: at most once a day for a version."""
    today = call.clock.millis() // DAY_MS * DAY_MS
    if version.accessed_on is not None and version.accessed_on >= today:
        return
    async with call.house.database.transaction() as tx:
        store = SecretStore(tx, secret.account_id, secret.region)
        await store.lock(secret.name)
        await store.mark_read(secret.name, version.version_id, today)


async def record_read(call: Call, secret_id: str, reading: Reading | None, error: ApiError | None) -> None:
    """Each secret that another operation reads, or is refused, has a record of its own, as if it had been asked for by
    itself: so whoever looks for its readers finds them all."""
    audit = call.house.audit
    if audit is None:
        return
    asked = {"SecretId": secret_id}
    if reading is not None:
        resources = [reading.arn]
    else:
        resources = [each.removesuffix("-??????") for each in await named(call, asked) if "*" not in each]
    act = Act(
        call=call, operation=get_secret_value.__operation__, at=call.clock.millis(),  # type: ignore[attr-defined]
        request=asked, answer=None if error is not None else {"ARN": resources[0]}, error=error,
        resources=resources, asked=resources,
    )  # fmt: skip
    if call.within is not None:
        audit.add(call.within, act)
    else:
        await audit.keep(act)


def told_value(reading: Reading, value: bytes) -> Shape:
    """A value as answers tell it."""
    return {
        "ARN": reading.arn,
        "Name": reading.name,
        "VersionId": reading.version_id,
        "SecretBinary": value if reading.is_binary else None,
        "SecretString": None if reading.is_binary else value.decode(),
        "VersionStages": reading.stages or None,
        "CreatedDate": from_millis(reading.created_at),
    }
