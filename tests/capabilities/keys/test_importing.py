"""Material that users bring: it comes home wrapped, works as their own copy of it does, expires, and comes back."""

import os
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
)

from pilothouse.capabilities.keys.importing import expire_material
from tests.capabilities.keys.refusals import refused

LASTS = {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}
NEW = {"ImportType": "NEW_KEY_MATERIAL"}


@pytest.fixture(autouse=True)
def clients_share_the_clock(clock, monkeypatch):
    """Requests are signed at the house's time, also after a test moved it."""
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_: clock.now().replace(tzinfo=None))


def external(kms, spec="SYMMETRIC_DEFAULT", usage="ENCRYPT_DECRYPT"):
    return kms.create_key(Origin="EXTERNAL", KeySpec=spec, KeyUsage=usage)["KeyMetadata"]


def wrapped(kms, key, material, algorithm="RSAES_OAEP_SHA_256", wrapping="RSA_2048"):
    """Token and wrapped material, ready to be imported."""
    told = kms.get_parameters_for_import(KeyId=key["KeyId"], WrappingAlgorithm=algorithm, WrappingKeySpec=wrapping)
    chosen = hashes.SHA1() if algorithm.endswith("SHA_1") else hashes.SHA256()
    public = load_der_public_key(told["PublicKey"])
    assert public.key_size == int(wrapping[4:])
    oaep = padding.OAEP(padding.MGF1(chosen), chosen, None)
    if algorithm.startswith("RSAES"):
        parcel = public.encrypt(material, oaep)
    else:
        aes = os.urandom(32)
        parcel = public.encrypt(aes, oaep) + aes_key_wrap_with_padding(aes, material)
    return {"KeyId": key["KeyId"], "ImportToken": told["ImportToken"], "EncryptedKeyMaterial": parcel}


def pkcs8(private):
    return private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def described(kms, key):
    return kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]


def test_a_symmetric_key_waits_for_its_material_and_for_its_return(aws):
    kms = aws("kms")
    key = external(kms)
    assert (key["KeyState"], key["Enabled"], key["Origin"]) == ("PendingImport", False, "EXTERNAL")
    assert "CurrentKeyMaterialId" not in key
    pending = ("KMSInvalidStateException", f"{key['Arn']} is pending import.")
    assert refused(kms.encrypt, KeyId=key["KeyId"], Plaintext=b"p") == pending
    material = os.urandom(32)
    assert refused(kms.import_key_material, **wrapped(kms, key, material)) == (
        "ValidationException",
        "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES",
    )
    imported = kms.import_key_material(**wrapped(kms, key, material), **LASTS)
    assert imported["KeyId"] == key["Arn"]
    told = described(kms, key)
    assert (told["KeyState"], told["Enabled"]) == ("Enabled", True)
    assert told["ExpirationModel"] == "KEY_MATERIAL_DOES_NOT_EXPIRE"
    assert told["CurrentKeyMaterialId"] == imported["KeyMaterialId"]
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"p")["CiphertextBlob"]
    kms.delete_imported_key_material(KeyId=key["KeyId"])
    told = described(kms, key)
    assert told["KeyState"] == "PendingImport"
    assert "ExpirationModel" not in told
    assert told["CurrentKeyMaterialId"] == imported["KeyMaterialId"]
    assert refused(kms.encrypt, KeyId=key["KeyId"], Plaintext=b"p") == pending
    assert refused(kms.decrypt, CiphertextBlob=blob) == pending
    other = wrapped(kms, key, os.urandom(32))
    assert refused(kms.import_key_material, **other, **LASTS)[0] == "IncorrectKeyMaterialException"
    again = kms.import_key_material(**wrapped(kms, key, material), **LASTS)
    assert again["KeyMaterialId"] == imported["KeyMaterialId"]
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"p"


