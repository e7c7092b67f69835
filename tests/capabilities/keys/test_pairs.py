"""Data key pairs: the two halves belong together, and the private one opens under the key alone."""

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
)

from tests.capabilities.keys.refusals import refused


@pytest.mark.parametrize("spec", ["RSA_2048", "ECC_NIST_P256", "ECC_NIST_EDWARDS25519", "ML_KEM_768"])
def test_the_halves_belong_together(aws, spec):
    kms = aws("kms")
    key = kms.create_key()["KeyMetadata"]
    made = kms.generate_data_key_pair(KeyId=key["KeyId"], KeyPairSpec=spec, EncryptionContext={"for": "web"})
    assert (made["KeyId"], made["KeyPairSpec"]) == (key["Arn"], spec)
    private = load_der_private_key(made["PrivateKeyPlaintext"], None)
    assert private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == made["PublicKey"]
    blob = made["PrivateKeyCiphertextBlob"]
    opened = kms.decrypt(CiphertextBlob=blob, EncryptionContext={"for": "web"})
    assert (opened["Plaintext"], opened["KeyId"]) == (made["PrivateKeyPlaintext"], key["Arn"])
    assert refused(kms.decrypt, CiphertextBlob=blob) == ("InvalidCiphertextException", "")


def test_without_plaintext_there_is_none(aws):
    kms = aws("kms")
    key = kms.create_key()["KeyMetadata"]
    made = kms.generate_data_key_pair_without_plaintext(KeyId=key["KeyId"], KeyPairSpec="ECC_NIST_P256")
    assert "PrivateKeyPlaintext" not in made
    private = load_der_private_key(kms.decrypt(CiphertextBlob=made["PrivateKeyCiphertextBlob"])["Plaintext"], None)
    assert private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == made["PublicKey"]


@pytest.mark.parametrize("name", ["generate_data_key_pair", "generate_data_key_pair_without_plaintext"])
def test_pairs_that_cannot_be_are_refused(aws, name):
    kms = aws("kms")
    key = kms.create_key()["KeyMetadata"]
    ask = getattr(kms, name)
    assert refused(ask, KeyId=key["KeyId"], KeyPairSpec="ECC_NIST_P256", DryRun=True) == (
        "DryRunOperationException",
        "The request would have succeeded, but the DryRun option is set.",
    )
    assert refused(ask, KeyId=key["KeyId"], KeyPairSpec="SM2")[0] == "UnsupportedOperationException"
    rsa = kms.create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]
    assert refused(ask, KeyId=rsa["KeyId"], KeyPairSpec="ECC_NIST_P256")[0] == "InvalidKeyUsageException"
    kms.disable_key(KeyId=key["KeyId"])
    assert refused(ask, KeyId=key["KeyId"], KeyPairSpec="ECC_NIST_P256") == (
        "DisabledException",
        f"{key['Arn']} is disabled.",
    )
