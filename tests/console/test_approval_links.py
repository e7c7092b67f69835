"""The page of a link to approve, in a real browser: what it shows, that it needs no script, and what its buttons do."""

import json
import re
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.acceptance.installation import Installation, eventually, running
from tests.capabilities.events.conftest import Receiver

HOSTILE = "Restart <img src=x onerror=\"document.title='taken'\"> & <script>document.title='taken'</script>?"
RIGHTS = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ssm:*", "Resource": "*"}]}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture(scope="module")
def house(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    made = Installation(tmp_path_factory.mktemp("approvals"))
    made.data.mkdir(mode=0o700)
    (made.data / "pilothouse.toml").write_text(
        f'[automation]\nurl = "{made.url}"\n[outbound]\nallow = ["127.0.0.1/32"]\n'
    )
    with running(made):
        yield made


@pytest.fixture(scope="module")
def topic(house: Installation, receiver: Receiver) -> str:
    """Ada has what is for her."""
    iam, sns = house.boto("iam"), house.boto("sns")
    iam.create_user(UserName="ada")
    iam.put_user_policy(UserName="ada", PolicyName="ssm", PolicyDocument=json.dumps(RIGHTS))
    arn: str = sns.create_topic(Name="AutomationApprovals")["TopicArn"]
    sns.subscribe(
        TopicArn=arn, Protocol="http", Endpoint=receiver.url, Attributes={"FilterPolicy": '{"approver": ["ada"]}'}
    )  # fmt: skip
    asked = eventually(lambda: receiver.events, what="the request to confirm")[0]
    with urllib.request.urlopen(asked["SubscribeURL"], timeout=10) as answer:
        assert answer.status == 200
    return arn


def started(house: Installation, topic: str, receiver: Receiver) -> tuple[str, str]:
    """An execution that asks Ada, and her link."""
    ssm = house.boto("ssm")
    inputs = {"Approvers": ["ada"], "Message": HOSTILE, "NotificationArn": topic}
    content = {"schemaVersion": "0.3", "mainSteps": [{"name": "ask", "action": "aws:approve", "inputs": inputs}]}
    if "asks" not in {each["Name"] for each in ssm.list_documents(Filters=[{"Key": "Owner", "Values": ["Self"]}])[
        "DocumentIdentifiers"
    ]}:  # fmt: skip
        ssm.create_document(Name="asks", Content=json.dumps(content), DocumentType="Automation")
    execution_id: str = ssm.start_automation_execution(DocumentName="asks")["AutomationExecutionId"]

    def link() -> str:
        texts = [each["Message"] for each in receiver.events if execution_id in each.get("Message", "")]
        found = re.search(r"http://\S+/ph/v1/approvals\?token=\S+", "\n".join(texts))
        return found[0] if found else ""

    return execution_id, eventually(link, what="the link")


def opened(browser: Browser, url: str, complaints: list[str], **options: Any) -> Page:
    page = browser.new_context(**options).new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(url)
    return page


def status(house: Installation, execution_id: str) -> str:
    found = house.boto("ssm").get_automation_execution(AutomationExecutionId=execution_id)["AutomationExecution"]
    return str(found["AutomationExecutionStatus"])


@pytest.mark.parametrize("scripts", [True, False])
def test_a_person_approves_in_a_browser(
    house: Installation, topic: str, receiver: Receiver, browser: Browser, scripts: bool
) -> None:
    execution_id, url = started(house, topic, receiver)
    complaints: list[str] = []
    page = opened(browser, url, complaints, java_script_enabled=scripts)
    expect(page.get_by_role("heading", name="An approval is asked of you")).to_be_visible()
    expect(page.get_by_text(HOSTILE)).to_be_visible()
    assert page.title() == "An approval is asked of you"
    assert page.evaluate("getComputedStyle(document.querySelector('dt')).fontWeight") == "700" if scripts else True
    assert status(house, execution_id) == "Waiting"
    page.get_by_label("Comment").fill("from the browser")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("heading", name="Approved")).to_be_visible()
    expect(page.get_by_text(":user/ada")).to_be_visible()
    eventually(lambda: status(house, execution_id) == "Success", within=20, what="the end")
    assert complaints == []  # the policy had nothing to forbid
    page.goto(url)
    expect(page.get_by_role("heading", name="This link does not count any more")).to_be_visible()


def test_a_person_rejects_in_a_browser(house: Installation, topic: str, receiver: Receiver, browser: Browser) -> None:
    execution_id, url = started(house, topic, receiver)
    page = opened(browser, url, [])
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_role("heading", name="Rejected")).to_be_visible()
    eventually(lambda: status(house, execution_id) == "Failed", within=20, what="the end")