@pytest.mark.parametrize("algorithm", ["RSAES_OAEP_SHA_1", "RSA_AES_KEY_WRAP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256"])
def test_a_pair_signs_as_its_owner_would(aws, algorithm):
    kms = aws("kms")
    key = external(kms, "ECC_NIST_P256", "SIGN_VERIFY")
    private = ec.generate_private_key(ec.SECP256R1())
    imported = kms.import_key_material(**wrapped(kms, key, pkcs8(private), algorithm, "RSA_3072"), **LASTS)
    assert imported["KeyId"] == key["Arn"]
    public = private.public_key()
    told = kms.get_public_key(KeyId=key["KeyId"])["PublicKey"]
    assert told == public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    signed = kms.sign(KeyId=key["KeyId"], Message=b"m", SigningAlgorithm="ECDSA_SHA_256")["Signature"]
    public.verify(signed, b"m", ec.ECDSA(hashes.SHA256()))
    theirs = private.sign(b"n", ec.ECDSA(hashes.SHA256()))
    assert kms.verify(KeyId=key["KeyId"], Message=b"n", SigningAlgorithm="ECDSA_SHA_256", Signature=theirs)


def test_an_rsa_key_comes_wrapped_by_aes(aws):
    kms = aws("kms")
    key = external(kms, "RSA_2048", "SIGN_VERIFY")
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    told = refused(
        kms.get_parameters_for_import,
        KeyId=key["KeyId"], WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_4096",
    )  # fmt: skip
    assert told[0] == "UnsupportedOperationException"
    kms.import_key_material(**wrapped(kms, key, pkcs8(private), "RSA_AES_KEY_WRAP_SHA_256"), **LASTS)
    signed = kms.sign(KeyId=key["KeyId"], Message=b"m", SigningAlgorithm="RSASSA_PKCS1_V1_5_SHA_256")["Signature"]
    private.public_key().verify(signed, b"m", padding.PKCS1v15(), hashes.SHA256())


def test_an_hmac_key_authenticates_as_its_owner_would(aws):
    kms = aws("kms")
    key = external(kms, "HMAC_384", "GENERATE_VERIFY_MAC")
    material = os.urandom(48)
    short = wrapped(kms, key, material[:-1])
    assert refused(kms.import_key_material, **short, **LASTS)[0] == "IncorrectKeyMaterialException"
    kms.import_key_material(**wrapped(kms, key, material), **LASTS)
    ours = hmac.HMAC(material, hashes.SHA384())
    ours.update(b"m")
    made = kms.generate_mac(KeyId=key["KeyId"], Message=b"m", MacAlgorithm="HMAC_SHA_384")["Mac"]
    assert made == ours.finalize()


def test_a_token_is_for_one_key_and_one_day(aws, server):
    kms = aws("kms")
    key, other = external(kms), external(kms)
    parcel = wrapped(kms, key, os.urandom(32))
    wrong = {**parcel, "KeyId": other["KeyId"]}
    assert refused(kms.import_key_material, **wrong, **LASTS)[0] == "InvalidImportTokenException"
    token = parcel["ImportToken"]
    altered = {**parcel, "ImportToken": token[:-1] + bytes([token[-1] ^ 1])}
    assert refused(kms.import_key_material, **altered, **LASTS)[0] == "InvalidImportTokenException"
    junk = {**parcel, "EncryptedKeyMaterial": b"junk"}
    assert refused(kms.import_key_material, **junk, **LASTS) == ("InvalidCiphertextException", "")
    assert parcel["EncryptedKeyMaterial"] not in parcel["ImportToken"]
    server.advance(hours=24)
    assert refused(kms.import_key_material, **parcel, **LASTS)[0] == "ExpiredImportTokenException"
    assert described(kms, key)["KeyState"] == "PendingImport"


