"""The page at ``/``: its files and headers, and its behaviour in a real browser."""

import random
import re
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

import lacy.serve
from helpers.browser import WORDS, Watched, done, expect, needs_browser, until, write
from helpers.serving import serving
from lacy.cascade import Engine
from lacy.cascade.guesses import GuessTracker
from lacy.serve import Keys
from lacy.serve.app import PAGE_FILES, read_page_file
from lacy.sources import ScriptedSource
from lacy.testing import scripted

pytestmark = pytest.mark.slow

FOLDER = Path(lacy.serve.__file__).parent / "page"
SCRIPTS = [name for name, kind in PAGE_FILES.values() if kind == "text/javascript"]
SVG = '"http://www.w3.org/2000/svg"'


def source(name):
    return read_page_file(name).decode()


def test_every_file_is_served_with_the_headers(server):
    names = sorted([*(p.name for p in FOLDER.iterdir()), "design.css"])
    assert sorted(name for name, _ in PAGE_FILES.values()) == names
    for path, (name, kind) in PAGE_FILES.items():
        got = httpx.get(server.url + path)
        assert got.status_code == 200 and got.content == read_page_file(name)
        assert got.headers["content-type"].split(";")[0] == kind
        policy = got.headers["content-security-policy"]
        assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy and "*" not in policy and "http" not in policy
        assert got.headers["x-content-type-options"] == "nosniff"
        assert got.headers["referrer-policy"] == "no-referrer"
        assert httpx.head(server.url + path).status_code == 200
    assert httpx.get(server.url + "/page/../app.py").status_code == 404
    assert httpx.get(server.url + "/page/%2e%2e/app.py").status_code == 404


