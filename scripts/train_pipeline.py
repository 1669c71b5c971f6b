r"""Train the small English pipeline that comes with lacy: a student of a larger spaCy pipeline.

The teacher (``en_core_web_sm``, say) labels Wikipedia articles. One small tok2vec with three
taggers learns its parts of speech (``morphologizer``) and entities (``entities``, labels B-GPE,
I-GPE, ..., O), and from half of a judge's labels which tokens are facts (``facts``: B-FACT, I-FACT,
O). No lacy code is needed to load the result, ``spacy.load`` does it.

    python scripts/train_pipeline.py --data DATA --teacher en_core_web_sm --work WORK --out OUT

Data below ``--data``: ``wiki/{train,valid}.jsonl.gz`` (articles, CC BY-SA 3.0) and
``judge/lmlm_*.json`` (LMLM, MIT). The articles of ``valid`` and the judge's documents with an odd
number are never trained on. Labels and a checkpoint are kept in ``--work``; the same command
continues an interrupted training.

The weights that come with lacy were trained in two runs: 1,000 steps of a schedule of 3,252, and
from these 220 steps on three shards of the articles, in which the learning rate falls to 0:

    python scripts/train_pipeline.py ... --tokens 2.8e6 --epochs 4 --repeat-judged 2 --bf16 \
        --steps 1000
    python scripts/train_pipeline.py ... --start WORK/checkpoint.pt --shards 3 4 5 --epochs 0.9147 \
        --repeat-judged 0 --bf16 --lr 1.5e-3 --warmup 0 --order-seed 7
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import spacy
import torch
from numpy.typing import NDArray
from pipeline_labels import NONE, Labelled, fact_tags, judge_documents, shuffled_articles, teach
from pipeline_net import Network, Shape, table_rows, to_spacy
from spacy.language import Language
from torch.nn import functional as F

from lacy.annotate import Rules, SpacyAnnotator, agreement
from lacy.annotate.rules import mark
from lacy.corpus import read
from lacy.types import Document

WIKIPEDIA = {"name": "English Wikipedia (2021), articles labelled by the teacher",
             "url": "https://en.wikipedia.org", "license": "CC BY-SA 3.0"}  # fmt: skip
JUDGE = {"name": "LMLM judge labels (documents with an even number)",
         "url": "https://github.com/kilian-group/LMLM", "license": "MIT"}  # fmt: skip
UNSAVED = ("out", "work", "data", "development", "steps")
"""Arguments that do not affect the weights after a given number of steps."""
PIECE = 400
"""Maximum tokens of a text in a batch; longer ones are cut."""


# -------------------------------------------------------------------------------------- training


def pieces(lengths: NDArray[np.int32]) -> list[tuple[int, int]]:
    """Cut texts into pieces ``[start, end)`` of at most ``PIECE`` tokens."""
    ends = np.cumsum(lengths).tolist()
    return [
        (at, min(at + PIECE, end))
        for start, end in zip([0, *ends[:-1]], ends, strict=True)
        for at in range(start, end, PIECE)
    ]


def batches(cut: Sequence[tuple[int, int]], tokens: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yield the token numbers of shuffled pieces, in batches; -1 separates two texts."""
    order = np.random.default_rng(seed).permutation(len(cut))
    found: list[NDArray[np.int64]] = []
    count = 0
    for place in order:
        found += [np.arange(*cut[place]), np.array([-1])]
        count += len(found[-2])
        if count >= tokens:
            yield np.concatenate(found)
            found, count = [], 0


