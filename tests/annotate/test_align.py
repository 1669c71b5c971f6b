"""Marks on characters become marks on tokens: the promises, on any text and any tokenizer."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lacy.annotate.align import encode, encode_many, token_flags
from lacy.corpus import train_tokenizer
from lacy.corpus.tokenizer import Encoding, decode, encode_texts
from lacy.errors import LacyError
from lacy.types import CALL_TOKEN, Document, Mark, MarkFlag

TEXTS = [
    "Albert Einstein was born in Ulm on 14 March 1879, a physicist of the 20th century.",
    "Köln and Zürich are cities; Ōsaka (大阪) is one too. Their mayors met in 1998 and 2004.",
] * 30
FACT, START, CONTENT = MarkFlag.FACT, MarkFlag.START, MarkFlag.CONTENT


def wrapped(backend):
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")


def llama_like():
    """Metaspace, a space put before the text, unknown characters as byte tokens."""
    letters = sorted(set("▁" + "".join(TEXTS[:1]).replace(" ", "")))
    pairs = [("▁", "b"), ("o", "r"), ("or", "n"), ("▁b", "orn"), ("▁", "U"), ("▁", "▁")]
    vocab = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    vocab += ["".join(pair) for pair in pairs]
    backend = Tokenizer(
        models.BPE(
            {v: i for i, v in enumerate(vocab)}, pairs, unk_token="<unk>", byte_fallback=True
        )
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return wrapped(backend)


def bert_like():
    """Lower case, accents off, control characters dropped, ## pieces, unknown words."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,()"
    vocab = ["[UNK]", *letters, *(f"##{letter}" for letter in letters), "born", "##stein", "ulm"]
    backend = Tokenizer(models.WordPiece({v: i for i, v in enumerate(vocab)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return wrapped(backend)


def normalised():
    """Compatibility forms, which change the number of characters."""
    backend = Tokenizer.from_str(OURS["unigram"].backend_tokenizer.to_str())
    backend.normalizer = normalizers.NFKC()
    return wrapped(backend)


OURS = {kind: train_tokenizer(TEXTS, 400, kind=kind) for kind in ("bpe", "unigram")}
ALL = {**OURS, "llama": llama_like(), "bert": bert_like(), "nfkc": normalised()}

letters = st.one_of(
    st.characters(exclude_categories=["Cs"]),
    st.sampled_from(list(" \n\t\u00a0\u3000\u200b019né\u0301大😀\0<>|ﬁ")),
)
reasons = st.sampled_from(["ENTITY", "DATE", "NUMBER", "KEYWORD", "VALUE", "CONTENT"])


@st.composite
def documents(draw, overlapping=True):
    """Texts with any marks, overlapping and blank ones too."""
    text = draw(
        st.lists(st.one_of(letters, st.sampled_from(TEXTS[0].split())), max_size=40).map("".join)
    )
    spans = st.tuples(st.integers(0, len(text)), st.integers(0, len(text)), reasons)
    marks = [Mark(*sorted(pair), reason) for *pair, reason in draw(st.lists(spans, max_size=6))]
    if not overlapping:
        marks = [mark for i, mark in enumerate(marks) if not any(touch(mark, m) for m in marks[:i])]
    return Document("any", text, marks=tuple(sorted(marks)))


def touch(one, two):
    return one.start < two.end and two.start < one.end


def visible(mark, text):
    """Characters of a mark between its first and last that is no space."""
    seen = [at for at in range(mark.start, mark.end) if not text[at].isspace()]
    return set(range(seen[0], seen[-1] + 1)) if seen else set()


def slow_flags(marks, text, encoding):
    """The rule, token by token and mark by mark."""
    flags = [MarkFlag.NONE] * len(encoding.ids)
    places = [set(range(*span)) for span in encoding.offsets]
    for mark in marks:
        for token, place in enumerate(places):
            if place & visible(mark, text):
                flags[token] |= MarkFlag[mark.reason]
                flags[token] |= MarkFlag.NONE if mark.reason == "CONTENT" else FACT
    flags = [flag & ~CONTENT if FACT in flag else flag for flag in flags]
    united = []
    for mark in marks:
        value = visible(mark, text) if mark.reason != "CONTENT" else set()
        if value:
            for other in [other for other in united if other & value]:
                united.remove(other)
                value |= other
            united.append(value)
    for value in united:
        first = next((token for token, place in enumerate(places) if place & value), None)
        if first is not None:
            flags[first] |= START
    return [int(flag) for flag in flags]


@pytest.mark.parametrize("name", ALL)
@given(document=documents())
@settings(max_examples=150, deadline=None)
def test_flags_are_those_of_the_slow_rule(name, document):
    encoding = next(encode_texts(ALL[name], [document.text]))
    found = token_flags(document.marks, document.text, encoding)
    assert found.tolist() == slow_flags(document.marks, document.text, encoding)


@pytest.mark.parametrize("kind", OURS)
@given(document=documents(overlapping=False))
@settings(max_examples=150, deadline=None)
def test_properties_of_trained_tokenizers(kind, document):
    tokenizer, text = OURS[kind], document.text
    encoding = next(encode_texts(tokenizer, [text]))
    encoded = encode(document, tokenizer)
    flags = [MarkFlag(flag) for flag in encoded.marks]
    assert encoded.input_ids == [0, *encoding.ids, 0] and encoded.id == "any"
    assert decode(tokenizer, encoded.input_ids) == text
    assert len(flags) == len(encoded.input_ids)
    assert flags[0] == flags[-1] == MarkFlag.NONE
    tokens = list(zip(encoding.offsets, flags[1:-1], strict=True))
    facts = [mark for mark in document.marks if mark.reason != "CONTENT" and visible(mark, text)]
    marked = set().union(*(visible(mark, text) for mark in facts))
    covered = {at for (start, end), flag in tokens if FACT in flag for at in range(start, end)}
    assert marked <= covered
    for (start, end), flag in tokens:
        assert (FACT in flag) == bool(marked & set(range(start, end)))
        assert not (FACT in flag and CONTENT in flag)
        assert FACT in flag or not flag & ~CONTENT
    firsts = {
        next(i for i, ((start, end), _) in enumerate(tokens) if end > min(visible(mark, text)))
        for mark in facts
    }
    assert {i for i, (_, flag) in enumerate(tokens) if START in flag} == firsts


def marks_by_token(name, text, *marks):
    encoding = next(encode_texts(ALL[name], [text]))
    flags = token_flags(marks, text, encoding).tolist()
    return [
        (text[start:end], flag) for (start, end), flag in zip(encoding.offsets, flags, strict=True)
    ]


def test_leading_spaces_and_split_digits():
    text = "born in Ulm on 14 March 1879, a"
    date = int(FACT | MarkFlag.DATE)
    for name in ("bpe", "unigram"):
        found = marks_by_token(name, text, Mark(14, 28, "DATE"))  # with the space before it
        marked = [(piece, flag) for piece, flag in found if flag]
        assert "".join(piece for piece, _ in marked) == "14 March 1879"
        assert marked[0] == ("1", date | START) and marked[1] == ("4", date)
        assert [piece for piece, _ in marked[-4:]] == ["1", "8", "7", "9"]
        assert sum(bool(flag & START) for _, flag in marked) == 1


def test_a_token_with_its_leading_space_is_a_fact_and_the_word_before_is_not():
    for name, text, token in (("bpe", "and Zürich", " Zürich"), ("llama", "born Ulm", " U")):
        mark = Mark(text.index(token) + 1, len(text), "ENTITY")
        found = marks_by_token(name, text, mark)
        at = [piece for piece, _ in found].index(token)
        assert found[at][1] == FACT | START | MarkFlag.ENTITY
        assert at > 0 and not any(flag for _, flag in found[:at])


def test_bytes_of_one_character_are_one_value():
    for name in ("bpe", "unigram", "llama"):
        found = marks_by_token(name, "a😀b", Mark(1, 2, "VALUE"))
        flags = [flag for piece, flag in found if piece == "😀"]
        assert len(flags) == 4
        assert flags == [FACT | START | MarkFlag.VALUE, *[FACT | MarkFlag.VALUE] * 3]
        assert all(flag == 0 for piece, flag in found if piece != "😀")


def test_adjacent_values_stay_two_and_overlapping_ones_merge():
    def starts(*marks):
        return sum(bool(flag & START) for _, flag in marks_by_token("bpe", "1998", *marks))

    assert starts(Mark(0, 2, "DATE"), Mark(2, 4, "DATE")) == 2
    assert starts(Mark(0, 3, "DATE"), Mark(2, 4, "NUMBER")) == 1
    assert starts(Mark(0, 4, "DATE"), Mark(1, 2, "NUMBER")) == 1
    both = marks_by_token("bpe", "1998", Mark(0, 4, "DATE"), Mark(1, 2, "NUMBER"))[1][1]
    assert both == FACT | MarkFlag.DATE | MarkFlag.NUMBER


def test_content_is_never_set_with_fact():
    found = marks_by_token("bpe", "19", Mark(0, 1, "CONTENT"), Mark(1, 2, "DATE"))
    assert [flag for _, flag in found] == [CONTENT, FACT | START | MarkFlag.DATE]
    found = marks_by_token("bpe", "19", Mark(0, 2, "CONTENT"), Mark(1, 2, "DATE"))
    assert [flag for _, flag in found] == [CONTENT, FACT | START | MarkFlag.DATE]


def test_offsets_that_jump_back_are_handled():
    encoding = Encoding([1, 2, 3, 4], [(5, 8), (0, 0), (0, 3), (3, 5)])
    marks = [Mark(1, 4, "DATE"), Mark(6, 7, "ENTITY")]
    found = token_flags(marks, "abcdefgh", encoding).tolist()
    assert found == slow_flags(marks, "abcdefgh", encoding)
    assert [bool(flag & START) for flag in found] == [True, False, True, False]


@pytest.mark.parametrize("kind", OURS)
def test_literal_specials_stay_text(kind):
    tokenizer = OURS[kind]
    text = f"He said {CALL_TOKEN} and <|endoftext|>."
    encoded = encode(Document("a", text, marks=(Mark(8, 14, "ENTITY"),)), tokenizer)
    assert decode(tokenizer, encoded.input_ids) == text
    assert len(tokenizer) - 1 not in encoded.input_ids
    assert encoded.input_ids.count(0) == 2  # begin and end
    pieces = tokenizer.convert_ids_to_tokens(encoded.input_ids)
    marked = [piece for piece, flag in zip(pieces, encoded.marks, strict=True) if flag]
    assert "".join(marked).removeprefix("Ġ") == CALL_TOKEN


def test_empty_text_context_and_many():
    tokenizer = OURS["bpe"]
    assert encode(Document("a", ""), tokenizer).input_ids == [0, 0]
    document = Document("b", "born in 1879", marks=(Mark(8, 12, "DATE"),))
    whole, cut = encode(document, tokenizer), encode(document, tokenizer, context=4)
    assert cut.input_ids == whole.input_ids[:4] and cut.marks == whole.marks[:4]
    group = [document, Document("a", ""), document]
    assert list(encode_many(iter(group), tokenizer, batch=2)) == [
        encode(item, tokenizer) for item in group
    ]


@given(documents())
@example(Document("x", "a\u00a0b", marks=(Mark(1, 2, "DATE"),)))
@settings(max_examples=50, deadline=None)
def test_marks_of_spaces_mark_nothing(document):
    blank = [mark for mark in document.marks if not document.text[mark.start : mark.end].strip()]
    encoding = next(encode_texts(OURS["bpe"], [document.text]))
    assert not token_flags(blank, document.text, encoding).any()


def test_marks_outside_and_broken_text_are_named():
    for marks in [(Mark(0, 4, "DATE"),), (Mark(-1, 2, "DATE"),), (Mark(2, 1, "DATE"),)]:
        with pytest.raises(LacyError) as caught:
            encode(Document("doc-7", "abc", marks=marks), OURS["bpe"])
        assert caught.value.code == "E38" and "doc-7" in str(caught.value)
    with pytest.raises(LacyError) as caught:
        encode(Document("doc-7", "ab\ud800"), OURS["bpe"])
    assert caught.value.code == "E39" and "character 2" in str(caught.value)


def test_marks_fit_one_byte():
    flags = token_flags([Mark(0, 1, "CONTENT")], "a", Encoding([1], [(0, 1)]))
    assert flags.dtype == np.uint8 and flags.tolist() == [128]