def test_nothing_is_inline_stored_or_external():
    html = source("index.html")
    linked = re.findall(r'\b(?:src|href)="([^"]*)"', html)
    assert linked and set(linked) <= set(PAGE_FILES)
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]*\ssrc=)", html)
    assert set(re.findall(r'"/page/(\w+\.js)"', html)) == set(SCRIPTS)  # all in one go
    used = set()
    for name in SCRIPTS:
        text = source(name)
        used |= set(re.findall(r'\bbyId\("([^"]*)"\)', text))
        for module in re.findall(r'from "\./(.*?)"', text):
            assert f"/page/{module}" in PAGE_FILES
        assert not re.search(r"Storage|cookie|indexedDB|innerHTML|eval\(|insertAdj|\.style\b", text)
    for name, _ in PAGE_FILES.values():
        text = source(name).replace(SVG, "")  # a name, not a place
        assert not re.search(r"https?:|\bwss?:|url\(|@import|[\"']//", text), name
    ids = re.findall(r'\bid="([^"]*)"', html)
    assert len(ids) == len(set(ids)) and 'lang="en"' in html and "viewport" in html
    assert used and used <= set(ids)
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
def test_text_has_enough_contrast_in_both_schemes(scheme):
    block = re.findall(r":root \{(.*?)\}", source("design.css"), re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", block))
    tints = [name for name in colours if name.endswith("-tint")]
    assert len(tints) == 5
    for ground in ("paper", "card", "picked", *tints):
        assert contrast(colours["ink"], colours[ground]) >= 4.5, ground
    for name in ("muted", "accent", "wrong", "ready"):
        assert min(contrast(colours[name], colours[g]) for g in ("paper", "card")) >= 4.5, name
    for name in (tint.removesuffix("-tint") for tint in tints):  # the lines below words
        assert contrast(colours[name], colours[f"{name}-tint"]) >= 3, name
    assert contrast(colours["on-accent"], colours["accent"]) >= 4.5


def test_the_server_has_what_the_page_requests(engine, tmp_path):
    keys = Keys([])
    key = keys.add(tmp_path / "keys.json", "ada")
    with serving(engine, keys=keys, prompts=["Mara"]) as running:
        assert all(httpx.get(running.url + path).status_code == 200 for path in PAGE_FILES)
        assert httpx.get(running.url + "/v1/lacy").status_code == 401
        headers = {"Authorization": f"Bearer {key}"}
        got = httpx.get(running.url + "/v1/lacy", headers=headers).json()
    want = {
        "model": "slm",
        "policy": "entropy=1.5",
        "unit": "value",
        "chat": False,
        "feedback": False,
        "decisions": True,
        "prompts": ["Mara"],
    }
    assert [source["name"] for source in got.pop("sources")] == ["book"]
    assert got == want


@pytest.fixture
def seen(browser):
    seen = Watched(browser)
    yield seen
    seen.context.close()


def stretches(spans):
    """Return the texts and CSS classes that the page shows, with guesses as Python finds them."""
    shown, follow = [], GuessTracker()
    for span in spans:
        for n, (text, guess) in enumerate(follow.split(SimpleNamespace(**span))):
            look = "source-1" if span["speaker"] != "slm" else "guess" if guess else "own"
            if n or not span["asked"]:
                if shown and shown[-1][1] == look != "source-1":
                    shown[-1] = (shown[-1][0] + text, look)
                    continue
            elif text.strip():
                text = text.lstrip()  # the space before a call's words is nobody's
            shown.append((text, look))
    return shown


def texts(page):
    return page.locator(".text").all_text_contents()


@needs_browser
def test_text_streams_with_its_speakers(seen, server):
    page = seen.open(server.url + "/")
    assert page.locator("#default").text_content() == "(entropy=1.5)"
    page.focus("#prompt")
    page.keyboard.type("Mara")
    page.keyboard.press("Enter")
    done(page)
    choice = server.complete("Mara").json()["choices"][0]
    assert texts(page) == ["Mara" + choice["text"]]
    spans = choice["lacy"]["spans"]
    words = page.locator(WORDS)
    wanted = stretches(spans)
    said = [(one.text_content(), one.get_attribute("class").split()[1]) for one in words.all()]
    assert said == wanted and len({look for _, look in said}) == 3
    at = next(n for n, (_, look) in enumerate(wanted) if look == "source-1")
    span = next(span for span in spans if span["speaker"] == "book")
    words.nth(0).focus()
    for _ in range(at):
        page.keyboard.press("ArrowRight")
    told = page.inner_text("#detail")
    assert "book" in told and span["reason"] in told and "0.5" in told
    look = "e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).textDecorationLine]"
    theirs, own = words.nth(at).evaluate(look), page.locator(".text .own").first.evaluate(look)
    assert theirs[0] != own[0] and [theirs[1], own[1]] == ["underline", "none"]
    receipt = page.inner_text("table")
    assert re.search(rf"calls\s+{choice['lacy']['calls']}\s", receipt) and "ms" in receipt
    seen.clean(server.url)


@needs_browser
def test_guesses_end_in_the_browser_where_they_end_in_python(seen, server):
    page = seen.open(server.url + "/")
    draw = random.Random(0)
    texts = [
        " 12 May, 1815, in Ulm. Zoë",
        " by J. R. Smith; he",
        " 3.30) x",
        "東京。 a\nb",
        " 👍! so",
    ]
    texts += ["".join(draw.choices("aB1 .,;)\né👍", k=12)) for _ in range(200)]
    calls = [{"text": text, "speaker": "slm", "asked": True} for text in texts]
    after = [{"text": text, "speaker": "slm", "asked": False} for text in reversed(texts)]
    spans = [span for pair in zip(calls, after, strict=True) for span in pair]
    code = """async (spans) => {
      const { GuessTracker } = await import("/page/guesses.js");
      const follow = new GuessTracker();
      return spans.map((span) => follow.split(span));
    }"""
    follow = GuessTracker()
    wanted = [[list(part) for part in follow.split(SimpleNamespace(**span))] for span in spans]
    assert page.evaluate(code, spans) == wanted
    assert len({flag for parts in wanted for _, flag in parts}) == 2


@needs_browser
def test_the_slider_generates_again_and_three_answers_stand_side_by_side(seen, server):
    page = seen.open(server.url + "/")
    write(page, "Mara")
    page.focus("#budget")
    page.keyboard.press("End")
    expect(page.locator("caption")).to_contain_text("budget=0.5")
    assert page.text_content("#share") == "50%"
    write(page, button="Side by side")
    expect(page.locator("table")).to_have_count(3)
    done(page)
    policies = ["never", "budget=0.5", "always"]
    want = [server.complete("Mara", lacy={"policy": p}).json()["choices"][0] for p in policies]
    assert texts(page) == ["Mara" + choice["text"] for choice in want]
    seen.clean(server.url)


@needs_browser
def test_a_key_is_asked_for_and_not_stored(seen, engine, tmp_path):
    keys = Keys([])
    key = keys.add(tmp_path / "keys.json", "ada")
    with serving(engine, keys=keys, prompts=["Mara", "Tomas"]) as running:
        page = seen.open(running.url + "/", ready=False)
        expect(page.locator("#key")).to_be_focused()
        page.fill("#key", "wrong")
        page.click("#write")
        expect(page.locator("#problem")).to_contain_text("not valid")
        page.fill("#key", key)
        write(page)
        assert page.text_content("#problem") == ""
        assert page.locator("#picks button").count() == 2
        stored = "localStorage.length + sessionStorage.length + document.cookie.length"
        assert page.evaluate(stored) == 0 and key not in page.url
        seen.clean(running.url, "401")


@needs_browser
def test_text_appears_before_the_end_and_stop_stops(seen):
    def speak(text):
        time.sleep(0.02)
        return "x"

    slow = Engine(scripted(speak, context=4096), max_new_tokens=1000)
    with serving(slow) as running:
        page = seen.open(running.url + "/")
        page.click("#write")
        expect(page.locator(".text")).to_have_text(re.compile("x{5}"))
        assert page.get_attribute(".text", "aria-busy") == "true"
        page.click("#stop")
        expect(page.locator("#status")).to_have_text("Stopped.")
        expect(page.locator("#write")).to_be_focused()  # not nowhere, as Stop is off now
        assert "stopped" in page.text_content("caption")
        until(lambda: not running.scheduler.running)
        seen.clean(running.url)


@needs_browser
def test_it_fits_every_width_in_both_schemes(seen, server):
    page = seen.open(server.url + "/")
    write(page, "Mara" * 40, "Side by side")
    expect(page.locator("table")).to_have_count(3)
    page.locator("summary").first.click()
    page.locator(WORDS).first.focus()
    grounds = {}
    for width, scheme in [(1200, "light"), (390, "dark"), (360, "light"), (320, "dark")]:
        page.set_viewport_size({"width": width, "height": 844})
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert grounds.setdefault(scheme, ground) == ground
    assert len(set(grounds.values())) == 2
    seen.clean(server.url)


@needs_browser
def test_right_to_left_text_does_not_affect_other_speakers(seen):
    source = ScriptedSource([" \u202eUlm"], name="book")  # written backwards from here on
    loaded = scripted(lambda text: ".", lambda text: text == "Ada")
    with serving(Engine(loaded, source, "threshold=0", max_new_tokens=9)) as running:
        page = seen.open(running.url + "/")
        write(page, "Ada")
        assert texts(page)[0].startswith("Ada \u202eUlm.")
        lefts = [word.bounding_box()["x"] for word in page.locator(".text span").all()]
        assert len(lefts) == 3 and lefts == sorted(lefts)
        seen.clean(running.url)
