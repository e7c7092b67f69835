"""Approval by signed links: who gets one, what it shows, what it decides, and which ones are refused and recorded."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from tests.capabilities.automation.conftest import Runbooks, statuses, step
from tests.capabilities.automation.test_people import ALL, Person, person, signal
from tests.capabilities.automation.test_steps import VARIABLES, good
from tests.capabilities.commands.conftest import refused
from tests.capabilities.events.conftest import Receiver, eventually
from tests.conftest import Aws, Server, open_server

from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import AutomationSettings, OutboundSettings
from pilothouse.storage import Database
from pilothouse.wire.http import Request, Response

__all__ = ["person"]

MESSAGE = 'Restart <b>now</b> & "soon"?'


@pytest.fixture(scope="module")
def server(database_url: str, tmp_path_factory: pytest.TempPathFactory, clock: TestClock) -> Iterator[Server]:
    """It may call receivers on the loopback address, and knows by which name it is reached."""
    with open_server(
        database_url, tmp_path_factory.mktemp("server"), clock, outbound=OutboundSettings(allow=("127.0.0.1/32",)),
        automation=AutomationSettings(url="https://pilothouse.test"),
    ) as opened:  # fmt: skip
        yield opened


Visit = Callable[..., Response]


@pytest.fixture
def visit(server: Server) -> Visit:
    """Opens a URL, or sends a form to it."""

    def visit(url: str, form: dict[str, str] | None = None, **headers: str) -> Response:
        split = urlsplit(url)
        body = b"" if form is None else urlencode(form).encode()
        told = {"host": split.netloc, "user-agent": "a browser", **headers}
        if form is not None:
            told.setdefault("content-type", "application/x-www-form-urlencoded")
        request = Request("GET" if form is None else "POST", split.path, split.query, told, body, "203.0.113.9", True)
        return server.run(server.application.front.respond(request))

    return visit


class Mail:
    """A topic with subscribers, of whom some want only what is for one approver."""

    def __init__(self, sns: Any, receiver: Receiver, visit: Visit, name: str) -> None:
        self._sns, self._receiver, self._visit = sns, receiver, visit
        self.arn: str = sns.create_topic(Name=name)["TopicArn"]

    def subscribe(self, who: str = "") -> None:
        before = len(self._receiver.taken)
        attributes = {"FilterPolicy": json.dumps({"approver": [who]})} if who else {}
        self._sns.subscribe(
            TopicArn=self.arn, Protocol="http", Endpoint=f"{self._receiver.url}/{who}", Attributes=attributes
        )  # fmt: skip
        asked = eventually(lambda: self._receiver.events[before:])[0]
        split = urlsplit(asked["SubscribeURL"])
        assert self._visit(f"https://pilothouse.test{split.path}?{split.query}").status == 200

    def of(self, execution_id: str, count: int) -> list[str]:
        """The texts about an execution, when so many have come."""

        def look() -> list[str] | None:
            found = [
                each["Message"] for each in self._receiver.events
                if each["Type"] == "Notification" and execution_id in each["Message"]
            ]  # fmt: skip
            return found if len(found) >= count else None

        found: list[str] = eventually(look)
        return found


@pytest.fixture
def mail(aws: Aws, receiver: Receiver, visit: Visit, request: pytest.FixtureRequest) -> Mail:
    return Mail(aws("sns"), receiver, visit, f"Automation-{abs(hash(request.node.name))}")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def link_in(texts: list[str], who: str) -> str:
    """The link for one approver."""
    text = next(each for each in texts if f"as {who}:" in each)
    found = re.search(r"https://pilothouse\.test/ph/v1/approvals\?token=[\w-]+", text)
    assert found is not None, text
    return found[0]


def asking(mail: Mail, *approvers: str, **inputs: Any) -> dict[str, Any]:
    more = {"Message": MESSAGE, "NotificationArn": mail.arn, **inputs}
    return {"name": "ask", "action": "aws:approve", "inputs": {"Approvers": list(approvers), **more}}


def token_of(url: str) -> str:
    return parse_qs(urlsplit(url).query)["token"][0]


def refusals(aws: Aws, execution_id: str) -> list[dict[str, Any]]:
    """What the trail has of refused signals to an execution."""
    found = aws("cloudtrail").lookup_events(
        LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": "SendAutomationSignal"}]
    )["Events"]
    events = [json.loads(each["CloudTrailEvent"]) for each in found]
    return [each for each in events if execution_id in json.dumps(each) and "errorCode" in each]


def test_an_approver_decides_by_a_link_that_asks_first(
    runbooks: Runbooks, person: Person, mail: Mail, visit: Visit, aws: Aws
) -> None:
    ada, bob = person("ada"), person("bob")
    mail.subscribe()
    mail.subscribe(ada.user_name)
    name = runbooks.make(asking(mail, ada.user_name, bob.user_name, MinRequiredApprovals=2), good("go"), **VARIABLES)
    execution_id = runbooks.start(name)
    texts = mail.of(execution_id, 2)
    assert sum("approvals?token=" in each for each in texts) == 1  # nobody reads bob's, and who takes all gets none
    url = link_in(texts, ada.user_name)

    shown = visit(url)
    page = shown.body.decode()
    policy = shown.headers["content-security-policy"]
    assert (shown.status, shown.headers["cache-control"]) == (200, "no-store")
    assert policy.startswith("default-src 'none';")
    assert "unsafe-inline" not in policy
    assert "<script" not in page
    assert "<b>" not in page
    assert "Restart &lt;b&gt;now&lt;/b&gt; &amp; &quot;soon&quot;?" in page
    assert f"user/{ada.user_name}" in page
    visit(url)
    assert "decisions" not in json.dumps(step(runbooks.get(execution_id), "ask").get("Outputs", {}))
    assert runbooks.comes_to(execution_id, "Waiting")  # opening it decided nothing

    form = {"token": token_of(url), "decision": "Approve", "comment": "by link"}
    assert visit(url, {**form, "decision": "Maybe"}).status == 400
    done = visit(url, form)
    assert done.status == 200, done.body
    again = visit(url, form)
    assert (again.status, visit(url).status) == (410, 410)
    assert b"used" in again.body
    assert refused(lambda: signal(ada, execution_id, "Approve")) == "InvalidAutomationSignalException"
    signal(bob, execution_id, "Approve")
    got = runbooks.comes_to(execution_id, "Success")

    decisions = [json.loads(each) for each in step(got, "ask")["Outputs"]["ApproverDecisions"]]
    assert [(each["Approver"].rpartition("/")[2], each["Comment"]) for each in decisions] == [
        (ada.user_name, "by link"), (bob.user_name, "")]  # fmt: skip
    kept = refusals(aws, execution_id)
    by_link = [each for each in kept if each["userAgent"] == "approval-link a browser"]
    assert len(by_link) == 2
    assert {each["userIdentity"]["userName"] for each in by_link} == {ada.user_name}
    assert by_link[0]["sourceIPAddress"] == "203.0.113.9"
    assert token_of(url) not in json.dumps(kept)


def test_a_role_gets_no_link_and_is_told_to_be_assumed(
    runbooks: Runbooks, person: Person, mail: Mail, aws: Aws
) -> None:
    iam = aws("iam")
    ada = person("ada")
    user = iam.get_user(UserName=ada.user_name)["User"]["Arn"]
    trust = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": user}, "Action": "sts:AssumeRole"}]}  # fmt: skip
    role = iam.create_role(RoleName="releases", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    iam.put_role_policy(RoleName="releases", PolicyName="all", PolicyDocument=json.dumps(ALL))
    mail.subscribe()
    mail.subscribe(ada.user_name)
    execution_id = runbooks.start(runbooks.make(asking(mail, role, ada.user_name), good("go"), **VARIABLES))
    texts = mail.of(execution_id, 2)
    assert sum("approvals?token=" in each for each in texts) == 1
    assert link_in(texts, ada.user_name)
    assert "Approvers that are roles get no link. Assume the role first" in next(
        each for each in texts if "approvals?token=" not in each
    )

    key = iam.create_access_key(UserName=ada.user_name)["AccessKey"]
    sts = aws("sts", access_key=key["AccessKeyId"], secret=key["SecretAccessKey"])
    given = sts.assume_role(RoleArn=role, RoleSessionName="ada")["Credentials"]
    session = aws(
        "ssm", access_key=given["AccessKeyId"], secret=given["SecretAccessKey"], token=given["SessionToken"]
    )  # fmt: skip
    signal(session, execution_id, "Approve")
    got = runbooks.comes_to(execution_id, "Success")
    decided = [json.loads(each)["Approver"] for each in step(got, "ask")["Outputs"]["ApproverDecisions"]]
    assert decided == [role.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/") + "/ada"]


def test_a_link_rejects_too(runbooks: Runbooks, person: Person, mail: Mail, visit: Visit) -> None:
    ada = person("ada")
    mail.subscribe(ada.user_name)
    execution_id = runbooks.start(runbooks.make(asking(mail, ada.user_name), good("go"), **VARIABLES))
    url = link_in(mail.of(execution_id, 1), ada.user_name)
    assert visit(url, {"token": token_of(url), "decision": "Reject"}).status == 200
    assert statuses(runbooks.comes_to(execution_id, "Failed")) == {"ask": "Failed", "go": "Pending"}


def test_links_that_do_not_hold_are_refused_and_recorded(
    runbooks: Runbooks, person: Person, mail: Mail, visit: Visit, aws: Aws, server: Server
) -> None:
    ada = person("ada")
    mail.subscribe(ada.user_name)
    name = runbooks.make({**asking(mail, ada.user_name), "timeoutSeconds": 3600}, good("go"), **VARIABLES)
    execution_id = runbooks.start(name)
    url = link_in(mail.of(execution_id, 1), ada.user_name)
    token = token_of(url)
    form = {"token": token, "decision": "Approve"}
    last = "A" if token[-2] != "A" else "B"
    forged = token[:-2] + last + token[-1]

    assert visit(url, {**form, "token": forged}).status == 403
    assert visit(url, {**form, "token": "nonsense"}).status == 403
    assert visit(url, {**form, "token": ""}).status == 403
    assert visit(url, {"decision": "Approve"}).status == 403
    assert visit(url, form, **{"content-type": "text/plain"}).status == 415
    kept = refusals(aws, execution_id)
    assert [each["userIdentity"]["type"] for each in kept] == ["Unknown"]  # the others name no step that there is
    server.advance(hours=1, seconds=1)
    runbooks.comes_to(execution_id, "TimedOut")
    late = visit(url, form)
    assert late.status == 410
    assert b"expired" in late.body
    assert [each["userIdentity"].get("userName") for each in refusals(aws, execution_id)] == [ada.user_name, None]


def test_a_link_gives_no_more_than_its_approver_may(
    runbooks: Runbooks, person: Person, mail: Mail, visit: Visit, aws: Aws
) -> None:
    ada = person("ada")
    mail.subscribe(ada.user_name)
    execution_id = runbooks.start(runbooks.make(asking(mail, ada.user_name), good("go"), **VARIABLES))
    url = link_in(mail.of(execution_id, 1), ada.user_name)
    form = {"token": token_of(url), "decision": "Approve"}
    iam = aws("iam")
    deny = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Deny", "Action": "ssm:SendAutomationSignal", "Resource": "*",
         "Condition": {"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}}]}  # fmt: skip
    iam.put_user_policy(UserName=ada.user_name, PolicyName="not-from-there", PolicyDocument=json.dumps(deny))
    said = visit(url, form)
    assert said.status == 403
    assert b"AccessDeniedException" in said.body

    key = iam.list_access_keys(UserName=ada.user_name)["AccessKeyMetadata"][0]["AccessKeyId"]
    iam.delete_access_key(UserName=ada.user_name, AccessKeyId=key)
    for each in ("all", "not-from-there"):
        iam.delete_user_policy(UserName=ada.user_name, PolicyName=each)
    iam.delete_user(UserName=ada.user_name)
    iam.create_user(UserName=ada.user_name)  # another who has the name now
    assert visit(url, form).status == 403
    assert runbooks.comes_to(execution_id, "Waiting")
    runbooks.ssm.stop_automation_execution(AutomationExecutionId=execution_id)


def test_the_topic_is_named_as_those_for_runbooks_are(runbooks: Runbooks, person: Person, aws: Aws) -> None:
    ada = person("ada")
    wrong = {"Approvers": [ada.user_name], "NotificationArn": aws("sns").create_topic(Name="ops")["TopicArn"]}
    with pytest.raises(runbooks.ssm.exceptions.InvalidDocumentContent, match="must begin with Automation"):
        runbooks.make({"name": "ask", "action": "aws:approve", "inputs": wrong})
    name = runbooks.make(
        {"name": "ask", "action": "aws:approve", "inputs": {**wrong, "NotificationArn": "{{ topic }}"}},
        parameters={"topic": {"type": "String"}},
    )
    for topic in (wrong["NotificationArn"], wrong["NotificationArn"].replace("ops", "AutomationThatIsNot")):
        got = runbooks.ended(runbooks.start(name, {"topic": topic}))
        assert got["AutomationExecutionStatus"] == "Failed"


async def _stored(database: Database) -> str:
    async with database.reading() as tx:
        rows = await tx.rows("select message, sealed from topic_message")
    return "".join(f"{row['message']}{bytes(row['sealed'] or b'')!r}" for row in rows)


def test_messages_are_stored_sealed(
    runbooks: Runbooks, person: Person, mail: Mail, receiver: Receiver, server: Server
) -> None:
    ada = person("ada")
    mail.subscribe(ada.user_name)
    receiver.status = 503
    execution_id = runbooks.start(runbooks.make(asking(mail, ada.user_name)))
    runbooks.comes_to(execution_id, "Waiting")
    stored = server.run(_stored(server.application.house.database))
    assert stored
    assert "token=" not in stored
    assert execution_id not in stored
    receiver.status = 200
    for _ in range(4):
        server.advance(seconds=5)
    assert link_in(mail.of(execution_id, 1), ada.user_name)
    runbooks.ssm.stop_automation_execution(AutomationExecutionId=execution_id)
