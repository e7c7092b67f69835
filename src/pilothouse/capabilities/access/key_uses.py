"""When access keys and roles were last used: noted in memory as requests come, and written behind, seldom.

A use is written at most once in a quarter of an hour for each key or role; what a process noted and had not written
when it was killed is lost.
"""

from datetime import timedelta
from typing import Final

from pilothouse.call import Call, House, Job, Shape, job, operation
from pilothouse.capabilities.access.model import KeyUse, NoSuchEntityException, root_arn
from pilothouse.capabilities.access.store import AccessStore
from pilothouse.capabilities.access.users import UserStore
from pilothouse.identity.principals import Principal
from pilothouse.runtime.clock import Clock, from_millis

_EVERY_MS: Final = 15 * 60 * 1000
_MOST: Final = 10_000


class KeyUses:
    """What this process saw."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._noted: dict[str, int] = {}
        self._waiting: dict[str, KeyUse] = {}

    def note(self, principal: Principal, service: str, region: str) -> None:
        """A request with a good signature. Called for each one, so it only looks a key or role up, mostly."""
        key = principal.access_key_id
        if principal.kind in ("session", "node"):
            key = principal.user_id.partition(":")[0]  # the id of the role
        now = self._clock.millis()
        if now - self._noted.get(key, -_EVERY_MS) < _EVERY_MS or principal.temporary:
            return
        if len(self._noted) >= _MOST:
            self._noted.clear()
        self._noted[key] = now
        if len(self._waiting) < _MOST:
            self._waiting[key] = KeyUse(at=now, service=service, region=region)

    def job(self) -> Job:
        """Writes what was noted."""

        @job("access.key_uses", every=timedelta(minutes=1), local=True)
        async def write(house: House) -> None:
            if not self._waiting:
                return
            waiting, self._waiting = self._waiting, {}
            try:
                async with house.database.transaction() as tx:
                    await AccessStore(tx).keep_uses(waiting)
            except BaseException:
                self._waiting = waiting | self._waiting
                raise

        return write


async def _owner_of_key(call: Call, request: Shape) -> list[str]:
    """The ARN of whose key it is; one that is not there belongs to anybody."""
    async with call.reading() as tx:
        row = await AccessStore(tx).key(request["AccessKeyId"])
        if row is None or row["account_id"] != call.account_id:
            return ["*"]
        user = await UserStore(tx, call.account_id).by_id(row["principal_id"])
    return [user.arn if user is not None else root_arn(call.account_id)]


@operation("iam", "GetAccessKeyLastUsed", resources=_owner_of_key)
async def get_access_key_last_used(call: Call, request: Shape) -> Shape:
    """When, where and for which service; a use is told some minutes late."""
    async with call.reading() as tx:
        store = AccessStore(tx)
        row = await store.key(request["AccessKeyId"])
        if row is None or row["account_id"] != call.account_id:
            raise NoSuchEntityException(f"The Access Key with id {request['AccessKeyId']} cannot be found.")
        user = await UserStore(tx, call.account_id).by_id(row["principal_id"])
        use = await store.use(request["AccessKeyId"])
    told: Shape = {"ServiceName": "N/A", "Region": "N/A"}
    if use is not None:
        told = {"LastUsedDate": from_millis(use.at), "ServiceName": use.service, "Region": use.region}
    return ({} if user is None else {"UserName": user.name}) | {"AccessKeyLastUsed": told}
