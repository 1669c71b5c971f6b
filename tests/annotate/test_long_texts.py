"""No text stalls the annotation: time is linear in the length, whatever the text contains."""

import json
import signal
import threading
import time
from contextlib import suppress

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st

from lacy.annotate import Rules, SpacyAnnotator, annotate_documents
from lacy.annotate.grammar.names import capitalised_runs, joined_names
from lacy.annotate.grammar.values import whole_values
from lacy.annotate.judge_labels import parse_labels
from lacy.annotate.live import parse_answer
from lacy.annotate.long_texts import (
    BATCH_CHARACTERS,
    MAX_RUN,
    TooSlow,
    batches,
    prepare_text,
    time_limit,
)
from lacy.annotate.shards import attach_marks, load_manifest
from lacy.cli import main
from lacy.corpus import PackedData
from lacy.errors import LacyError
from lacy.sources.texts import BuildReport, Documents
from lacy.sources.texts.passages import split_passages
from lacy.sources.units import cut_unit
from lacy.types import Document

pytestmark = pytest.mark.slow

NLP = spacy.blank("en")

REPEATED = [
    *"\"'()[]{}<>-–—.,;:!?/\\|@#$%^&*_+=~`…“”‘’«»°€£−×aA1é京",
    "a.", "a-", "1,", "1.", "'s", "A.", "A-", "A'", "a:", ":)", "http://a", "www.a.", "a@", "😀",
    "e\u0301", "\u200b", "[1]", "A ", "a ", "1 and ", "one ", "a hundred and ", "van ", "A van ",
    "A. ", "A & ", "1 to ", "1–", "5 km ", "1:", "c. ", "\n", "\n ", " .", "A, Jr. ", "1年",
    "[dblookup(", "[dblookup('", "', '", "') -> ", "[dblookup('a', 'b') -> [", "[{", "St. ",
]  # fmt: skip


@pytest.fixture(scope="module")
def annotator():
    return SpacyAnnotator("bundled", Rules(), notify=lambda sentence: None)


def seconds(work):
    """The least processor time of two tries."""
    found = []
    for _ in range(2):
        begin = time.process_time()
        work()
        found.append(time.process_time() - begin)
    return min(found)


READERS = {
    "whole_values": lambda text: list(whole_values(text)),
    "joined_names": lambda text: list(joined_names(text)),
    "capitalised_runs": lambda text: list(capitalised_runs(text)),
    "parse_labels": parse_labels,
    "parse_labels, begun": lambda text: parse_labels(f"[dblookup('{text}"),
    "parse_labels, value": lambda text: parse_labels(f"[dblookup('a', 'b') -> {text}"),
    "parse_answer": parse_answer,
    "cut": lambda text: list(split_passages(text, [])),
    "cut_unit": lambda text: cut_unit(text, "value", ended=True),
}


