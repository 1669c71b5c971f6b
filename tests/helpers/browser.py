"""A headless Chromium through Playwright, and what page tests ask of it again and again."""

import asyncio
import contextlib
import shutil
import time

import pytest

try:
    from playwright.sync_api import expect, sync_playwright
except ImportError:
    expect = sync_playwright = None

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None or expect is None,
    reason="needs Chromium: apt-get install chromium && pip install playwright",
)
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage"]
DONE = "Done."
WORDS = ".text [role=button]"


@contextlib.contextmanager
def browsing():
    """Gives ``looking``, which gives a browser, the same each time.

    Playwright's event loop is this thread's while somebody looks, and only then: in between others
    may run loops of their own here.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        loop = asyncio._get_running_loop()
        asyncio._set_running_loop(None)

        @contextlib.contextmanager
        def looking():
            asyncio._set_running_loop(loop)
            try:
                yield browser
            finally:
                asyncio._set_running_loop(None)

        try:
            yield looking
        finally:
            asyncio._set_running_loop(loop)
            browser.close()


class Watched:
    """A page in a fresh profile, and what it, its scripts and the network said."""

    def __init__(self, browser, width=1200, height=844, **how):
        self.context = browser.new_context(viewport={"width": width, "height": height}, **how)
        self.page = self.context.new_page()
        self.page.set_default_timeout(120_000)
        self.asked, self.bad = [], []
        self.context.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.bad.append(str(error)))
        self.page.on("console", self._heard)

    def _heard(self, message):
        if message.type in ("error", "warning"):
            self.bad.append(message.text)

    def open(self, url, ready=True):
        """Go there; ``ready``: wait until it knows its server."""
        self.page.goto(url)
        if ready:
            expect(self.page.locator("#default")).not_to_be_empty()
        return self.page

    def clean(self, url, *allowed):
        """No script failed, nothing was refused by the policy, nobody else was asked."""
        assert [text for text in self.bad if not any(word in text for word in allowed)] == []
        assert self.asked and all(asked.startswith(url) for asked in self.asked), self.asked
        self.asked.clear()
        self.bad.clear()


def write(page, prompt=None, button="Write"):
    """Press a button and wait for the end."""
    if prompt is not None:
        page.fill("#prompt", prompt)
    page.get_by_role("button", name=button, exact=True).click()
    done(page)


def done(page):
    """Wait until all is written; a page's own policy forbids Playwright's ``wait_for_function``."""
    expect(page.locator("#status")).to_contain_text(DONE, timeout=120_000)


def until(true, seconds=120):
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "never true"
        time.sleep(0.03)