def train(
    args: argparse.Namespace, data: Labelled, judged: int, network: Network
) -> tuple[int, int]:
    """Train the network; return steps, and CPU seconds with those of ``args.start``.

    The last ``judged`` texts have facts.
    """
    start, spent, first = time.process_time(), 0.0, 0
    rows = table_rows(data.features_U4, network.shape)
    cut = pieces(data.lengths)
    own = pieces(data.lengths[len(data.lengths) - judged :])
    articles = len(cut) - len(own)
    cut = cut[:articles] + args.repeat_judged * cut[articles:]
    total = int(args.epochs * sum(end - at for at, end in cut) / args.batch)
    last = min(total, args.steps or total)
    optimizer = torch.optim.Adam(network.parameters(), lr=args.lr, betas=(0.9, 0.99))
    if args.start is not None:
        saved = torch.load(args.start, weights_only=True)
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        spent = saved["seconds"]
    checkpoint = args.work / ("checkpoint.pt" if args.start is None else "continued.pt")
    settings = {k: str(v) for k, v in vars(args).items() if k not in UNSAVED}
    if checkpoint.is_file():
        saved = torch.load(checkpoint, weights_only=True)
        if saved["settings"] == settings:
            network.load_state_dict(saved["network"])
            optimizer.load_state_dict(saved["optimizer"])
            first, spent = saved["step"], saved["seconds"]
            print(f"continuing after step {first} of {last}", flush=True)
    network.train()
    stream = itertools.chain.from_iterable(
        batches(cut, args.batch, args.order_seed + epoch) for epoch in itertools.count()
    )
    losses: list[float] = []
    for step, numbers in enumerate(itertools.islice(stream, last)):
        if step < first:
            continue
        for group in optimizer.param_groups:
            group["lr"] = args.lr * min(1, (step + 1) / max(1, args.warmup)) * (1 - step / total)
        loss = _loss(network, data, rows, numbers, args)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % 100 == 0 or step + 1 == last:
            seconds = spent + time.process_time() - start
            state = {"settings": settings, "network": network.state_dict(),
                     "optimizer": optimizer.state_dict(), "step": step + 1,
                     "seconds": seconds}  # fmt: skip
            torch.save(state, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").replace(checkpoint)
            line = {"step": step + 1, "of": last, "loss": round(float(np.mean(losses)), 4)}
            print(json.dumps({**line, "cpu_s": round(seconds)}), flush=True)
            losses.clear()
    return last, round(spent + time.process_time() - start)


def _loss(
    network: Network, data: Labelled, rows: torch.Tensor, numbers: NDArray[np.int64],
    args: argparse.Namespace,
) -> torch.Tensor:  # fmt: skip
    """Return the sum of the heads' cross-entropies on one batch."""
    depth = network.shape.depth
    real = np.repeat(numbers >= 0, np.where(numbers >= 0, 1, depth))
    real = torch.from_numpy(np.concatenate((np.zeros(depth, bool), real)))
    tokens = numbers[numbers >= 0]
    unique, words = np.unique(data.words_T[tokens], return_inverse=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
        x_TW = network(rows[torch.from_numpy(unique)], torch.from_numpy(words), real, args.dropout)
        loss = torch.zeros(())
        for name, linear in network.heads.items():
            targets = torch.from_numpy(data.targets[name][tokens].astype(np.int64))
            if (targets >= 0).any():
                scores_TL = linear(x_TW).float()
                loss = loss + F.cross_entropy(scores_TL, targets, ignore_index=NONE)
    return loss


# ---------------------------------------------------------------------------------------- report


README = """# en_lacy_tiny

A small spaCy pipeline for English, trained by `scripts/train_pipeline.py`. Components: `tok2vec`,
`morphologizer` (UPOS), `entities` (a tagger with labels such as B-GPE, I-GPE and O) and `facts` (a
tagger with the labels B-FACT, I-FACT, O). Settings and scores are in `meta.json`.

Licence of these weights: CC BY-SA 4.0, since they are made from

- articles of the English Wikipedia (2021) by its authors, CC BY-SA 3.0, <https://en.wikipedia.org>,
  with parts of speech and entities predicted by {teacher}
- LMLM's judge labels (documents with an even number), MIT, <https://github.com/kilian-group/LMLM>
"""


def slim(nlp: Language, out: Path, meta: dict[str, Any]) -> None:
    """Write the pipeline without the words that it has seen."""
    nlp.meta.update(meta)
    nlp.to_disk(out)
    written = json.loads((out / "meta.json").read_text())
    written["spacy_version"] = ">=3.8.0,<4.0.0"  # the range of lacy[spacy]; spaCy warns outside it
    (out / "meta.json").write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n")
    labels = {label for found in nlp.pipe_labels.values() for label in found}
    labels |= {label[2:] for label in labels if label.startswith("B-")}
    (out / "README.md").write_text(README.format(teacher=meta["training"]["teacher"]))
    (out / "vocab" / "strings.json").write_text(json.dumps(sorted(labels), indent=1) + "\n")


def prf(hits: int, predicted: int, gold: int) -> dict[str, float]:
    precision, recall = hits / max(predicted, 1), hits / max(gold, 1)
    f1 = 2 * precision * recall / max(precision + recall, 1e-9)
    return {"p": round(precision, 4), "r": round(recall, 4), "f1": round(f1, 4)}


def against_teacher(texts: list[str], teacher: str, out: Path) -> dict[str, Any]:
    """Compare marks, parts of speech and entities with the teacher's."""
    rules = Rules(content=False)
    sides = [SpacyAnnotator(name, rules, notify=lambda _: None) for name in (teacher, out)]
    parsed = [list(side.parse(texts)) for side in sides]
    theirs, ours = ([doc for doc, _ in found] for found in parsed)
    pairs = [pair for both in zip(theirs, ours, strict=True) for pair in zip(*both, strict=True)]
    words = [(a.pos_, b.pos_) for a, b in pairs if not a.is_space]
    found = [
        {(n, e.start, e.end, e.label_) for n, doc in enumerate(docs) for e in doc.ents}
        for docs in (theirs, ours)
    ]
    marks = [
        [
            mark(doc, side.rules, text=text, scores_TL=scores_TL)
            for text, (doc, scores_TL) in zip(texts, docs, strict=True)
        ]
        for side, docs in zip(sides, parsed, strict=True)
    ]
    judged = [Document(str(n), text, marks=tuple(found))
              for n, (text, found) in enumerate(zip(texts, marks[0], strict=True))]  # fmt: skip
    same = agreement(judged, marks[1])["all"]
    return {
        "marks": prf(same.both, same.marked, same.judged),
        "pos_acc": round(sum(a == b for a, b in words) / len(words), 4),
        "entities": prf(len(found[0] & found[1]), len(found[1]), len(found[0])),
    }


def report(args: argparse.Namespace) -> dict[str, Any]:
    """Return scores on texts that were not trained on."""
    if args.development:
        texts = shuffled_articles(args.data)[:200]
    else:
        texts = [d.text for d in read(args.data / "wiki/valid.jsonl.gz", limit=200)]
    compared = against_teacher(texts, args.teacher, args.out)
    scores: dict[str, Any] = {f"teacher_{name}": score for name, score in compared.items()}
    annotator = SpacyAnnotator(args.out, Rules(learned=True), notify=lambda _: None)
    for name, documents in judge_documents(args.data / "judge", "test").items():
        hits = predicted = total = 0
        parsed = annotator.parse([d.text for d in documents])
        for document, (doc, scores_TL) in zip(documents, parsed, strict=True):
            gold = np.array([tag != "O" for tag in fact_tags(doc, document)])
            found = scores_TL.argmax(axis=1) < 2
            hits, predicted = hits + int((gold & found).sum()), predicted + int(found.sum())
            total += int(gold.sum())
        scores[f"facts_{Path(name).stem}"] = prf(hits, predicted, total)
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the data named above")
    parser.add_argument("--teacher", default="en_core_web_sm", help="name of the larger pipeline")
    parser.add_argument("--work", type=Path, required=True, help="folder for labels, checkpoint")
    parser.add_argument("--out", type=Path, required=True, help="folder of the pipeline")
    parser.add_argument("--tokens", type=float, default=3e6, help="tokens to label")
    parser.add_argument("--shards", type=int, nargs="+", help="instead of --tokens: these shards "
                        "of 1,000 articles, from 1")  # fmt: skip
    parser.add_argument("--epochs", type=float, default=8, help="length of the schedule")
    parser.add_argument("--steps", type=int, help="end after this many steps of the schedule")
    parser.add_argument("--start", type=Path, help="checkpoint with weights to continue from")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--depth", type=int, default=4, help="layers; each sees one word further")
    parser.add_argument("--pieces", type=int, default=3, help="pieces of a maxout unit")
    parser.add_argument("--rows", type=int, nargs=4, default=[2000, 500, 1000, 1000])
    parser.add_argument("--repeat-judged", type=int, default=1, help="judge documents per epoch")
    parser.add_argument("--lr", type=float, default=3e-3, help="falls linearly to 0")
    parser.add_argument("--warmup", type=int, default=200, help="steps of rising learning rate")
    parser.add_argument("--dropout", type=float, default=0.05)
    parser.add_argument("--batch", type=int, default=4000, help="tokens")
    parser.add_argument("--bf16", action="store_true", help="if the processor has avx512_bf16")
    parser.add_argument("--development", action="store_true", help="score development articles")
    parser.add_argument("--seed", type=int, default=0, help="of initial weights and dropout")
    parser.add_argument("--order-seed", type=int, help="of the order of texts; default: --seed")
    args = parser.parse_args()
    args.order_seed = args.seed if args.order_seed is None else args.order_seed
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    articles, judged, labels = teach(args.data, args.teacher, args.work, args.tokens, args.shards)
    shape = Shape(args.width, args.depth, args.pieces, tuple(args.rows))
    network = Network(shape, labels)
    data = Labelled.join([articles, judged])
    counts = {"tokens of articles": len(articles.words_T),
              "tokens of the judge's documents": len(judged.words_T),
              "weights": sum(p.numel() for p in network.parameters())}  # fmt: skip
    print(json.dumps(counts), flush=True)
    steps, seconds = train(args, data, len(judged.lengths), network)
    settings = {k: v for k, v in vars(args).items() if k not in UNSAVED and k != "start"}
    if args.start is not None:
        saved = torch.load(args.start, weights_only=True)
        settings["after"] = {**saved["settings"], "steps": saved["step"]}
    teacher = spacy.load(args.teacher).meta
    meta = {
        "lang": "en", "name": "lacy_tiny", "version": "0.2.0",
        "description": "POS tags, entities and fact spans for marking what a small language "
        "model should delegate; shared tok2vec, no vectors",
        "author": "The lacy authors", "license": "CC BY-SA 4.0", "sources": [WIKIPEDIA, JUDGE],
        "training": {**settings, **asdict(shape), "steps": steps, "tokens": len(articles.words_T),
                     "cpu_seconds": seconds, "teacher": f"{teacher['lang']}_{teacher['name']} "
                     f"{teacher['version']} ({teacher['license']})"},
    }  # fmt: skip
    nlp = to_spacy(network)
    slim(nlp, args.out, meta)
    meta["performance"] = report(args)
    slim(nlp, args.out, meta)
    print(json.dumps({"scores": meta["performance"], "cpu_seconds": seconds}, indent=1), flush=True)


if __name__ == "__main__":
    main()
