"""The page at ``/``: its files and headers, and what a real browser does with it."""

import re
import time
from pathlib import Path

import httpx
import pytest

import lacy.serve
from lacy.cascade import Engine
from lacy.serve import Keys
from lacy.serve.front import FILES
from lacy.testing import scripted

from .browser import CHROMIUM, browsing
from .conftest import serving

FOLDER = Path(lacy.serve.__file__).parent / "page"
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this computer")


def source(name):
    return (FOLDER / name).read_text(encoding="utf-8")


def test_every_file_is_served_with_the_headers(server):
    assert sorted(name for name, _ in FILES.values()) == sorted(p.name for p in FOLDER.iterdir())
    for path, (name, kind) in FILES.items():
        got = httpx.get(server.url + path)
        assert got.status_code == 200 and got.content == (FOLDER / name).read_bytes()
        assert got.headers["content-type"].split(";")[0] == kind
        policy = got.headers["content-security-policy"]
        assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy and "*" not in policy and "http" not in policy
        assert got.headers["x-content-type-options"] == "nosniff"
        assert got.headers["referrer-policy"] == "no-referrer"
        assert httpx.head(server.url + path).status_code == 200
    assert httpx.get(server.url + "/page/../app.py").status_code == 404
    assert httpx.get(server.url + "/page/%2e%2e/app.py").status_code == 404


def test_nothing_is_inline_stored_or_from_elsewhere():
    html = source("index.html")
    linked = re.findall(r'\b(?:src|href)="([^"]*)"', html)
    assert linked and set(linked) <= set(FILES)
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]*\ssrc=)", html)
    for name in ("page.js", "pane.js", "stream.js"):
        text = source(name)
        for module in re.findall(r'from "\./(.*?)"', text):
            assert f"/page/{module}" in FILES
        assert not re.search(r"Storage|cookie|indexedDB|innerHTML|eval\(|insertAdj|\.style\b", text)
    for name, _ in FILES.values():
        text = source(name).replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"https?:|wss?:|url\(|@import|[\"']//", text), name
    ids = re.findall(r'\bid="([^"]*)"', html)
    assert len(ids) == len(set(ids)) and 'lang="en"' in html and "viewport" in html
    assert set(re.findall(r'\bat\("([^"]*)"\)', source("page.js"))) <= set(ids)
    assert set(re.findall(r'\bfor="([^"]*)"', html)) <= set(ids)


def contrast(one, two):
    """WCAG's contrast of two colours."""

    def light(colour):
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        lin = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * lin[0] + 0.7152 * lin[1] + 0.0722 * lin[2]

    low, high = sorted((light(one), light(two)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1])
