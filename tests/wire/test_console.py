"""The console's files as browsers get them, and what pages of other sites may not do."""

import gzip
import json
import re
from pathlib import Path

import pytest

from pilothouse.wire.console import Console
from pilothouse.wire.http import Request, Response
from pilothouse.wire.origins import from_elsewhere
from tests.conftest import Server
from tests.wire.conftest import World


def asked(path: str, method: str = "GET", **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(method, path, "", named, b"", peer="127.0.0.1", secure=False)


async def through(console: Console, request: Request) -> Response:
    handler = console.routes().get(request.path, console.give)
    return await handler(request)


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """What a build leaves, in small."""
    folder = tmp_path / "files"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html>the page")
    (folder / "assets" / "index-abc.js").write_text("the script")
    (folder / "assets" / "index-abc.js.gz").write_bytes(gzip.compress(b"the script"))
    return folder


@pytest.fixture
def console(world: World, built: Path) -> Console:
    return Console(world.house, account_id="123456789012", files=built)


async def test_every_path_that_is_no_file_is_the_page(console: Console) -> None:
    for path in ("/console/", "/console/nodes/mi-0123456789abcdef0", "/console/sessions"):
        answer = await through(console, asked(path))
        assert (answer.status, answer.body) == (200, b"<!doctype html>the page")
        assert answer.headers["cache-control"] == "no-cache"
    entered = await through(console, asked("/console"))
    assert (entered.status, entered.headers["location"]) == (308, "/console/")


@pytest.mark.parametrize(
    "path", ["/console/assets/other.js", "/console/x.js", "/console/../pyproject.toml", "/console/.made"]
)
async def test_files_that_are_not_there_are_not_found(console: Console, path: str) -> None:
    assert (await through(console, asked(path))).status == 404


async def test_files_with_hashed_names_are_kept_for_ever_and_come_zipped_to_those_who_ask(console: Console) -> None:
    plain = await through(console, asked("/console/assets/index-abc.js"))
    zipped = await through(console, asked("/console/assets/index-abc.js", accept_encoding="gzip, br"))
    assert (plain.body, "content-encoding" in plain.headers) == (b"the script", False)
    assert (gzip.decompress(zipped.body), zipped.headers["content-encoding"]) == (b"the script", "gzip")
    assert "immutable" in plain.headers["cache-control"]
    assert plain.headers["content-type"].startswith("text/javascript")


async def test_nothing_runs_that_is_not_one_of_the_files(console: Console) -> None:
    for path in ("/console", "/console/", "/console/assets/index-abc.js", "/console/none.js", "/console/config.json"):
        headers = (await through(console, asked(path))).headers
        policy = dict(each.split(" ", 1) for each in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == "'self' 'wasm-unsafe-eval'"
        assert policy["style-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert headers["x-content-type-options"] == "nosniff"


async def test_only_reading_is_answered(console: Console) -> None:
    assert (await through(console, asked("/console/", "POST"))).status == 405


async def test_a_server_without_the_files_says_so(world: World, tmp_path: Path) -> None:
    console = Console(world.house, account_id="1", files=tmp_path / "none")
    answer = await through(console, asked("/console/"))
    assert answer.status == 503
    assert b"make setup" in answer.body


async def test_the_page_learns_the_region_and_nothing_about_accounts(world: World, console: Console) -> None:
    told = json.loads((await through(console, asked("/console/config.json"))).body)
    assert told["region"] == world.house.settings.region
    assert "dev" not in told


def test_the_page_that_is_built_holds_no_script_of_its_own() -> None:
    page = (Path(__file__).parents[2] / "console" / "index.html").read_text("utf-8")
    assert re.findall(r"<script[^>]*>(.*?)</script>", page, re.S) == [""]
    assert "style=" not in page
    assert "<style" not in page


@pytest.mark.parametrize(
    ("headers", "elsewhere"),
    [
        ({}, False),
        ({"sec-fetch-site": "same-origin", "origin": "https://a.example"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"origin": "https://[::1"}, True),
        ({"origin": "https://[127.0.0.1]"}, True),
        ({"sec-fetch-site": "cross-site"}, True),
        ({"sec-fetch-site": "same-site"}, True),
        ({"origin": "http://here.example:7700"}, False),
        ({"origin": "http://HERE.example:7700"}, False),
        ({"origin": "http://here.example"}, True),
        ({"origin": "https://there.example"}, True),
        ({"origin": "null"}, True),
    ],
)
def test_pages_of_other_sites_are_told_apart(headers: dict[str, str], elsewhere: bool) -> None:
    assert from_elsewhere({"host": "here.example:7700", **headers}) is elsewhere


def test_pages_of_other_sites_may_not_sign_in(server: Server) -> None:
    request = asked("/ph/v1/sign-in", "POST", content_type="application/json", sec_fetch_site="cross-site")
    assert server.run(server.application.front.respond(request)).status == 403
