"""Sign and Verify through the door; signatures are checked outside, with the public key alone."""

import hashlib

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import load_der_public_key

from tests.capabilities.keys.refusals import refused

EMPTY = ("KMSInvalidSignatureException", "")


def signing_key(kms, spec):
    return kms.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyMetadata"]


@pytest.mark.parametrize(
    ("spec", "algorithm"),
    [
        ("RSA_2048", "RSASSA_PSS_SHA_384"),
        ("RSA_2048", "RSASSA_PKCS1_V1_5_SHA_256"),
        ("ECC_NIST_P384", "ECDSA_SHA_384"),
        ("ECC_SECG_P256K1", "ECDSA_SHA_256"),
        ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512"),
        ("ML_DSA_65", "ML_DSA_SHAKE_256"),
    ],
)
def test_a_signature_holds_outside_and_inside(aws, spec, algorithm):
    kms = aws("kms")
    key = signing_key(kms, spec)
    assert algorithm in key["SigningAlgorithms"]
    signed = kms.sign(KeyId=key["KeyId"], Message=b"ship it", SigningAlgorithm=algorithm)
    assert (signed["KeyId"], signed["SigningAlgorithm"]) == (key["Arn"], algorithm)
    told = kms.get_public_key(KeyId=key["KeyId"])
    assert told["KeySpec"] == spec
    assert told["KeyUsage"] == "SIGN_VERIFY"
    assert told["SigningAlgorithms"] == key["SigningAlgorithms"]
    public = load_der_public_key(told["PublicKey"])
    chosen = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}[algorithm[-3:]]()
    if "PSS" in algorithm:
        public.verify(signed["Signature"], b"ship it", padding.PSS(padding.MGF1(chosen), 48), chosen)
    elif "PKCS1" in algorithm:
        public.verify(signed["Signature"], b"ship it", padding.PKCS1v15(), chosen)
    elif "ECDSA" in algorithm:
        public.verify(signed["Signature"], b"ship it", ec.ECDSA(chosen))
    else:
        public.verify(signed["Signature"], b"ship it")
    asked = {"KeyId": key["Arn"], "SigningAlgorithm": algorithm, "Signature": signed["Signature"]}
    verified = kms.verify(Message=b"ship it", **asked)
    verified.pop("ResponseMetadata")
    assert verified == {"KeyId": key["Arn"], "SignatureValid": True, "SigningAlgorithm": algorithm}
    assert refused(kms.verify, Message=b"ship that", **asked) == EMPTY


def test_digests_are_signed_as_they_are(aws):
    kms = aws("kms")
    key = signing_key(kms, "ECC_NIST_P256")
    asked = {"KeyId": key["KeyId"], "SigningAlgorithm": "ECDSA_SHA_256"}
    digest = hashlib.sha256(b"ship it").digest()
    signature = kms.sign(Message=digest, MessageType="DIGEST", **asked)["Signature"]
    assert kms.verify(Message=b"ship it", Signature=signature, **asked)["SignatureValid"]
    length = ("ValidationException", "Digest is invalid length for algorithm ECDSA_SHA_256.")
    assert refused(kms.sign, Message=b"short", MessageType="DIGEST", **asked) == length
    assert refused(kms.verify, Message=b"short", MessageType="DIGEST", Signature=signature, **asked) == length


def test_what_the_key_is_not_for_is_refused(aws):
    kms = aws("kms")
    key = signing_key(kms, "ECC_NIST_P256")
    other = kms.create_key()["KeyMetadata"]
    assert refused(kms.sign, KeyId=key["KeyId"], Message=b"m", SigningAlgorithm="ECDSA_SHA_384") == (
        "InvalidKeyUsageException",
        "Algorithm ECDSA_SHA_384 is incompatible with key spec ECC_NIST_P256.",
    )
    for name in ("Sign", "Verify"):
        more = {"Signature": b"s"} if name == "Verify" else {}
        asked = {"KeyId": other["KeyId"], "Message": b"m", "SigningAlgorithm": "ECDSA_SHA_256", **more}
        assert refused(getattr(kms, name.lower()), **asked) == (
            "InvalidKeyUsageException",
            f"{other['Arn']} key usage is ENCRYPT_DECRYPT which is not valid for {name}.",
        )
    kms.disable_key(KeyId=key["KeyId"])
    assert refused(kms.sign, KeyId=key["KeyId"], Message=b"m", SigningAlgorithm="ECDSA_SHA_256") == (
        "DisabledException",
        f"{key['Arn']} is disabled.",
    )
    with pytest.raises(ClientError) as raised:
        kms.sign(KeyId=key["KeyId"], Message=b"m" * 4097, SigningAlgorithm="ECDSA_SHA_256")
    assert raised.value.response["Error"]["Code"] == "ValidationException"


def test_a_dry_run_signs_nothing(aws):
    kms = aws("kms")
    key = signing_key(kms, "ECC_NIST_P256")
    asked = {"KeyId": key["KeyId"], "Message": b"m", "SigningAlgorithm": "ECDSA_SHA_256", "DryRun": True}
    would = ("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
    assert refused(kms.sign, **asked) == would
    assert refused(kms.verify, Signature=b"s", **asked) == EMPTY
    signature = kms.sign(**{**asked, "DryRun": False})["Signature"]
    assert refused(kms.verify, Signature=signature, **asked) == would
    assert refused(kms.sign, **{**asked, "SigningAlgorithm": "ECDSA_SHA_512"})[0] == "InvalidKeyUsageException"


@pytest.mark.parametrize("spec", ["SM2", "ML_KEM_512"])
def test_specs_that_are_not_to_be_had_are_named(aws, spec):
    usage = "SIGN_VERIFY" if spec == "SM2" else "ENCAPSULATE_DECAPSULATE"
    assert refused(aws("kms").create_key, KeySpec=spec, KeyUsage=usage) == (
        "UnsupportedOperationException",
        f"KeySpec {spec} is not supported.",
    )
