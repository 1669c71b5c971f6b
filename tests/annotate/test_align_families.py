"""Marked tokens are exactly those that contain the value, in all supported tokenizer families."""

import unicodedata

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from lacy.annotate.align import encode
from lacy.types import Document, Mark, MarkFlag

TEXTS = [
    "Mara Vell was born in Kelfield on 12 May 1815 and ate a fine cafe",
    "東京 is a town 1944",
    "Ａｄａ Vell １８７９",
    "ﬁne ﬂat … — “x” 😀 👩‍👩‍👧 naïve e\u0301tude שלום مرحبا",
] * 8
SPECIAL = ["<unk>", "<s>", "</s>"]


def byte_level(prefix):
    built = Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix, trim_offsets=not prefix)
    built.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return built, trainers.BpeTrainer(
        vocab_size=500, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )


def unigram():
    """T5's and Gemma's kind: NFKC, and a sign before each word."""
    built = Tokenizer(models.Unigram())
    built.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" {2,}", " ")])
    built.pre_tokenizer, built.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return built, trainers.UnigramTrainer(
        vocab_size=160, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )


def sentencepiece():
    """Llama 2's kind: byte tokens for unknown characters."""
    built = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    built.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    built.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    special = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    return built, trainers.BpeTrainer(
        vocab_size=420, special_tokens=special, limit_alphabet=60, show_progress=False
    )


def wordpiece():
    """BERT's kind: lower case, without accents."""
    built = Tokenizer(models.WordPiece(unk_token="<unk>"))
    built.normalizer = normalizers.BertNormalizer(lowercase=True)
    built.pre_tokenizer, built.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    return built, trainers.WordPieceTrainer(
        vocab_size=300, special_tokens=SPECIAL, show_progress=False
    )


def trained(kind):
    built, trainer = kind
    built.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=built, bos_token="<s>", eos_token="</s>")


FAMILIES = {
    "byte level": trained(byte_level(False)),
    "byte level with a space before": trained(byte_level(True)),
    "unigram": trained(unigram()),
    "sentencepiece": trained(sentencepiece()),
    "wordpiece": trained(wordpiece()),
}

CASES = [
    "[Kelfield]",
    " [Kelfield]",
    "\ufeff[Mara Vell]",
    "\n\n[Kelfield]",
    "[Zürich]",
    "[東京] is a town",
    "Mara was born on [12 May 1815].",
    "born in([Kelfield])",
    "[Ａｄａ] came in",
    "Ａｄａ in [１８７９] to us",
    "at [ﬁne] café",
    "at ﬁne [café] in",
    "in etude [e\u0301tude] 1815",
    "x a [a\u0327\u0301] y",
    "x 😀 [Vell] y",
    "x [👩‍👩‍👧] 1815",
    "wait … [1944] x",
    "a\x10b \x10 [1944] x",
    "two  spaces  [1944]  here",
    "מרה [1815] שלום",
    "[مرحبا] 1815",
    "㍿ [Vell]",
    "[½] of it",
    "it is [12½] long",
    "by [㈱] Vell",
    "A\u00a0B [1815]",
    "x\u3000[Kelfield]",
    "in [İstanbul] is",
    "the [straße]",
    "[한국] is",
    "cost [£3.5m].",
]


def letters(text):
    """A text as every normaliser here leaves it: no spaces, signs, accents or capitals."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    return [c for c in plain if c.isalnum()]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("case", CASES)
def test_marked_tokens_hold_the_value_and_nothing_else(family, case):
    tokenizer = FAMILIES[family]
    before, _, rest = case.partition("[")
    value, _, after = rest.partition("]")
    text = before + value + after
    place = (len(before), len(before) + len(value))
    encoded = encode(Document("a", text, marks=(Mark(*place, "VALUE"),)), tokenizer)
    pieces = tokenizer.convert_ids_to_tokens(encoded.input_ids)
    facts = [n for n, flag in enumerate(encoded.marks) if flag & MarkFlag.FACT]
    starts = [n for n, flag in enumerate(encoded.marks) if flag & MarkFlag.START]
    assert facts == list(range(facts[0], facts[-1] + 1)) or family in ("unigram", "sentencepiece")
    assert starts == facts[:1]
    shown = [pieces[n] for n in facts]
    assert not any(piece.strip("▁") == "" for piece in shown), shown
    assert shown[0] != "Ġ" and shown[-1] != "Ġ"
    if not any(piece == "<unk>" or piece.startswith("<0x") for piece in shown):
        said = tokenizer.decode([encoded.input_ids[n] for n in facts])
        # A token may hold a neighbour of the value too, never lack a letter of it.
        assert set(letters(value)) <= set(letters(said)), (said, shown)
        assert len(letters(said)) <= len(letters(value)) + 2
    else:
        assert len(facts) >= 1


def test_spaces_added_by_the_tokenizer_are_not_marked():
    for family, text in (("unigram", "Kelfield"), ("sentencepiece", "Kelfield"),
                         ("byte level with a space before", "Zürich")):  # fmt: skip
        tokenizer = FAMILIES[family]
        encoded = encode(Document("a", text, marks=(Mark(0, len(text), "VALUE"),)), tokenizer)
        pieces = tokenizer.convert_ids_to_tokens(encoded.input_ids)
        assert pieces[1] in ("▁", "Ġ") and encoded.marks[1] == 0, family
        assert encoded.marks[2] & MarkFlag.START, family
