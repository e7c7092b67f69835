"""RunInstances."""

from typing import Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.machines import shapes, work_store
from pilothouse.capabilities.machines.asking import (
    arn,
    check_tag_kinds,
    dry_run,
    no_image,
    put_tags,
    refuse,
    tags_for,
)
from pilothouse.capabilities.machines.looking import INSTANCE
from pilothouse.capabilities.machines.model import (
    AVAILABLE,
    IdempotentParameterMismatch,
    Image,
    InvalidAMIIDUnavailable,
    Kind,
    Machine,
    MissingParameter,
    State,
    checked_id,
    size_named,
    size_of,
)
from pilothouse.capabilities.machines.store import MachineStore
from pilothouse.errors import InvalidParameterValue
from pilothouse.storage import Transaction

MOST: Final = 100
"""Machines of one call."""
_NOT_HERE: Final = (
    "LaunchTemplate", "UserData", "InstanceMarketOptions", "HibernationOptions", "NetworkInterfaces",
    "BlockDeviceMappings", "PrivateIpAddress", "Ipv6AddressCount", "Ipv6Addresses", "KernelId", "RamdiskId",
)  # fmt: skip
"""What nothing here does; what a cloud has around its machines (subnets, security groups, key pairs, profiles) is of no
consequence and is let through, so that runbooks go unchanged."""


def _resources(call: Call, request: Shape) -> list[str]:
    return [arn(call, "image", request.get("ImageId") or "*"), arn(call, "instance", "*")]


@operation("ec2", "RunInstances", writes=True, resources=_resources)
async def run_instances(call: Call, request: Shape) -> Shape:
    """Machines from an image, in the place where the image is. Their disks are copies of its snapshots."""
    refuse(request, _NOT_HERE)
    check_tag_kinds(request, "instance", "volume", "network-interface")
    if not request.get("ImageId"):
        raise MissingParameter("The request must contain the parameter ImageId")
    least, most = request["MinCount"], request["MaxCount"]
    if not 1 <= least <= most <= MOST:
        raise InvalidParameterValue(f"MinCount and MaxCount must be 1 to {MOST}, and MaxCount not below MinCount.")
    size = size_named(request["InstanceType"]) if request.get("InstanceType") else None
    given = tags_for(request, "instance")
    async with call.transaction() as tx:
        store = MachineStore(tx, call.account_id, call.region)
        await store.lock()
        token = request.get("ClientToken") or ""
        if token and (there := await store.run_with(token)):
            return await _kept(call, tx, request, there)
        image = await store.image(checked_id(request["ImageId"], "ami"))
        if image is None:
            raise no_image(request["ImageId"])
        if image.state != AVAILABLE:
            raise InvalidAMIIDUnavailable(f"The image ID '{image.image_id}' is not available: it is {image.state}.")
        dry_run(request)
        made = [_machine(call, request, image, size, index) for index in range(most)]
        reservation_id = shapes.reservation_of(made[0])
        for each in made:
            await store.put(each)
            await work_store.add(
                call.house, tx, (each.account_id, each.region, each.connection), each.machine_id, Kind.RUN,
                image_id=image.image_id, template=image.template, name=each.name,
                vcpus=None if size is None else size[0], memory_mib=None if size is None else size[1],
            )  # fmt: skip
        await put_tags(call, tx, "instance", [each.machine_id for each in made], given, action="RunInstances")
    return shapes.reservation(call.account_id, [shapes.instance(each, given) for each in made], reservation_id)


def _machine(call: Call, request: Shape, image: Image, size: tuple[int, int] | None, index: int) -> Machine:
    """As it is before anything was done."""
    now = call.clock.millis()
    machine_id = f"i-{call.ids.random_bytes(9).hex()[:17]}"
    vcpus, memory_mib = size or (0, 0)
    return Machine(
        account_id=call.account_id,
        region=call.region,
        machine_id=machine_id,
        connection=image.connection,
        native=call.ids.uuid(),
        name=machine_id,
        state=State.PENDING,
        run=None,
        size=request.get("InstanceType") or size_of(vcpus, memory_mib),
        vcpus=vcpus,
        memory_mib=memory_mib,
        architecture=image.architecture,
        disks=(),
        addresses=(),
        lasting=True,
        made_here=True,
        image_id=image.image_id,
        reservation_id=f"r-{call.request_id.replace('-', '')[:17]}",
        launch_index=index,
        client_token=request.get("ClientToken") or "",
        launched_at=now,
        touched_at=now,
    )


async def _kept(call: Call, tx: Transaction, request: Shape, there: list[Machine]) -> Shape:
    """What a call with the same token made."""
    asked = (request["ImageId"], request["MaxCount"], request.get("InstanceType") or there[0].size)
    if asked != (there[0].image_id, len(there), there[0].size):
        raise IdempotentParameterMismatch("The client token was used before, for another request.")
    given = await tags.of_each(tx, call.account_id, call.region, INSTANCE, [each.machine_id for each in there])
    shown = [shapes.instance(each, given.get(each.machine_id, {})) for each in there]
    return shapes.reservation(call.account_id, shown, shapes.reservation_of(there[0]))
