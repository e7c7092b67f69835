"""GenerateMac and VerifyMac through the door."""

import pytest

from tests.capabilities.keys.refusals import refused


@pytest.mark.parametrize(("bits", "size"), [(224, 28), (256, 32), (384, 48), (512, 64)])
def test_a_mac_is_that_of_its_message(aws, bits, size):
    kms = aws("kms")
    key = kms.create_key(KeySpec=f"HMAC_{bits}", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]
    algorithm = f"HMAC_SHA_{bits}"
    assert key["MacAlgorithms"] == [algorithm]
    asked = {"KeyId": key["KeyId"], "MacAlgorithm": algorithm}
    made = kms.generate_mac(Message=b"ship it", **asked)
    assert (made["KeyId"], made["MacAlgorithm"], len(made["Mac"])) == (key["Arn"], algorithm, size)
    assert kms.generate_mac(Message=b"ship it", **asked)["Mac"] == made["Mac"]
    verified = kms.verify_mac(Message=b"ship it", Mac=made["Mac"], **asked)
    assert (verified["KeyId"], verified["MacValid"]) == (key["Arn"], True)
    assert refused(kms.verify_mac, Message=b"ship that", Mac=made["Mac"], **asked) == ("KMSInvalidMacException", "")


def test_what_the_key_is_not_for_is_refused(aws):
    kms = aws("kms")
    key = kms.create_key(KeySpec="HMAC_224", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]
    other = kms.create_key()["KeyMetadata"]
    wrong = ("InvalidKeyUsageException", "Algorithm HMAC_SHA_256 is incompatible with key spec HMAC_224.")
    asked = {"KeyId": key["KeyId"], "Message": b"m", "MacAlgorithm": "HMAC_SHA_256"}
    assert refused(kms.generate_mac, **asked) == wrong
    assert refused(kms.verify_mac, Mac=b"m", **asked) == wrong
    assert refused(kms.generate_mac, **{**asked, "KeyId": other["KeyId"]}) == (
        "InvalidKeyUsageException",
        f"{other['Arn']} key usage is ENCRYPT_DECRYPT which is not valid for GenerateMac.",
    )
    assert refused(kms.generate_mac, **{**asked, "KeyId": "key_id"}) == (
        "NotFoundException",
        "Invalid keyId 'key_id'",
    )
    assert refused(kms.get_public_key, KeyId=key["KeyId"])[0] == "InvalidKeyUsageException"
    assert refused(kms.get_public_key, KeyId=other["KeyId"])[0] == "UnsupportedOperationException"
    dry = {**asked, "MacAlgorithm": "HMAC_SHA_224", "DryRun": True}
    assert refused(kms.generate_mac, **dry)[0] == "DryRunOperationException"
    assert refused(kms.verify_mac, Mac=b"m", **dry)[0] == "KMSInvalidMacException"
    made = kms.generate_mac(**{**dry, "DryRun": False})["Mac"]
    assert refused(kms.verify_mac, Mac=made, **dry)[0] == "DryRunOperationException"
