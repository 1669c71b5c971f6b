"""Measure how soon the page of ``lacy serve`` is visible, and how soon it shows a word.

    OMP_NUM_THREADS=1 python benchmarks/page.py           # under a minute on two cores

A server (see ``streams.py``; 6.4 million random parameters, an instant source, ``random=0.22``)
and a headless Chromium with Playwright run on the same machine, over loopback. Every load is cold:
a new profile without cache, in a browser that already runs and was idle for half a second. Nothing
else sends requests to the server. Per load:

- ``first_paint_ms``: the browser's own first contentful paint, from the start of navigation;
- ``ready_ms``: the page knows its server's model and policy, from the same moment;
- ``first_word_ms``: from the click on "Write" until the frame after the first word arrived;
- ``total_ms``: from the start of navigation until that frame, with a click as soon as the page is
  ready (this includes the time that Playwright needs for the click);
- ``floor_ms``: the first contentful paint of ``/health`` (a line without style or script) of the
  same server, loaded in the same manner just before: the cost of any page on this machine.

Writes ``results/page.csv`` (a row per load) and ``results/page.json`` (setup, summary: median and
p95 over loads with 95% bootstrap intervals).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from streams import CALLING, VALUE, child, make_model, serve

RESULTS = Path(__file__).parent / "results"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FIGURES = ("first_paint_ms", "ready_ms", "first_word_ms", "total_ms", "floor_ms")
TARGET = 300.0
"""Milliseconds for the first paint."""

WATCH = """
window.seen = {};
const mark = (name) => (window.seen[name] ??= performance.now());
addEventListener("click", (event) => (window.seen.click = event.timeStamp), true);
new MutationObserver(() => {
  if (document.getElementById("default")?.textContent) mark("ready");
  if (document.querySelector(".text .segment")?.textContent)
    requestAnimationFrame(() => setTimeout(() => mark("word")));
}).observe(document, { subtree: true, childList: true, characterData: true });
"""
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"


def run_server(args):
    """Run a server whose source answers at once."""
    from lacy.cascade import Engine
    from lacy.sources import ScriptedSource

    policy = CALLING.split(":")[1]
    model = make_model(args.width, args.layers)
    serve(Engine(model, ScriptedSource([VALUE]), policy, abstain=None, max_new_tokens=args.new))


@contextmanager
def fresh(browser):
    """Yield a page in a profile without cache, and a function that awaits its first paint."""
    time.sleep(0.5)
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.add_init_script(WATCH)
    page = context.new_page()

    def paint():
        while (at := page.evaluate(PAINT)) is None:
            page.wait_for_timeout(20)
        return at

    yield page, paint
    context.close()


def load(browser, url):
    """Return the figures of one cold load and the first word of an answer."""
    with fresh(browser) as (page, paint):
        page.goto(f"{url}/health")
        floor = paint()
    with fresh(browser) as (page, paint):
        page.goto(url)
        page.locator("#default:not(:empty)").wait_for()
        page.fill("#prompt", "Mara Vell was born")
        page.click("#write")
        page.locator("caption").wait_for()
        first, seen = paint(), page.evaluate("window.seen")
        nothing = page.locator("#problem").text_content() == ""
        assert nothing and {"ready", "click", "word"} <= set(seen), seen
    took = (first, seen["ready"], seen["word"] - seen["click"], seen["word"], floor)
    return dict(zip(FIGURES, (round(ms, 2) for ms in took), strict=True))


def quantiles(values):
    """Return median and p95 over loads with their bootstrap intervals."""
    draws = np.random.default_rng(0).choice(values, (4000, len(values)))
    out = {"n": len(values), "longest": round(max(values), 1)}
    for name, q in (("median", 0.5), ("p95", 0.95)):
        low, high = np.quantile(np.quantile(draws, q, axis=1), (0.025, 0.975))
        value = np.quantile(values, q)
        out[name] = {k: round(float(v), 1) for k, v in
                     (("value", value), ("low", low), ("high", high))}  # fmt: skip
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--new", type=int, default=32)
    parser.add_argument("--loads", type=int, default=40)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--child", default="", help="internal")
    parser.add_argument("--source", default="", help="internal")
    args = parser.parse_args()
    if args.child:
        return run_server(args)
    from playwright.sync_api import sync_playwright

    from lacy.run import environment

    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    begin, busy = time.perf_counter(), os.getloadavg()[0]
    with child("instant", args) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        version = browser.version
        for _ in range(2):  # the first loads of the browser and the server do not count
            load(browser, server.url)
        lines = [{"load": n, **load(browser, server.url)} for n in range(args.loads)]
        browser.close()
    with (args.out / "page.csv").open("w", newline="") as sheet:
        writer = csv.DictWriter(sheet, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    summary = {name: quantiles([line[name] for line in lines]) for name in FIGURES}
    setup = {
        "command": "python benchmarks/page.py", "seed": 0, "loads": args.loads,
        "new_tokens": args.new, "width": args.width, "layers": args.layers, "chromium": version,
        "first_paint_target_ms": TARGET, "summary": summary,
        "load_average": [round(busy, 1), round(os.getloadavg()[0], 1)], "nice": os.nice(0),
        "seconds": round(time.perf_counter() - begin), "environment": environment(),
    }  # fmt: skip
    (args.out / "page.json").write_text(json.dumps(setup, indent=1) + "\n")
    return print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