@pytest.mark.parametrize("name", READERS)
def test_reading_repeated_characters_takes_linear_time(name):
    """Sixteen times the text takes far less than 256 times the work, which is what it was."""
    for piece in REPEATED:
        short, long = (piece * (length // len(piece)) for length in (500, 8_000))
        READERS[name](long)  # compiles what is compiled once
        few, many = (seconds(lambda text=text: READERS[name](text)) for text in (short, long))
        assert many < 64 * few + 0.1, (piece, few, many)


@pytest.mark.parametrize("piece", REPEATED)
def test_no_run_is_tokenized_at_its_full_length(piece):
    text = f"Ann saw {piece * (20_000 // len(piece))} in 1815."
    asked = []

    class Counted:
        def make_doc(self, part):
            asked.append(part)
            return NLP.make_doc(part)

    ready = prepare_text(Counted(), text)
    if isinstance(ready, str):
        asked.append(ready)
    assert max(len(run) for part in asked for run in part.split() or [""]) <= MAX_RUN
    if not isinstance(ready, str):
        assert ready.text == text
        assert "".join(asked) == text


@given(st.text(max_size=300), st.sampled_from(['"', "a", "-a", "(", "1", "é"]), st.integers(0, 200))
def test_prepared_texts_keep_every_character(text, piece, times):
    whole = text + piece * times + text
    ready = prepare_text(NLP, whole)
    assert (ready if isinstance(ready, str) else ready.text) == whole


def test_ordinary_texts_are_left_to_the_tokenizer():
    assert prepare_text(NLP, "A word of sixty-four letters: " + "x" * MAX_RUN) is not None
    assert isinstance(prepare_text(NLP, "A word: " + "x" * MAX_RUN + " and more."), str)


def test_marks_around_a_long_run_stay_at_their_places(annotator):
    for piece in ('"', "x", "(", "a-", "!"):
        text = f"It fell on 12 May 1815. {piece * 4_000} It rose on 3 June 1816."
        [marks] = annotator.annotate([text])
        values = [text[m.start : m.end] for m in marks if m.reason == "DATE"]
        assert values[0] == "12 May 1815" and values[-1] == "3 June 1816"


@given(st.lists(st.integers(0, BATCH_CHARACTERS), max_size=12), st.integers(1, 5))
def test_batches_are_bounded_in_texts_and_characters(lengths, size):
    texts = ["x" * length for length in lengths]
    groups = [texts[group] for group in batches(texts, size)]
    assert [text for group in groups for text in group] == texts
    for group in groups:
        assert len(group) <= size
        assert len(group) == 1 or sum(map(len, group)) <= BATCH_CHARACTERS


# -------------------------------------------------------------------------------- limits of time


def forever():
    while True:
        pass


def work_for(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_block_that_never_ends_is_ended():
    with pytest.raises(TooSlow), time_limit(0.05):
        forever()
    assert signal.getsignal(signal.SIGPROF) is signal.SIG_DFL
    with time_limit(None), time_limit(600.0):
        pass
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)


def test_a_profiler_that_uses_the_signal_is_left_alone():
    def profile(*_):
        pass

    signal.signal(signal.SIGPROF, profile)
    try:
        with pytest.raises(TooSlow), time_limit(0.05):
            assert signal.getsignal(signal.SIGPROF) is profile
            work_for(0.06)
    finally:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)


def test_a_swallowed_interruption_still_raises():
    with pytest.raises(TooSlow), time_limit(0.05), suppress(TooSlow):
        forever()


def test_without_signals_the_time_limit_applies_at_the_end():
    found = []

    def work():
        try:
            with time_limit(0.01):
                work_for(0.05)
                found.append("ended")
        except TooSlow:
            found.append("refused")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == ["ended", "refused"]


STALLING = "a" * 40 + "x"


@pytest.fixture(scope="module")
def stalls(tmp_path_factory):
    """A pipeline whose rule takes years for one word, as a user's pipeline might."""
    nlp = spacy.blank("en")
    rule = {"label": "ORG", "pattern": [{"TEXT": {"REGEX": "^(a+)+$"}}]}
    nlp.add_pipe("entity_ruler").add_patterns([rule])
    folder = tmp_path_factory.mktemp("pipeline") / "stalls"
    nlp.to_disk(folder)
    return SpacyAnnotator(folder, seconds=0.5)


TEXTS = [Document(f"t{n}", f"Ann came in 18{n:02}" + f" {STALLING}" * (n == 3)) for n in range(10)]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_text_that_takes_too_long_is_skipped_and_listed(tmp_path, stalls, processes):
    manifest = annotate_documents(
        TEXTS, stalls, tmp_path / "m", batch_size=4, shard_size=5, n_process=processes
    )
    assert manifest.slow == ["t3"]
    assert load_manifest(tmp_path / "m").slow == manifest.slow
    kept = list(attach_marks(TEXTS, tmp_path / "m"))
    assert [document.id for document in kept] == [d.id for d in TEXTS if d.id not in manifest.slow]
    assert all(document.marks for document in kept)
    again = annotate_documents(TEXTS, stalls, tmp_path / "m", shard_size=5)
    assert again.slow == manifest.slow


def test_data_mark_lists_skipped_texts(tmp_path, stalls, capsys):
    lines = [json.dumps({"id": d.id, "text": d.text}) + "\n" for d in TEXTS]
    (tmp_path / "t.jsonl").write_text("".join(lines))
    options = ["--pipeline", stalls.source, "--text-seconds", "0.5", "--vocab-size", "260"]
    assert (
        main(["data", "mark", str(tmp_path / "t.jsonl"), "--out", str(tmp_path / "d"), *options])
        == 0
    )
    shown = capsys.readouterr()
    assert "Skipped because marking took longer than 0.5 s: 1 (t3)" in shown.err
    assert PackedData.load(tmp_path / "d").info.documents == len(TEXTS) - 1


def test_other_errors_of_an_annotator_end_the_annotation(tmp_path):
    class Fails:
        name = "fails"

        def annotate(self, texts):
            raise LacyError("E35", url="x", why="y", do="z")

    with pytest.raises(LacyError) as caught:
        annotate_documents(TEXTS, Fails(), tmp_path / "m")
    assert caught.value.code == "E35"
    assert not (tmp_path / "m" / "marks.json").exists()


def test_a_stalled_annotator_is_an_error(stalls):
    with pytest.raises(LacyError) as caught:
        stalls.annotate([TEXTS[0].text, TEXTS[3].text])
    assert caught.value.code == "E50" and "0.5 s" in str(caught.value)
    assert len(stalls.annotate([TEXTS[0].text])[0]) >= 1


def test_source_build_skips_and_lists_a_text_that_takes_too_long(tmp_path, stalls):
    report = BuildReport()
    with Documents.build(TEXTS, tmp_path / "kb", annotator=stalls, report=report) as built:
        assert len(built) == 9
    assert [name for name, _ in report.skipped] == ["t3"]
    assert all("E50" in why for _, why in report.skipped)
