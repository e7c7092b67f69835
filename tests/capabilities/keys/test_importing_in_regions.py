"""Multi-region keys whose material users bring: the same one to each region, and a rotation when all have the next."""

import os
from typing import Any

import pytest

from tests.capabilities.keys.refusals import refused
from tests.capabilities.keys.test_importing import LASTS, NEW, wrapped

EXISTING = {"ImportType": "EXISTING_KEY_MATERIAL"}


class World:
    """A primary key with its first material, and a replica that waits for it."""

    def __init__(self, aws: Any) -> None:
        self.here, self.there = aws("kms"), aws("kms", region="us-east-1")
        self.first, self.second = os.urandom(32), os.urandom(32)
        self.key = self.here.create_key(Origin="EXTERNAL", MultiRegion=True)["KeyMetadata"]
        self.put(self.here, self.first)
        self.here.replicate_key(KeyId=self.key["KeyId"], ReplicaRegion="us-east-1")

    def put(self, kms: Any, material: bytes, **more: Any) -> None:
        kms.import_key_material(**wrapped(kms, self.key, material), **LASTS, **more)

    def state(self, kms: Any) -> str:
        return str(kms.describe_key(KeyId=self.key["KeyId"])["KeyMetadata"]["KeyState"])

    def materials(self, kms: Any) -> list[tuple[str, str]]:
        asked = {"KeyId": self.key["KeyId"], "IncludeKeyMaterial": "ALL_KEY_MATERIAL"}
        return [
            (each["KeyMaterialState"], each["ImportState"]) for each in kms.list_key_rotations(**asked)["Rotations"]
        ]

    def crosses(self) -> bool:
        blob = self.here.encrypt(KeyId=self.key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
        back = self.there.encrypt(KeyId=self.key["KeyId"], Plaintext=b"y")["CiphertextBlob"]
        return (
            self.there.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
            and self.here.decrypt(CiphertextBlob=back)["Plaintext"] == b"y"
        )


@pytest.fixture
def world(aws: Any) -> World:
    return World(aws)


@pytest.mark.parametrize("more", [{}, EXISTING])
def test_a_replica_takes_the_primarys_material_and_no_other(world: World, more: dict[str, str]) -> None:
    assert world.state(world.there) == "PendingImport"
    for kind in ({}, EXISTING, NEW):
        parcel = wrapped(world.there, world.key, world.second)
        assert refused(world.there.import_key_material, **parcel, **LASTS, **kind)[0] == "IncorrectKeyMaterialException"
    world.put(world.there, world.first, **more)
    assert world.state(world.there) == "Enabled"
    assert world.crosses()


def test_a_key_rotates_in_all_regions_when_all_have_the_material(world: World) -> None:
    world.put(world.there, world.first)
    old = world.here.encrypt(KeyId=world.key["KeyId"], Plaintext=b"old")["CiphertextBlob"]
    world.put(world.here, world.second, **NEW)
    waits = "PENDING_MULTI_REGION_IMPORT_AND_ROTATION"
    assert world.materials(world.here) == [("CURRENT", "IMPORTED"), (waits, "IMPORTED")]
    assert world.materials(world.there) == [("CURRENT", "IMPORTED"), (waits, "PENDING_IMPORT")]
    assert refused(world.here.rotate_key_on_demand, KeyId=world.key["KeyId"])[0] == "KMSInvalidStateException"
    assert world.crosses()
    world.put(world.there, world.second, **EXISTING)
    assert world.materials(world.here)[1] == ("PENDING_ROTATION", "IMPORTED")
    world.here.rotate_key_on_demand(KeyId=world.key["KeyId"])
    for kms in (world.here, world.there):
        assert world.materials(kms) == [("NON_CURRENT", "IMPORTED"), ("CURRENT", "IMPORTED")]
        assert kms.decrypt(CiphertextBlob=old)["Plaintext"] == b"old"
    assert world.crosses()
    assert refused(world.there.rotate_key_on_demand, KeyId=world.key["KeyId"])[0] == "UnsupportedOperationException"


def test_material_deleted_in_one_region_stays_in_the_other(world: World) -> None:
    world.put(world.there, world.first)
    world.there.delete_imported_key_material(KeyId=world.key["KeyId"])
    assert (world.state(world.here), world.state(world.there)) == ("Enabled", "PendingImport")
    world.put(world.there, world.first)
    assert world.crosses()


def test_a_replica_made_after_a_rotation_waits_for_every_material(world: World, aws: Any) -> None:
    world.put(world.there, world.first)
    world.put(world.here, world.second, **NEW)
    world.put(world.there, world.second)
    world.here.rotate_key_on_demand(KeyId=world.key["KeyId"])
    late = aws("kms", region="us-west-2")
    world.here.replicate_key(KeyId=world.key["KeyId"], ReplicaRegion="us-west-2")
    world.put(late, world.second)
    assert world.state(late) == "PendingImport"
    world.put(late, world.first)
    assert world.state(late) == "Enabled"
    blob = late.encrypt(KeyId=world.key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    assert world.here.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
