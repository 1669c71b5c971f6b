"""Make labels for the bundled pipeline: a teacher's for Wikipedia, and a judge's facts."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import spacy
from numpy.typing import NDArray
from pipeline_net import FEATURES, HEADS, UPOS
from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import filter_spans

from lacy.annotate import read_labels
from lacy.annotate.spacy_rules import UNUSED
from lacy.corpus import read
from lacy.types import Document

JUDGES = ("lmlm_dwiki_830.json", "lmlm_squad_gpt4o_1k.json")
FACT_LABELS = ["B-FACT", "I-FACT", "O"]
SHARD = 1000
"""Articles that are labelled and stored at a time."""
NONE = -1
"""Target of a token that is not labelled for a head."""


@dataclass(frozen=True)
class Labelled:
    """Texts as arrays: different words with their features, words and targets per token."""

    features_U4: NDArray[np.uint64]
    words_T: NDArray[np.int32]
    targets: dict[str, NDArray[np.int16]]
    lengths: NDArray[np.int32]

    @staticmethod
    def of(docs: Iterable[Doc], labels: dict[str, list[str]], blank: Language) -> Labelled:
        """Convert docs with the teacher's annotations; ``tag_`` holds the facts, if any."""
        features, lengths = [], []
        targets: dict[str, list[int]] = {name: [] for name in HEADS}
        index = {name: {label: i for i, label in enumerate(labels[name])} for name in HEADS}
        for doc in docs:
            plain = blank.make_doc(doc.text)
            if len(plain) != len(doc):
                raise SystemExit("the teacher's tokenizer is not spaCy's English one")
            features.append(plain.to_array(list(FEATURES)).astype(np.uint64).reshape(-1, 4))
            lengths.append(len(doc))
            for token in doc:
                kind = "O" if token.ent_iob_ in "O" else f"{token.ent_iob_}-{token.ent_type_}"
                targets["morphologizer"].append(
                    index["morphologizer"].get(f"POS={token.pos_}", NONE)
                )
                targets["entities"].append(index["entities"][kind])
                targets["facts"].append(index["facts"].get(doc.user_data.get(token.i, ""), NONE))
        unique, words = np.unique(np.concatenate(features), axis=0, return_inverse=True)
        arrays = {name: np.array(values, np.int16) for name, values in targets.items()}
        return Labelled(unique, words.ravel().astype(np.int32), arrays, np.array(lengths, np.int32))

    def save(self, path: Path) -> None:
        """Write the arrays to a file."""
        temporary = path.with_suffix(".part.npz")
        np.savez_compressed(temporary, features=self.features_U4, words=self.words_T,
                            lengths=self.lengths, **self.targets)  # fmt: skip
        temporary.replace(path)

    @staticmethod
    def load(path: Path) -> Labelled:
        """Read what ``save`` wrote."""
        found = np.load(path)
        targets = {name: found[name] for name in HEADS}
        return Labelled(found["features"], found["words"], targets, found["lengths"])

    @staticmethod
    def join(parts: Sequence[Labelled]) -> Labelled:
        """Return all texts of the parts, in order."""
        starts = np.cumsum([0, *(len(part.features_U4) for part in parts)])
        unique, places = np.unique(
            np.concatenate([part.features_U4 for part in parts]), axis=0, return_inverse=True
        )
        words = [part.words_T + start for part, start in zip(parts, starts[:-1], strict=True)]
        return Labelled(
            unique,
            places.ravel()[np.concatenate(words)].astype(np.int32),
            {name: np.concatenate([part.targets[name] for part in parts]) for name in HEADS},
            np.concatenate([part.lengths for part in parts]),
        )


def fact_tags(doc: Doc, document: Document) -> list[str]:
    """Return a judge's marks as a B-FACT, I-FACT or O per token."""
    tags = ["O"] * len(doc)
    spans = (doc.char_span(m.start, m.end, alignment_mode="expand") for m in document.marks)
    for span in filter_spans([span for span in spans if span is not None]):
        tags[span.start : span.end] = ["B-FACT", *["I-FACT"] * (len(span) - 1)]
    return tags


def judge_documents(folder: Path, half: str) -> dict[str, list[Document]]:
    """Judge documents per file: even numbers are the ``train`` half, odd ones ``test``."""
    wanted = {"train": 0, "test": 1}[half]
    return {
        name: [
            doc for doc in read_labels(folder / name) if int(doc.id.split(":")[-1]) % 2 == wanted
        ]
        for name in JUDGES
    }


def shuffled_articles(data: Path) -> list[str]:
    """Return the training articles; the first ``SHARD`` are for development, not for training."""
    articles = [document.text for document in read(data / "wiki/train.jsonl.gz")]
    random.Random(0).shuffle(articles)
    return articles


def teach(
    data: Path,
    teacher_name: str,
    work: Path,
    tokens: float,
    chosen: Sequence[int] | None = None,
) -> tuple[Labelled, Labelled, dict[str, list[str]]]:
    """Return labelled articles, labelled judge documents, and the labels of each head.

    Labels are stored in ``work``. Articles are read until they have ``tokens`` tokens, or, if
    shards are ``chosen``, those of these shards.
    """
    teacher = spacy.load(teacher_name)
    types = sorted(teacher.get_pipe("ner").labels)  # type: ignore[attr-defined]
    entities = [*(f"B-{t}" for t in types), *(f"I-{t}" for t in types), "O"]
    labels = {"morphologizer": [f"POS={pos}" for pos in UPOS], "entities": entities,
              "facts": FACT_LABELS}  # fmt: skip
    skip = [name for name in teacher.pipe_names if name in UNUSED]
    blank = spacy.blank("en")
    articles = shuffled_articles(data)
    work.mkdir(parents=True, exist_ok=True)
    shards, words = [], 0
    stem = Path(teacher_name).name
    for number in chosen or range(1, len(articles) // SHARD):
        path = work / f"{stem}-{number:02d}.npz"
        if not path.is_file():
            texts = articles[number * SHARD : (number + 1) * SHARD]
            docs = teacher.pipe(texts, batch_size=64, disable=skip)
            Labelled.of(docs, labels, blank).save(path)
            print(f"labelled {path.name}", flush=True)
        shards.append(Labelled.load(path))
        words += len(shards[-1].words_T)
        if chosen is None and words >= tokens:
            break
    path = work / f"{stem}-judge.npz"
    if not path.is_file():
        halves = judge_documents(data / "judge", "train")
        judged = [document for documents in halves.values() for document in documents]
        docs = list(teacher.pipe([document.text for document in judged], disable=skip))
        for doc, document in zip(docs, judged, strict=True):
            doc.user_data.update(enumerate(fact_tags(doc, document)))
        Labelled.of(docs, labels, blank).save(path)
    return Labelled.join(shards), Labelled.load(path), labels
