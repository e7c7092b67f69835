"""A secret as DescribeSecret and ListSecrets tell of it. Members without a value are left out of answers."""

from collections.abc import Mapping

from pilothouse.call import Shape
from pilothouse.capabilities.secrets.model import Secret, labels_of
from pilothouse.capabilities.secrets.rotation_model import rotation_of
from pilothouse.runtime.clock import from_millis


def described(secret: Secret, stages: Mapping[str, str], tags: Mapping[str, str], stages_as: str) -> Shape:
    """What is known about a secret, but for its values; the labels stand under a name that differs."""
    by_version = {version_id: labels_of(stages, version_id) for version_id in stages.values()}
    rotation = rotation_of(secret)
    answer: Shape = {
        "ARN": secret.arn,
        "Name": secret.name,
        "Type": secret.kind,
        "Description": secret.description or None,
        "KmsKeyId": secret.key_ref,
        "LastChangedDate": from_millis(secret.changed_at),
        "LastAccessedDate": None if secret.accessed_on is None else from_millis(secret.accessed_on),
        "DeletedDate": None if secret.purge_at is None else from_millis(secret.purge_at),
        "Tags": [{"Key": key, "Value": tags[key]} for key in tags] if secret.ever_tagged else None,
        stages_as: by_version or None,
        "OwningService": secret.owning_service,
        "CreatedDate": from_millis(secret.created_at),
        "PrimaryRegion": secret.primary_region,
    }
    if rotation is None:
        return answer
    return answer | {
        "RotationEnabled": rotation.enabled,
        "RotationLambdaARN": rotation.function or None,
        "RotationRules": _rules(rotation.days, rotation.schedule, rotation.duration),
        "ExternalSecretRotationMetadata": list(rotation.external) or None,
        "ExternalSecretRotationRoleArn": rotation.external_role or None,
        "LastRotatedDate": None if secret.rotated_at is None else from_millis(secret.rotated_at),
        "NextRotationDate": None if secret.rotates_at is None else from_millis(secret.rotates_at),
    }


def _rules(days: int | None, schedule: str | None, duration: str | None) -> Shape | None:
    given = {"AutomaticallyAfterDays": days, "ScheduleExpression": schedule, "Duration": duration}
    return {name: value for name, value in given.items() if value is not None} or None
