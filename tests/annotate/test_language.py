"""Texts in another language than the annotator's are noticed, and English ones are left alone."""

import importlib
import json

import pytest
import spacy

from lacy.annotate import PackSettings, SpacyAnnotator, estimate_packing, language, language_warning
from lacy.annotate.language import FUNCTION_WORDS, NAMES, SCRIPTS, language_of
from lacy.cli import main
from lacy.types import Document

ENGLISH = (
    "Ralph Earl was an American painter known for his portraits, of which at least 183 can be "
    "documented. Earl was born in Shrewsbury, and his early life is not well known."
)
GERMAN = (
    "Ralph Earl war ein amerikanischer Maler, der für seine Porträts bekannt ist, von denen sich "
    "mindestens 183 nachweisen lassen. Er wurde in Shrewsbury geboren und starb in Bolton."
)
TABLE = "\n".join(f"Team {n} | Red Star {n} | {n} | {n + 3} | Arena, Shrewsbury" for n in range(20))


@pytest.mark.parametrize("code", sorted(set(NAMES) - {"zh", "th", "tr"}))
def test_spacy_s_example_sentences_are_told_apart(code):
    """Each language by the sentences that spaCy brings as examples of it."""
    text = " ".join(importlib.import_module(f"spacy.lang.{code}.examples").sentences)
    close = {"nb": ("nb", "da"), "da": ("da", "nb")}.get(code, (code,))
    assert language_of(text) in close


def test_further_languages_and_what_cannot_be_told():
    assert language_of("上海位于中国华东地区，是中国的经济中心城市，也是全球最大的港口。") == "zh"
    assert language_of("กรุงเทพมหานครเป็นเมืองหลวงและนครที่มีประชากรมากที่สุดของประเทศไทย") == "th"
    turkish = (
        "Ankara, Türkiye'nin başkenti ve en kalabalık ikinci ilidir. Bu il nüfusu ile çok büyük "
        "bir yer olarak bilinir, ama daha sonra değil, her yıl için yeni bir plan vardır."
    )
    assert language_of(turkish) == "tr"
    assert set(NAMES) == set(FUNCTION_WORDS) | set(SCRIPTS)
    for text in ("", "Ada", TABLE, "0x1f 0x2f; " * 40, "for (i = 0; i < n; i++) sum += x[i];" * 9):
        assert language_of(text) is None
        assert language_warning([text] * 5) == ""


def test_the_warning_counts_and_says_what_to_type():
    assert language_warning([]) == language_warning([ENGLISH] * 3 + [TABLE]) == ""
    warning = language_warning([GERMAN] * 3 + [ENGLISH] * 2 + [TABLE])
    assert "3 of 5 texts" in warning and "German" in warning
    assert "--pipeline de_core_news_sm" in warning
    assert language_warning([GERMAN] * 3, "de") == ""
    assert "--pipeline bundled" in language_warning([ENGLISH] * 3, "de")
    assert language_warning([GERMAN] + [ENGLISH] * 20) == ""


def test_only_the_first_texts_are_read():
    def texts():
        yield from [ENGLISH] * language.MAX_TEXTS
        raise AssertionError("read too far")

    assert language_warning(texts()) == ""


def test_an_annotator_of_another_language(tmp_path):
    documents = [Document(str(n), GERMAN) for n in range(5)]
    said = []
    settings = PackSettings(vocab_size=300)
    for pipeline in ("en", "de"):
        annotator = SpacyAnnotator(spacy.blank(pipeline))
        assert annotator.language == pipeline
        estimate_packing(lambda: documents, annotator, settings, notify=said.append)
    assert sum("German" in sentence for sentence in said) == 1


def test_data_mark_warns(tmp_path, capsys):
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"id": n, "text": GERMAN}) + "\n" for n in range(5)))
    command = ["data", "mark", str(file), "--out", str(tmp_path / "out"), "--pipeline", "bundled"]
    assert main([*command, "--vocab-size", "300"]) == 0
    shown = " ".join(capsys.readouterr().err.split())
    assert "5 of 5 texts are not in English" in shown and "de_core_news_sm" in shown
    assert (tmp_path / "out").is_dir()
