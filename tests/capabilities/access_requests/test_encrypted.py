"""What the credentials of an access allow of KMS: the data key of its encrypted sessions, and nothing else."""

import json
from typing import Any

from tests.capabilities.access_requests.conftest import People, ask, manual
from tests.capabilities.sessions.conftest import World
from tests.capabilities.sessions.test_permissions import refused


def encrypting(world: World, name: str, key: str, **parameters: Any) -> None:
    """A document whose sessions are encrypted."""
    content = {"schemaVersion": "1.0", "sessionType": "Standard_Stream", "inputs": {"kmsKeyId": key}, **parameters}
    world.ssm.create_document(Name=name, DocumentType="Session", Content=json.dumps(content))
    world.undo.append(lambda: world.ssm.delete_document(Name=name))


def clients(world: World, people: People, name: str, node_id: str) -> tuple[Any, Any, Any]:
    """With the credentials of an access: ssm, kms; and who can revoke it."""
    alice, _ = people.user(f"alice-{name}")
    _, bob = people.user(f"bob-{name}")
    people.policy(f"Of-{name}", manual([f"user/bob-{name}"]))
    request_id = ask(alice, node_id)
    bob.decide_access_request(AccessRequestId=request_id, Decision="Approve")
    given = alice.get_access_token(AccessRequestId=request_id)["Credentials"]
    keys = {"access_key": given["AccessKeyId"], "secret": given["SecretAccessKey"], "token": given["SessionToken"]}

    def revoke() -> None:
        bob.decide_access_request(AccessRequestId=request_id, Decision="Revoke")

    return world.aws("ssm", **keys), world.aws("kms", **keys), revoke


def test_the_data_key_of_the_session_and_no_other(world: World, people: People) -> None:
    kms, node = world.aws("kms"), world.node()
    key, other = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    kms.create_alias(AliasName="alias/of-sessions", TargetKeyId=key)
    encrypting(world, "Encrypted", "alias/of-sessions")
    ssm, own, revoke = clients(world, people, "k", node.id)

    def data_key(key_id: str, context: dict[str, str] | None) -> Any:
        more = {"EncryptionContext": context} if context is not None else {}
        return own.generate_data_key(KeyId=key_id, NumberOfBytes=64, **more)

    client, _ = world.open(node, ssm=ssm)
    about = {"aws:ssm:SessionId": client.session_id, "aws:ssm:TargetId": node.id}
    assert refused(lambda: data_key(key, about))[0] == "AccessDeniedException"  # this session is not encrypted
    started = world.start(node, ssm=ssm, DocumentName="Encrypted")
    about["aws:ssm:SessionId"] = started["SessionId"]
    made = data_key("alias/of-sessions", about)
    assert made["KeyId"] == key
    for key_id, context in (
        (other, about),
        (key, None),
        (key, {"aws:ssm:TargetId": node.id}),
        (key, about | {"aws:ssm:SessionId": client.session_id}),
    ):
        assert refused(lambda k=key_id, c=context: data_key(k, c))[0] == "AccessDeniedException", context
    blob = made["CiphertextBlob"]
    for call in (
        lambda: own.decrypt(CiphertextBlob=blob, EncryptionContext=about),
        lambda: own.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=about),
        lambda: own.generate_data_key_without_plaintext(KeyId=key, NumberOfBytes=64, EncryptionContext=about),
        lambda: own.re_encrypt(CiphertextBlob=blob, DestinationKeyId=key, SourceEncryptionContext=about),
        lambda: own.describe_key(KeyId=key),
        lambda: own.list_keys(),
    ):
        assert refused(call)[0] == "AccessDeniedException"
    ssm.terminate_session(SessionId=started["SessionId"])
    world.until(lambda: world.status(started["SessionId"]) in ("Terminating", "Terminated"))
    assert refused(lambda: data_key(key, about))[0] == "AccessDeniedException"
    about["aws:ssm:SessionId"] = world.start(node, ssm=ssm, DocumentName="Encrypted")["SessionId"]
    assert data_key(key, about)["KeyId"] == key
    revoke()
    assert refused(lambda: data_key(key, about))[0] == "AccessDeniedException"


def test_a_key_that_a_parameter_names_and_one_that_is_not_there(world: World, people: People) -> None:
    node, key = world.node(), world.aws("kms").create_key()["KeyMetadata"]
    parameters = {"key": {"type": "String", "default": key["KeyId"]}}
    encrypting(world, "Asked", "{{ key }}", parameters=parameters)
    ssm, own, _ = clients(world, people, "p", node.id)

    def data_key(started: Any) -> Any:
        about = {"aws:ssm:SessionId": started["SessionId"]}
        return own.generate_data_key(KeyId=key["Arn"], NumberOfBytes=64, EncryptionContext=about)

    started = world.start(node, ssm=ssm, DocumentName="Asked", Parameters={"key": ["alias/nobodys"]})
    assert refused(lambda: data_key(started))[0] == "AccessDeniedException"
    assert data_key(world.start(node, ssm=ssm, DocumentName="Asked"))["KeyId"] == key["Arn"]