def test_words_can_be_read_in_both_schemes(scheme):
    block = re.findall(r":root \{(.*?)\}", source("style.css"), re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", block))
    for ground in ("paper", "panel", "picked"):
        for name in ("ink", "soft", "own", "a", "b", "c", "d", "silent"):
            assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
    assert contrast(colours["wrong"], colours["paper"]) >= 4.5
    assert contrast(colours["on-accent"], colours["accent"]) >= 4.5


def test_what_the_page_asks_of_its_server(engine, tmp_path):
    keys = Keys([])
    key = keys.add(tmp_path / "keys.json", "ada")
    with serving(engine, keys=keys, prompts=["Mara"]) as running:
        assert all(httpx.get(running.url + path).status_code == 200 for path in FILES)
        assert httpx.get(running.url + "/v1/lacy").status_code == 401
        headers = {"Authorization": f"Bearer {key}"}
        got = httpx.get(running.url + "/v1/lacy", headers=headers).json()
    want = {"model": "slm", "policy": "entropy=1.5", "unit": "value", "prompts": ["Mara"]}
    assert got == want


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browsing(tmp_path_factory.mktemp("chromium")) as page:
        yield page


DONE = "document.getElementById('status').textContent.includes('calls,')"
TEXTS = "[...document.querySelectorAll('.text')].map(e => e.textContent)"


def clean(page, url):
    """No script failed, nothing was refused by the policy, nobody else was asked."""
    assert page.heard("Runtime.exceptionThrown") == []
    bad = [e["entry"]["text"] for e in page.heard("Log.entryAdded")]
    assert [text for text in bad if "401" not in text] == []
    asked = [e["request"]["url"] for e in page.heard("Network.requestWillBeSent")]
    assert asked and all(a.startswith(url) or a == "about:blank" for a in asked)
    page.events.clear()


@needs_browser
def test_words_stream_and_tell_who_said_them(page, server):
    page.open(server.url + "/")
    page.until("document.getElementById('default').textContent === '(entropy=1.5)'")
    page.js("document.getElementById('prompt').focus()")
    for letter in "Mara":
        page.press(letter, text=letter)
    page.press("Enter", 13, "\r")
    page.until(DONE)
    choice = server.complete("Mara").json()["choices"][0]
    assert page.js(TEXTS) == ["Mara" + choice["text"]]
    spans = choice["lacy"]["spans"]
    nodes = "document.querySelectorAll('.text [role=button]')"
    assert page.js(f"{nodes}.length") == len(spans)
    at = next(n for n, span in enumerate(spans) if span["speaker"] == "book")
    page.js(f"{nodes}[0].focus()")
    for _ in range(at):
        page.press("ArrowRight", 39)
    told = page.js("document.getElementById('detail').innerText")
    assert "book" in told and spans[at]["reason"] in told and "0.5" in told
    lines = f"[{nodes}[{at}], document.querySelector('.own')].map(e => getComputedStyle(e))"
    look = page.js(f"{lines}.map(s => [s.color, s.textDecorationLine])")
    assert look[0][0] != look[1][0] and [line for _, line in look] == ["underline", "none"]
    page.press("Escape", 27)
    assert page.js("document.getElementById('detail').hidden")
    receipt = page.js("document.querySelector('table').innerText")
    assert re.search(rf"calls\s+{choice['lacy']['calls']}\s", receipt) and "ms" in receipt
    clean(page, server.url)


@needs_browser
def test_the_slider_writes_anew_and_three_stand_side_by_side(page, server):
    page.open(server.url + "/")
    page.until("document.getElementById('default').textContent")
    page.js("document.getElementById('prompt').value = 'Mara'")
    page.js("document.getElementById('write').click()")
    page.until(DONE)
    page.js("document.getElementById('budget').focus()")
    page.press("End", 35)
    page.until("document.querySelector('caption')?.textContent.includes('budget=0.5')")
    assert page.js("document.getElementById('share').textContent") == "50%"
    page.js("document.getElementById('beside').click()")
    page.until("document.querySelectorAll('table').length === 3 && " + DONE)
    policies = ["never", "always", "budget=0.5"]
    want = [server.complete("Mara", lacy={"policy": p}).json()["choices"][0] for p in policies]
    assert page.js(TEXTS) == ["Mara" + choice["text"] for choice in want]
    clean(page, server.url)


@needs_browser
def test_a_key_is_asked_for_and_kept_nowhere(page, engine, tmp_path):
    keys = Keys([])
    key = keys.add(tmp_path / "keys.json", "ada")
    with serving(engine, keys=keys, prompts=["Mara", "Tomas"]) as running:
        page.open(running.url + "/")
        page.until("document.activeElement.id === 'key'")
        for text, shown in [("wrong", "not valid"), (key, "")]:
            page.js(f"document.getElementById('key').value = '{text}'")
            page.js("document.getElementById('write').click()")
            page.until("document.getElementById('problem').textContent" + (
                f".includes('{shown}')" if shown else " === ''"))  # fmt: skip
        page.until(DONE)
        assert page.js("document.querySelectorAll('#picks button').length") == 2
        assert page.js("localStorage.length + sessionStorage.length + document.cookie.length") == 0
        assert key not in page.js("location.href")
        clean(page, running.url)


@needs_browser
def test_words_are_there_before_the_end_and_stop_stops(page):
    def speak(text):
        time.sleep(0.02)
        return "x"

    slow = Engine(scripted(speak, context=4096), max_new_tokens=1000)
    with serving(slow) as running:
        page.open(running.url + "/")
        page.until("document.getElementById('default').textContent")
        page.js("document.getElementById('write').click()")
        page.until("document.querySelector('.text')?.textContent.length > 5")
        assert page.js("document.querySelector('.text').getAttribute('aria-busy')") == "true"
        page.js("document.getElementById('stop').click()")
        page.until("document.getElementById('status').textContent === 'Stopped.'")
        end = time.monotonic() + 10
        while running.scheduler.running:
            assert time.monotonic() < end, "the server goes on for nobody"
            time.sleep(0.05)
        clean(page, running.url)


@needs_browser
def test_it_fits_a_phone_and_both_schemes(page, server, tmp_path):
    page.open(server.url + "/")
    page.until("document.getElementById('default').textContent")
    page.js("document.getElementById('prompt').value = 'Mara'")
    page.js("document.getElementById('beside').click()")
    page.until("document.querySelectorAll('table').length === 3 && " + DONE)
    page.js("document.querySelector('.text [role=button]').focus()")
    grounds = set()
    for width, scheme in [(1200, "light"), (390, "dark"), (320, "light")]:
        page.size(width, 844)
        page.scheme(scheme)
        assert page.js("document.documentElement.scrollWidth") <= width
        grounds.add(page.js("getComputedStyle(document.body).backgroundColor"))
        page.shot(tmp_path / f"{width}.png")
        assert (tmp_path / f"{width}.png").read_bytes().startswith(b"\x89PNG")
    assert len(grounds) == 2
    clean(page, server.url)
