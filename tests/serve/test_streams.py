"""Streams that wait stay open, and nothing is lost."""

import json
import threading
import time

import httpx
import openai

from helpers.serving import serving
from lacy.cascade import Engine
from lacy.sources import ScriptedSource
from lacy.testing import scripted


def events(text):
    return [part for part in text.split("\n\n") if part]


def test_a_stream_that_waits_for_its_source_stays_open():
    source = ScriptedSource([" Ulm"], name="book", delay=0.5)
    loaded = scripted(lambda t: "x" if t[-1:] == " " else " ", lambda t: t == "Ada")
    with serving(
        Engine(loaded, source, "threshold=0", max_new_tokens=6), ping_seconds=0.1
    ) as running:
        got = events(running.complete("Ada", stream=True).text)
        pings = [place for place, event in enumerate(got) if event == ": ping"]
        assert 2 <= len(pings) <= 20 and pings[-1] < len(got) - 3
        parts = [json.loads(event[6:]) for event in got if event.startswith("data: {")]
        assert "".join(part["choices"][0]["text"] for part in parts) == " Ulm x"
        assert got[-1] == "data: [DONE]"
        client = openai.OpenAI(base_url=running.url + "/v1", api_key="none", max_retries=0)
        chunks = client.completions.create(model="slm", prompt="Ada", stream=True)
        assert "".join(chunk.choices[0].text for chunk in chunks) == " Ulm x"
        client.close()


def test_a_queued_stream_stays_open(slow):
    with serving(slow, streams=1, queue=2, ping_seconds=0.1) as running:
        first = threading.Thread(target=lambda: running.complete("a", max_tokens=60))
        first.start()
        while not running.scheduler.running:
            time.sleep(0.005)
        long = threading.Thread(
            target=lambda: late.append(running.complete("a" * 5000, stream=True))
        )
        late = []
        long.start()
        got = events(running.complete("b", max_tokens=3, stream=True).text)
        first.join()
        long.join()
    assert got[0] == ": ping" and got[-1] == "data: [DONE]"
    parts = [json.loads(event[6:]) for event in got if event.startswith("data: {")]
    assert "".join(part["choices"][0]["text"] for part in parts) == "xxx"
    # what does not fit is told in time where that is known, else in the stream
    assert late[0].status_code == 400 or "context" in late[0].text


def test_time_to_first_text_ignores_empty_chunks(real):
    source = ScriptedSource([" Ulm"], name="book", delay=0.3)
    with serving(Engine(real, source, "always", max_new_tokens=2)) as running:
        running.complete("Mara")
        figures = httpx.get(running.url + "/metrics").text
    line = next(x for x in figures.splitlines() if x.startswith("lacy_first_text_seconds_sum"))
    assert float(line.split()[1]) > 0.28