def test_material_expires_and_the_key_waits(aws, server, clock):
    kms = aws("kms")
    key = external(kms)
    material = os.urandom(32)
    end = clock.now() + timedelta(hours=2)
    past = {"ExpirationModel": "KEY_MATERIAL_EXPIRES", "ValidTo": clock.now() - timedelta(hours=1)}
    assert refused(kms.import_key_material, **wrapped(kms, key, material), **past)[0] == "ValidationException"
    kms.import_key_material(**wrapped(kms, key, material), ValidTo=end)
    told = described(kms, key)
    assert told["ExpirationModel"] == "KEY_MATERIAL_EXPIRES"
    assert abs(told["ValidTo"] - end) < timedelta(seconds=1)
    server.run(expire_material.run(server.application.house))
    assert described(kms, key)["KeyState"] == "Enabled"
    server.advance(hours=3)
    server.run(expire_material.run(server.application.house))
    told = described(kms, key)
    assert told["KeyState"] == "PendingImport"
    assert "ValidTo" not in told
    assert refused(kms.encrypt, KeyId=key["KeyId"], Plaintext=b"p")[0] == "KMSInvalidStateException"
    kms.import_key_material(**wrapped(kms, key, material), **LASTS)
    assert described(kms, key)["KeyState"] == "Enabled"


def test_new_material_waits_for_a_rotation(aws):
    kms = aws("kms")
    key = external(kms)
    first, second = os.urandom(32), os.urandom(32)
    one = kms.import_key_material(**wrapped(kms, key, first), **LASTS)["KeyMaterialId"]
    assert refused(kms.rotate_key_on_demand, KeyId=key["KeyId"]) == (
        "KMSInvalidStateException",
        f"No available key material pending rotation for the key: {key['Arn']}.",
    )
    old = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"old")["CiphertextBlob"]
    two = kms.import_key_material(**wrapped(kms, key, second), **LASTS, **NEW)["KeyMaterialId"]
    assert described(kms, key)["CurrentKeyMaterialId"] == one != two
    code, text = refused(kms.import_key_material, **wrapped(kms, key, os.urandom(32)), **LASTS, **NEW)
    assert code == "KMSInvalidStateException"
    assert text.endswith(
        f"cannot be imported into KMS key {key['Arn']}, because another key material (id: {two}) is pending rotation."
    )
    assert kms.rotate_key_on_demand(KeyId=key["KeyId"])["KeyId"] == key["Arn"]
    assert described(kms, key)["CurrentKeyMaterialId"] == two
    assert kms.decrypt(CiphertextBlob=old)["Plaintext"] == b"old"
    kms.delete_imported_key_material(KeyId=key["KeyId"], KeyMaterialId=one)
    assert described(kms, key)["KeyState"] == "PendingImport"
    named = {"KeyMaterialId": one, "ImportType": "EXISTING_KEY_MATERIAL"}
    assert refused(kms.import_key_material, **wrapped(kms, key, second), **LASTS, **named)[0] == (
        "IncorrectKeyMaterialException"
    )
    kms.import_key_material(**wrapped(kms, key, first), **LASTS, **named)
    assert kms.decrypt(CiphertextBlob=old)["Plaintext"] == b"old"


def test_keys_made_here_take_no_material(aws):
    kms = aws("kms")
    key = kms.create_key()["KeyMetadata"]
    text = ("UnsupportedOperationException", f"{key['Arn']} origin is AWS_KMS which is not valid for this operation.")
    asked = {"KeyId": key["KeyId"], "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}
    assert refused(kms.get_parameters_for_import, **asked) == text
    assert refused(kms.delete_imported_key_material, KeyId=key["KeyId"]) == text
    own = external(kms)
    retired = {**asked, "KeyId": own["KeyId"], "WrappingAlgorithm": "RSAES_PKCS1_V1_5"}
    assert refused(kms.get_parameters_for_import, **retired)[0] == "UnsupportedOperationException"
    kms.schedule_key_deletion(KeyId=own["KeyId"])
    assert refused(kms.get_parameters_for_import, **{**asked, "KeyId": own["KeyId"]}) == (
        "KMSInvalidStateException",
        f"{own['Arn']} is pending deletion.",
    )
