"""What people do in the console, in Chromium, against the real server."""

import json
import os

from playwright.sync_api import expect

from tests.console.conftest import Person, Site

SCRIPT = "<img src=x onerror=\"document.title='taken over'\"><b>bold</b>"


def storages(page) -> str:
    return page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])")


def test_a_person_signs_in_once_for_all_tabs_and_out_of_all(person: Person, site: Site) -> None:
    iam = site.house.boto("iam")
    iam.create_user(UserName="ada")
    iam.attach_user_policy(UserName="ada", PolicyArn="arn:aws:iam::aws:policy/AmazonSSMReadOnlyAccess")
    iam.create_login_profile(UserName="ada", Password="First-Pass-1", PasswordResetRequired=True)

    page = person.page("/nodes")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("Enter your user name and your password.")).to_be_visible()
    page.get_by_label("User name").fill("ada")
    page.get_by_label("Password").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_text("That did not fit")).to_be_visible()
    page.get_by_label("Password").fill("First-Pass-1")
    page.keyboard.press("Enter")
    page.get_by_label("New password").fill("Second-Pass-2")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="web")).to_be_visible()
    expect(page.get_by_role("button", name="ada")).to_be_visible()
    assert "Pass-2" not in storages(page)
    assert "SecretAccessKey" not in page.evaluate("JSON.stringify({...localStorage})")

    page.reload()
    expect(page.get_by_role("link", name="web")).to_be_visible()
    other = person.page(f"/nodes/{site.node.node_id}")
    expect(other.get_by_role("heading", name="web")).to_be_visible()

    page.get_by_role("link", name="Run a command").click()
    page.get_by_label("commands").fill("id")
    page.get_by_text("All nodes").click()
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_text("You are not allowed to do this").last).to_be_visible()

    page.get_by_role("button", name="ada").click()
    page.get_by_role("menuitem", name="Sign out").click()
    expect(page.get_by_label("User name")).to_be_visible()
    expect(other.get_by_label("User name")).to_be_visible()
    assert json.loads(storages(other))[1] == {}


def test_an_access_key_is_never_stored(person: Person, site: Site) -> None:
    key = site.house.known()
    page = person.page("/nodes")
    page.get_by_text("Access key", exact=True).click()
    page.get_by_label("Access key ID").fill(key["AWS_ACCESS_KEY_ID"])
    page.get_by_label("Secret access key").fill(key["AWS_SECRET_ACCESS_KEY"])
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="web")).to_be_visible()
    assert key["AWS_SECRET_ACCESS_KEY"] not in storages(page)
    page.reload()
    expect(page.get_by_role("link", name="web")).to_be_visible()
    assert key["AWS_SECRET_ACCESS_KEY"] not in storages(page)


def test_what_a_node_writes_is_shown_as_text_while_it_writes(person: Person, site: Site) -> None:
    page = person.administrator("/commands/run?node=" + site.node.node_id)
    page.get_by_label("commands").fill(
        f"echo '{SCRIPT.replace(chr(39), '')}'\nread line < {site.house.folder}/gate\necho done"
    )
    gate = site.house.folder / "gate"
    os.mkfifo(gate)
    expect(page.get_by_text("1 node gets it")).to_be_visible()
    page.get_by_role("button", name="Run", exact=True).click()
    output = page.get_by_role("region", name="Output of aws:runShellScript")
    expect(output).to_contain_text("<b>bold</b>")
    expect(page.get_by_text("In progress").first).to_be_visible()
    gate.write_text("go on\n")
    expect(output).to_contain_text("done")
    expect(page.get_by_text("Success").first).to_be_visible()
    assert page.locator("img[src=x]").count() == 0
    assert "taken over" not in page.title()


def test_nodes_are_filtered_by_the_server_and_shown_alone(person: Person, site: Site) -> None:
    page = person.administrator("/nodes?f=Tag%3DEnv%3DTest")
    expect(page.get_by_text("No nodes fit these filters")).to_be_visible()
    page.get_by_role("button", name="Clear filters").last.click()
    expect(page.get_by_text("Connected", exact=True)).to_be_visible()
    page.get_by_role("link", name="web").click()
    page.get_by_role("button", name="Edit tags").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Add new tag").click()
    dialog.get_by_placeholder("Enter key").last.fill("Team")
    dialog.get_by_placeholder("Enter value").last.fill("a")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_be_hidden()
    expect(page.get_by_text("Team: a")).to_be_visible()
    tags = site.house.boto("ssm").list_tags_for_resource(ResourceType="ManagedInstance", ResourceId=site.node.node_id)
    assert {"Key": "Team", "Value": "a"} in tags["TagList"]


def test_a_console_without_nodes_says_what_to_do(person: Person, site: Site) -> None:
    page = person.administrator()
    page.get_by_role("button", name="Region us-east-1").click()
    page.get_by_role("menuitem", name="Another region…").click()
    page.get_by_label("Region", exact=True).fill("eu-west-3")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No nodes yet")).to_be_visible()
    page.get_by_role("button", name="Add node").last.click()
    page.get_by_role("button", name="Create activation").click()
    line = page.get_by_role("region", name="Line that registers a node")
    expect(line).to_contain_text(f"https://127.0.0.1:{site.house.https}/agent/install.sh")
    expect(line).to_contain_text("--ca-sha256")
    expect(line).to_contain_text("--activation-code")
