"""Secrets shared with an outsider, who does the other half with the cryptography library."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from tests.capabilities.keys.refusals import refused

CURVES = {"ECC_NIST_P256": ec.SECP256R1, "ECC_NIST_P384": ec.SECP384R1, "ECC_NIST_P521": ec.SECP521R1}


def spki(private):
    return private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("spec", CURVES)
def test_both_sides_derive_one_secret(aws, spec):
    kms = aws("kms")
    key = kms.create_key(KeySpec=spec, KeyUsage="KEY_AGREEMENT")["KeyMetadata"]
    assert key["KeyAgreementAlgorithms"] == ["ECDH"]
    theirs = ec.generate_private_key(CURVES[spec]())
    derived = kms.derive_shared_secret(KeyId=key["KeyId"], KeyAgreementAlgorithm="ECDH", PublicKey=spki(theirs))
    ours = load_der_public_key(kms.get_public_key(KeyId=key["KeyId"])["PublicKey"])
    derived.pop("ResponseMetadata")
    assert derived == {
        "KeyId": key["Arn"],
        "SharedSecret": theirs.exchange(ec.ECDH(), ours),
        "KeyAgreementAlgorithm": "ECDH",
        "KeyOrigin": "AWS_KMS",
    }


def test_agreements_that_cannot_be_are_refused(aws):
    kms = aws("kms")
    key = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="KEY_AGREEMENT")["KeyMetadata"]
    signer = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]
    theirs = spki(ec.generate_private_key(ec.SECP256R1()))
    asked = {"KeyId": key["KeyId"], "KeyAgreementAlgorithm": "ECDH", "PublicKey": theirs}
    stranger = spki(ec.generate_private_key(ec.SECP384R1()))
    assert refused(kms.derive_shared_secret, **{**asked, "PublicKey": stranger}) == ("ValidationException", "")
    assert refused(kms.derive_shared_secret, **{**asked, "PublicKey": b"none"}) == ("ValidationException", "")
    assert refused(kms.derive_shared_secret, **{**asked, "KeyId": signer["KeyId"]}) == (
        "InvalidKeyUsageException",
        f"{signer['Arn']} key usage is SIGN_VERIFY which is not valid for DeriveSharedSecret.",
    )
    assert refused(kms.derive_shared_secret, **asked, DryRun=True)[0] == "DryRunOperationException"
    assert refused(kms.create_key, KeySpec="RSA_2048", KeyUsage="KEY_AGREEMENT") == (
        "ValidationException",
        "KeyUsage KEY_AGREEMENT is not compatible with KeySpec RSA_2048",
    )


@pytest.mark.parametrize(("spec", "size"), [("ML_KEM_768", 1088), ("ML_KEM_1024", 1568)])
def test_secrets_travel_encapsulated(aws, spec, size):
    kms = aws("kms")
    key = kms.create_key(KeySpec=spec, KeyUsage="ENCAPSULATE_DECAPSULATE")["KeyMetadata"]
    asked = {"KeyId": key["KeyId"], "EncapsulationAlgorithm": "ML_KEM"}
    public = load_der_public_key(kms.get_public_key(KeyId=key["KeyId"])["PublicKey"])
    secret, form = public.encapsulate()
    assert kms.decapsulate(SharedSecretCiphertextBlob=form, **asked)["SharedSecret"] == secret
    made = kms.encapsulate(**asked)
    assert (made["KeyId"], len(made["SharedSecretCiphertextBlob"])) == (key["Arn"], size)
    opened = kms.decapsulate(SharedSecretCiphertextBlob=made["SharedSecretCiphertextBlob"], **asked)
    assert opened["SharedSecret"] == made["SharedSecret"]
    short = made["SharedSecretCiphertextBlob"][:-1]
    assert refused(kms.decapsulate, SharedSecretCiphertextBlob=short, **asked) == ("InvalidCiphertextException", "")
    assert refused(kms.encapsulate, **asked, DryRun=True)[0] == "DryRunOperationException"
