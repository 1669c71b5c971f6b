"""Accessibility of the page: axe finds nothing, and colours, motion and mouse are not needed."""

import pytest

from helpers.browser import WORDS, Watched, expect, needs_browser, write
from helpers.serving import serving
from lacy.cascade import Engine
from lacy.sources import Chain, ScriptedSource
from lacy.testing import scripted

pytestmark = pytest.mark.slow

try:
    from axe_playwright_python.sync_playwright import Axe
except ImportError:
    Axe = None

needs_axe = pytest.mark.skipif(Axe is None, reason="needs axe: pip install axe-playwright-python")


@pytest.fixture(scope="module")
def mixed():
    """Text of the model and two sources, a call that finds nothing and one that fails."""
    book = [" Ulm", None, RuntimeError("out of order"), None]

    def turn(request):
        return request.text.count(" in") % len(book)

    def reply(request):
        if isinstance(book[turn(request)], Exception):
            raise book[turn(request)]
        return book[turn(request)]

    def speak(text):
        return {" ": "i", "i": "n"}.get(text[-1], " ")

    late = ScriptedSource(lambda request: " Bonn" if turn(request) == 3 else None, name="late")
    loaded = scripted(speak, lambda text: text.endswith(" in"))
    source = Chain([ScriptedSource(reply, name="book", cost=0.5), late])
    with serving(Engine(loaded, source, "threshold=0", max_new_tokens=60), prompts=["Mara"]) as it:
        yield it


def audit(page):
    """Return all violations as lines; axe is injected from outside, so the page's CSP holds."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [f"{v['impact']} {v['id']}: {node['html'][:120]}" for v in found for node in v["nodes"]]


@needs_axe
@needs_browser
@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1200, "light")])
def test_axe_finds_nothing(browser, mixed, width, scheme):
    """The style sheet has no colour that depends on the width, and no size on the scheme."""
    seen = Watched(browser, width, color_scheme=scheme)
    page = seen.open(mixed.url + "/")
    assert audit(page) == []
    write(page)
    page.locator("summary").click()
    assert audit(page) == []
    page.locator(WORDS).nth(1).click()
    expect(page.locator("#detail")).to_be_visible()
    assert audit(page) == []
    write(page, button="Side by side")
    assert audit(page) == []
    seen.clean(mixed.url)
    seen.context.close()


@needs_axe
@needs_browser
def test_axe_sees_what_is_wrong(browser, mixed):
    seen = Watched(browser)
    page = seen.open(mixed.url + "/")
    page.evaluate("document.querySelector('label[for=prompt]').remove()")
    assert any("label" in line for line in audit(page))
    seen.context.close()


@needs_axe
@needs_browser
def test_asking_for_a_key_is_accessible_too(browser, engine, tmp_path):
    from lacy.serve import Keys

    keys = Keys([])
    keys.add(tmp_path / "keys.json", "ada")
    with serving(engine, keys=keys) as running:
        seen = Watched(browser, 360)
        page = seen.open(running.url + "/", ready=False)
        expect(page.locator("#key")).to_be_focused()
        assert audit(page) == []
        seen.context.close()


@needs_browser
def test_speakers_differ_without_colours(browser, mixed):
    seen = Watched(browser, forced_colors="active")
    page = seen.open(mixed.url + "/")
    write(page)
    line = "e => getComputedStyle(e).textDecorationLine + getComputedStyle(e).textDecorationStyle"
    looks = {
        m: page.locator(f".text .{m}").first.evaluate(line)
        for m in ("own", "source-1", "source-2", "guess")
    }
    assert len(set(looks.values())) == 4, looks
    weight = "e => getComputedStyle(e).fontWeight"
    assert page.locator(".prompt").last.evaluate(weight) != page.locator(".own").last.evaluate(
        weight
    )
    held = page.locator(".text .source-1").first
    held.click()
    assert held.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    seen.context.close()


@needs_browser
def test_reduced_motion_is_respected(browser, slow):
    blink = "getComputedStyle(document.querySelector('.text'), '::after').animationName"
    with serving(slow) as running:
        for wish, name in (("reduce", "none"), ("no-preference", "blink")):
            seen = Watched(browser, reduced_motion=wish)
            page = seen.open(running.url + "/")
            page.click("#write")
            expect(page.locator(".text")).to_contain_text("x")
            assert page.evaluate(blink) == name
            seen.context.close()


@needs_browser
def test_the_keyboard_reaches_everything_and_shows_where_it_is(browser, mixed):
    seen = Watched(browser)
    page = seen.open(mixed.url + "/")
    write(page)
    page.locator(WORDS).nth(1).click()
    page.focus("#prompt")
    focus = (
        "[document.activeElement.id || document.activeElement.className || "
        "document.activeElement.tagName, getComputedStyle(document.activeElement).outlineWidth]"
    )
    reached = {}
    for _ in range(16):
        name, width = page.evaluate(focus)
        reached[name] = width
        page.keyboard.press("Tab")
    wanted = {"prompt", "budget", "write", "beside", "copy", "SUMMARY", "close"}
    assert wanted <= set(reached), reached
    reached.pop("BODY", None)  # after the last one the browser's own controls come
    assert set(reached.values()) == {"3px"}, reached
    assert any(name.startswith("segment") for name in reached)
    seen.context.close()


@needs_browser
def test_the_explanation_closes_and_focus_returns(browser, mixed):
    seen = Watched(browser, 360, has_touch=True, is_mobile=True)
    page = seen.open(mixed.url + "/")
    write(page)
    words, detail = page.locator(WORDS).nth(1), page.locator("#detail")
    words.tap()
    expect(words).to_have_attribute("aria-pressed", "true")
    close = page.get_by_role("button", name="Close")
    box = close.bounding_box()
    assert min(box["width"], box["height"]) >= 44  # a finger's
    close.tap()
    expect(detail).to_be_hidden()
    expect(words).to_be_focused()
    expect(words).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("Enter")
    expect(detail).to_be_visible()
    close.focus()
    page.keyboard.press("Escape")
    expect(detail).to_be_hidden()
    expect(words).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(detail).to_be_visible()
    assert page.locator(WORDS).nth(2).get_attribute("aria-describedby") == "about"
    seen.context.close()


@needs_browser
def test_announcements_are_few(browser, mixed):
    seen = Watched(browser)
    page = seen.open(mixed.url + "/")
    page.evaluate("""() => {
      window.told = [];
      const heard = (changes) => changes.forEach((c) => window.told.push(c.target.textContent));
      for (const live of document.querySelectorAll("[role=status], [role=alert], [aria-live]"))
        new MutationObserver(heard).observe(live, { childList: true });
    }""")
    write(page)
    told = [text for text in page.evaluate("window.told") if text]
    assert told[0] == "Writing …" and told[1].startswith("Done. 59 tokens, ") and len(told) == 2
    page.locator(WORDS).first.click()
    page.keyboard.press("ArrowRight")
    assert len([text for text in page.evaluate("window.told") if text]) == 2
    live = page.locator("[aria-live]:not([aria-live=off])")
    assert live.count() == 0  # status and alert are the only ones
    seen.context.close()
