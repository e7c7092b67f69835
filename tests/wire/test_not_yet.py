"""The list of what is not answered yet is a list of real operations, each once."""

from pilothouse.wire.models import INTERNAL, service_model
from pilothouse.wire.not_yet import _ALL_BUT, _BY_REASON, NOT_YET, missing, published


def test_every_listed_name_is_a_published_operation_and_stands_once() -> None:
    listed = [(service, name) for (service, _), names in _BY_REASON.items() for name in names.split()]

    assert set(listed) - published() == set()
    assert len(listed) == len(set(listed))
    assert {each for each in NOT_YET if each[0] not in {service for service, _ in _ALL_BUT}} == set(listed)
    assert all(reason.partition(": ")[2] for _, reason in (*_BY_REASON, *_ALL_BUT))


def test_of_a_service_of_which_little_is_there_the_rest_is_not_yet() -> None:
    for (service, _), names in _ALL_BUT.items():
        there = {(service, name) for name in names.split()}

        assert there <= published()
        assert not there & NOT_YET
        assert {each for each in published() if each[0] == service} == there | {
            each for each in NOT_YET if each[0] == service
        }


def test_missing_is_what_the_table_lacks_and_knows_nothing_of_our_own_models() -> None:
    table = published() - {("ssm", "StartSession")}

    assert missing(table) == {("ssm", "StartSession")}
    for service in INTERNAL:
        model = service_model(service)
        assert not {(service, name) for name in set(model.operations) - model.public} & published()
