"""The page's prices, sources, failures and address."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest

from helpers.browser import Watched, done, expect, needs_browser, until, write
from helpers.serving import serving
from lacy.cascade import Engine
from lacy.serve import Keys
from lacy.sources import Breaker, ScriptedSource, TokenPrice
from lacy.testing import scripted
from lacy.types import Candidate, Reply

pytestmark = [pytest.mark.slow, needs_browser]
PRICE = TokenPrice(input=2_000, output=10_000)


class Partner:
    """A source with a price per token, as a model behind a server has."""

    name = "partner"
    price = PRICE

    async def ask(self, requests):
        return [Reply((Candidate(" Ulm"),), cost=0.04, seconds=0.012) for _ in requests]


def calling(source, **how):
    """Writes " in in in", calls after each."""
    loaded = scripted(
        lambda text: {" ": "i", "i": "n"}.get(text[-1], " "), lambda text: text.endswith(" in")
    )
    return Engine(loaded, source, "threshold=0", **{"max_new_tokens": 30, **how})


@pytest.fixture
def seen(browser):
    seen = Watched(browser)
    yield seen
    seen.context.close()


def rows(page):
    """Return the rows of the receipt by their heads."""
    found = page.locator("table tr").all()
    return {row.locator("th").inner_text(): row.locator("td").all_inner_texts() for row in found}


def test_the_receipt_compares_the_cost_without_delegation(seen):
    with serving(calling(Partner())) as running:
        page = seen.open(running.url + "/")
        write(page, "Mara")
        told = running.complete("Mara").json()
        usage, lacy = told["usage"], told["choices"][0]["lacy"]
        alone = PRICE.cost(usage["prompt_tokens"], usage["completion_tokens"])
        got = rows(page)
        share = f"{round(100 * lacy['cost'] / alone)}%"
        assert got["paid"] == [f"{lacy['cost']:.3g}", share] and lacy["cost"] > 0
        assert got["all by partner"] == [f"{alone:.3g}", "100%"] and "written by itself" not in got
        page.locator("summary").click()
        how = page.inner_text("details")
        assert (
            f"{usage['prompt_tokens']} tokens, 2000 per million" in how and f"= {alone:.3g}." in how
        )
        shares = [got[name][1] for name in ("the model", "partner")]
        assert sum(int(share[:-1]) for share in shares) in (99, 100, 101)
        width = "e => Math.round(100 * e.getBBox().width / e.ownerSVGElement.clientWidth) + '%'"
        assert [line.evaluate(width) for line in page.locator(".bar line").all()] == shares
        seen.clean(running.url)


def test_without_a_price_the_models_own_share_is_shown(seen, server):
    page = seen.open(server.url + "/")
    write(page, "Mara")
    got = rows(page)
    assert got["written by itself"] == [got["the model"][1], ""]
    assert not any(name.startswith("all by") for name in got)
    seen.clean(server.url)


def test_the_panel_of_sources_follows_the_answers(seen):
    with serving(calling(Partner())) as running:
        page = seen.open(running.url + "/")
        card = page.locator("#cards li")
        assert "partner" in card.inner_text() and "not asked yet" in card.inner_text()
        assert re.search(r"requests\s+0\s", card.inner_text())
        write(page, "Mara")
        calls = running.complete("Mara").json()["choices"][0]["lacy"]["calls"]
        expect(card).to_contain_text(
            re.compile(rf"requests\s*{calls}found{calls}not found0failed0")
        )
        told = card.inner_text()
        assert "12 ms" in told and re.search(rf"cost\s+{calls * 0.04:.3g}\b", told)
        look = "e => getComputedStyle(e).textDecorationStyle + getComputedStyle(e).color"
        said = page.locator(".text .segment:not(.own)").first
        assert card.locator(".segment").evaluate(look) == said.evaluate(look)
        seen.clean(running.url)


def test_a_failing_source_is_shown_in_answer_and_panel(seen):
    down = Breaker(ScriptedSource([ConnectionError("refused")] * 99, name="book"), failures=2)
    with serving(calling(down)) as running:
        page = seen.open(running.url + "/")
        write(page, "Mara")
        calls = int(rows(page)["calls"][0])
        notice = page.locator(".notice.failed")
        expect(notice).to_contain_text(f"{calls} of {calls} calls failed")
        expect(notice).to_contain_text("refused")
        assert rows(page)["unanswered"] == [str(calls), "100%"]
        assert f"({calls} failed)" in page.inner_text("#status")
        expect(page.locator("#cards .state")).to_have_text("resting after failures")
        page.locator(".text .guess").first.click()
        assert "after a call that failed" in page.inner_text("#detail")
        seen.clean(running.url)


def test_the_state_of_a_source_follows_its_last_request(seen):
    fails = [True]

    def reply(request):
        if fails[0]:
            raise ConnectionError("refused")
        return " Ulm"

    with serving(calling(ScriptedSource(reply, name="book"))) as running:
        page = seen.open(running.url + "/")
        state = page.locator("#cards .state")
        expect(state).to_have_text("not asked yet")
        for broken, text in ((True, "its last request failed"), (False, "ready")):
            fails[0] = broken
            write(page, "Mara")
            expect(state).to_have_text(text)
        seen.clean(running.url)


def test_an_answer_that_was_cut_off_can_be_continued(seen):
    loaded = scripted(lambda text: "x" if len(text) < 12 else "")
    with serving(Engine(loaded, max_new_tokens=5)) as running:
        page = seen.open(running.url + "/")
        write(page, "Mara")
        more = page.get_by_role("button", name="Continue")
        for length in (9, 12):
            expect(page.locator(".text")).to_have_text("Mara".ljust(length, "x"))
            if length < 12:
                expect(page.locator(".notice.cut")).to_contain_text("Cut off at the token limit")
                more.click()
        expect(more).to_have_count(0)
        done(page)
        assert rows(page)["the model"][0] == "8 tokens"
        seen.clean(running.url)


def test_a_question_gets_the_start_of_a_sentence_instead(seen):
    loaded = scripted(lambda text: "")
    with serving(Engine(loaded, max_new_tokens=5)) as running:
        page = seen.open(running.url + "/")
        write(page, "When was Emil Quilodell born?")
        expect(page.locator(".notice.hint")).to_contain_text("not trained to answer questions")
        page.get_by_role("button", name="Begin with “Emil Quilodell was born”").click()
        expect(page.locator("#prompt")).to_have_value("Emil Quilodell was born")
        expect(page.locator(".text")).to_have_text("Emil Quilodell was born")
        expect(page.locator(".notice.hint")).to_have_count(0)
        asked = running.complete("When was Ada born?").json()["choices"][0]["lacy"]
        assert "“Ada was born”" in asked["hint"]
        assert "hint" not in running.complete("Ada was born").json()["choices"][0]["lacy"]
        seen.clean(running.url)


@pytest.mark.parametrize(("how", "twice"), [("threshold=0", 1), ("never", 1), ("budget=0.2", 0)])
def test_a_policy_is_offered_once(seen, how, twice):
    engine = Engine(scripted(lambda text: ""), ScriptedSource([]), how)
    with serving(engine) as running:
        page = seen.open(running.url + "/")
        shown = page.locator("#when label:visible").all_inner_texts()
        assert len(shown) == 4 - twice and "default of the server" in shown[0]
        page.goto("about:blank")
        page = seen.open(running.url + f"/#prompt=Tom&policy={how}")
        checked = page.locator("[name=policy]:checked")
        assert checked.evaluate("e => e.value") == ("budget" if how[0] == "b" else "")
        expect(checked).to_be_visible()
        seen.clean(running.url)


def test_finding_nothing_is_no_failure(seen):
    with serving(calling(ScriptedSource([None] * 99, name="book"))) as running:
        page = seen.open(running.url + "/")
        write(page, "Mara")
        expect(page.locator(".notice.unanswered")).to_contain_text(
            "calls unanswered: source had no answer"
        )
        assert page.locator(".notice.failed").count() == 0
        expect(page.locator("#cards .state")).to_have_text("ready")
        seen.clean(running.url)


def test_the_address_holds_the_view_and_opening_it_generates_nothing(seen, server):
    page = seen.open(server.url + "/")
    prompt = "Mara & Ben #1 + é\n100%"
    page.fill("#budget", "0.3")
    write(page, prompt)
    held = parse_qs(urlsplit(page.url).fragment)
    assert held == {"prompt": [prompt], "policy": ["budget=0.3"]}
    text = page.locator(".text").text_content()
    write(page, button="Side by side")
    link = page.url
    assert "beside=1" in link
    seen.asked.clear()
    page.goto("about:blank")
    seen.open(link)
    assert page.input_value("#prompt") == prompt and page.text_content("#share") == "30%"
    assert page.locator("[name=policy][value=budget]").is_checked()
    assert "Side by side" in page.text_content("#status")
    assert not [asked for asked in seen.asked if asked.endswith("/completions")]
    write(page)
    assert page.locator(".text").text_content() == text
    page.evaluate("location.hash = 'prompt=Tom&policy=never'")
    expect(page.locator("#prompt")).to_have_value("Tom")
    assert page.locator("[name=policy][value=never]").is_checked()
    page.evaluate("location.hash = 'prompt=Eva&policy=%3Cb%3E'")  # no policy of this page
    expect(page.locator("#prompt")).to_have_value("Eva")
    assert seen.bad == []


def test_moving_the_slider_restarts_generation_once(seen, slow):
    with serving(slow) as running:
        page = seen.open(running.url + "/")
        page.click("#write")
        expect(page.locator(".text")).to_contain_text("xx")
        gone = []
        page.on("requestfailed", lambda request: gone.append(request.url))
        page.focus("#budget")
        for _ in range(5):
            page.keyboard.press("ArrowRight")
        until(lambda: not running.scheduler.running)  # the first is left before the next begins
        expect(page).to_have_url(re.compile("policy=budget%3D0.27"))
        assert page.text_content("#share") == "27%"
        expect(page.locator("#answers")).not_to_have_class("old")
        expect(page.locator(".text")).to_contain_text("xx")
        wrote = [asked for asked in seen.asked if asked.endswith("/completions")]
        assert len(wrote) == 2 and len(gone) == 1
        assert running.scheduler.running == 1
        page.click("#stop")
        expect(page.locator("#status")).to_have_text("Stopped.")
        seen.clean(running.url)


def test_an_answer_is_copied(browser, server):
    seen = Watched(browser, permissions=["clipboard-read", "clipboard-write"])
    page = seen.open(server.url + "/")
    write(page, "Mara")
    page.get_by_role("button", name="Copy: Answer").click()
    expect(page.locator("#status")).to_have_text("Copied.")
    text = page.locator(".text").text_content()
    assert page.evaluate("navigator.clipboard.readText()") == text
    # over plain HTTP from elsewhere there is no clipboard
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.get_by_role("button", name="Copy: Answer").click()
    expect(page.locator("#status")).to_contain_text("Selected")
    assert page.evaluate("getSelection().toString()").split() == text.split()
    seen.context.close()


def test_the_page_says_when_to_retry_after_a_rate_limit(seen, engine, tmp_path):
    keys = Keys([])
    key = keys.add(tmp_path / "keys.json", "ada", per_minute=2)
    with serving(engine, keys=keys) as running:
        seen.page.clock.install()
        page = seen.open(running.url + "/", ready=False)
        page.fill("#key", key)
        write(page, "Mara")
        for _ in range(2):
            page.click("#write")
        problem = page.locator("#problem")
        expect(problem).to_contain_text("this key may ask for 2 texts per minute")
        seconds = int(re.search(r"Try again in (\d+) s", problem.inner_text())[1])
        assert 1 <= seconds <= 30
        assert page.locator(".text").count() == 0  # what was there answers another request
        page.clock.fast_forward(1000 * seconds)
        expect(problem).to_be_empty()
        expect(page.locator("#status")).to_have_text("You can try again now.")
        seen.clean(running.url, "401", "429")


def test_the_page_says_that_the_server_does_not_answer(seen, engine):
    with serving(engine) as running:
        page = seen.open(running.url + "/")
        write(page, "Mara")
    page.click("#write")
    expect(page.locator("#problem")).to_contain_text("the server does not answer")
    assert page.locator(".text").count() == 0
    expect(page.locator("#stop")).to_be_disabled()
    seen.clean(running.url, "ERR_CONNECTION")


def test_an_interrupted_answer_is_shown_as_such(seen, server):
    page = seen.open(server.url + "/")

    def half(route):
        whole = route.fetch().body()
        events = whole.split(b"\n\n")
        route.fulfill(
            body=b"\n\n".join(events[: len(events) // 2]), content_type="text/event-stream"
        )

    page.route("**/v1/completions", half)
    page.fill("#prompt", "Mara")
    page.click("#write")
    expect(page.locator("#problem")).to_contain_text("the answer broke off")
    expect(page.locator("caption")).to_have_text("Receipt (broken off)")
    whole = "Mara" + server.complete("Mara").json()["choices"][0]["text"]
    assert whole.startswith(page.locator(".text").text_content())
    page.unroute("**/v1/completions")
    page.click("#write")
    done(page)
    assert page.locator(".text").text_content() == whole and page.inner_text("#problem") == ""
    seen.clean(server.url)
