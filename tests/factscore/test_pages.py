import json
import random
import sqlite3

import pytest

from lacy.errors import LacyError
from lacy.factscore import MappedPages, PassageRanking, TitledPages, open_pages, split_page
from lacy.factscore.passages import PASSAGE_WORDS
from lacy.sources.texts import Documents
from lacy.types import Document


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_rows_with_one_title_are_passages_of_a_page(tmp_path):
    rows = [
        {"title": "Ada", "text": "A1."},
        {"title": "Bea", "text": "B."},
        {"title": "Ada", "text": "A2."},
        {"topic": "Cy", "title": "C", "text": "C."},
    ]
    pages = open_pages(lines(tmp_path / "p.jsonl", rows))
    assert pages.passages_of("Ada") == ("A1.", "A2.")
    assert pages.passages_of("Cy") == ("C.",)
    assert pages.passages_of("ada") == ()
    assert sorted(pages.titles()) == ["Ada", "Bea", "Cy"]


def test_an_index_of_lacy(tmp_path):
    documents = [Document("a", "Ada was born in 1815.", {"title": "Ada Lovelace"}, ())]
    Documents.build(documents, tmp_path / "index")
    pages = open_pages(tmp_path / "index")
    assert pages.passages_of("Ada Lovelace") == ("Ada was born in 1815.",)
    assert list(pages.titles()) == ["Ada Lovelace"]


def test_the_database_of_the_original(tmp_path):
    path = tmp_path / "enwiki.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE documents (title PRIMARY KEY, text)")
        rows = [
            ("Ada", "<s>one</s>####SPECIAL####SEPARATOR####<s>two</s>"),
            ("Adam", "<s>three</s>"),
        ]
        db.executemany("INSERT INTO documents VALUES (?, ?)", rows)
    pages = TitledPages(open_pages(path))
    assert pages.find("Ada") == ("Ada", ("<s>one</s>", "<s>two</s>"))
    assert pages.find("Eve") == ("", ())
    assert pages.nearest("Adan") == ["Ada", "Adam"]


def test_files_without_titles_and_other_databases_are_refused(tmp_path):
    with pytest.raises(LacyError, match=r"E226.*none of its 1 texts has a title"):
        open_pages(lines(tmp_path / "p.jsonl", [{"text": "x y z"}]))
    with sqlite3.connect(tmp_path / "x.db") as db:
        db.execute("CREATE TABLE other (a)")
    with pytest.raises(LacyError, match=r"E226.*documents"):
        open_pages(tmp_path / "x.db")
    with pytest.raises(LacyError, match="E13"):
        open_pages(tmp_path / "missing.jsonl")


PAGES = MappedPages({"Beyoncé": "b", "John Roe (actor)": "r", "Ann Lee (poet)": "1",
                     "Ann Lee (queen)": "2", "\"Weird Al\" Yankovic": "w"})  # fmt: skip


@pytest.mark.parametrize(
    ("topic", "title"),
    [
        ("Beyoncé", "Beyoncé"), ("beyonce", ""), ("Beyonce", ""), ("John Roe", ""),
    ],
)  # fmt: skip
def test_exact_titles(topic, title):
    assert TitledPages(PAGES).find(topic)[0] == title


@pytest.mark.parametrize(
    ("topic", "title"),
    [
        ("beyonce", "Beyoncé"), ("John_Roe", "John Roe (actor)"), ("Ann Lee", ""),
        ("Weird Al Yankovic", '"Weird Al" Yankovic'), ("Nobody", ""),
    ],
)  # fmt: skip
def test_normal_titles(topic, title):
    assert TitledPages(PAGES, "normal").find(topic)[0] == title


def test_nearest_titles():
    pages = TitledPages(PAGES)
    assert pages.nearest("Ann Lee") == ["Ann Lee (poet)", "Ann Lee (queen)"]
    assert pages.nearest("Beyonse") == ["Beyoncé"]
    assert pages.nearest("Zzz") == []


def test_passages_end_at_sentences_and_lose_no_word():
    rng = random.Random(3)
    sentences = [" ".join(["Word"] + ["word"] * rng.randrange(1, 60)) + "." for _ in range(80)]
    sentences.append("A " + "very " * 500 + "long sentence.")
    passages = split_page(" ".join(sentences))
    assert " ".join(passages).split() == " ".join(sentences).split()
    assert all(len(passage.split()) <= PASSAGE_WORDS for passage in passages)
    assert sum(passage.endswith(".") for passage in passages) >= len(passages) - 3


def bm25(passages, query):
    """Okapi BM25 written down slowly, with the idf of rank_bm25."""
    import math

    texts = [text.lower().replace(".", "").split() for text in passages]
    mean, number = sum(map(len, texts)) / len(texts), len(texts)
    words = {word for text in texts for word in text}
    idf = {}
    for word in words:
        rows = sum(word in text for text in texts)
        idf[word] = math.log(number - rows + 0.5) - math.log(rows + 0.5)
    floor = 0.25 * sum(idf.values()) / len(idf)
    idf = {word: floor if value < 0 else value for word, value in idf.items()}
    scores = []
    for text in texts:
        score = 0.0
        for word in query.lower().split():
            tf = text.count(word)
            score += idf.get(word, 0) * tf * 2.5 / (tf + 1.5 * (0.25 + 0.75 * len(text) / mean))
        scores.append(score)
    return [passages[i] for i in sorted(range(number), key=lambda i: (-scores[i], i))]


def test_ranking_is_bm25():
    rng = random.Random(0)
    words = [f"w{k}" for k in range(30)]
    for _ in range(30):
        passages = [" ".join(rng.choices(words, k=rng.randrange(3, 30))) for _ in range(12)]
        query = " ".join(rng.choices(words, k=5))
        assert list(PassageRanking(passages).best(query, 5)) == bm25(passages, query)[:5]


def test_few_passages_are_all_returned_in_order():
    assert PassageRanking(("a", "b")).best("b", 5) == ("a", "b")
    assert PassageRanking(()).best("b") == ()
