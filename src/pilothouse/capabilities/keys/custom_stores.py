"""Custom key stores, of which there are none: DescribeCustomKeyStores and what looks after a store that exists."""

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.keys.conditions import of_caller
from pilothouse.capabilities.keys.errors import CustomKeyStoreNotFoundException
from pilothouse.capabilities.keys.paging import page, position


def not_found(named: str) -> CustomKeyStoreNotFoundException:
    """What every request hears that names a custom key store."""
    return CustomKeyStoreNotFoundException(f"Custom key store {named} is not found.")


@operation("kms", "DescribeCustomKeyStores", conditions=of_caller)
async def describe_custom_key_stores(call: Call, request: Shape) -> Shape:
    """An empty list."""
    for member in ("CustomKeyStoreId", "CustomKeyStoreName"):
        if member in request:
            raise not_found(request[member])
    position(call, "DescribeCustomKeyStores", request)
    return page(call, "DescribeCustomKeyStores", {"CustomKeyStores": []}, None)


@operation("kms", "ConnectCustomKeyStore", conditions=of_caller)
async def connect_custom_key_store(call: Call, request: Shape) -> Shape:
    """Raises CustomKeyStoreNotFoundException."""
    raise not_found(request["CustomKeyStoreId"])


@operation("kms", "DisconnectCustomKeyStore", conditions=of_caller)
async def disconnect_custom_key_store(call: Call, request: Shape) -> Shape:
    """Raises CustomKeyStoreNotFoundException."""
    raise not_found(request["CustomKeyStoreId"])


@operation("kms", "UpdateCustomKeyStore", conditions=of_caller)
async def update_custom_key_store(call: Call, request: Shape) -> Shape:
    """Raises CustomKeyStoreNotFoundException."""
    raise not_found(request["CustomKeyStoreId"])


@operation("kms", "DeleteCustomKeyStore", conditions=of_caller)
async def delete_custom_key_store(call: Call, request: Shape) -> Shape:
    """Raises CustomKeyStoreNotFoundException."""
    raise not_found(request["CustomKeyStoreId"])
