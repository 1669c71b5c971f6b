"""VocabTailor's own code beside lacy's tailored head, on the extraction task.

    python benchmarks/vocabulary_peer.py CHECKOUT MODEL MARKED.jsonl OUT.json [COUNT]

CHECKOUT is a clone of AwakenedInsects/VocabTailor (needs lmdb, psutil). Its ``generate`` always
applies a repetition penalty of 1.1, so the whole head and ours get it, too. Texts one by one,
because it takes no batches.
"""

import json
import sys
import time
from pathlib import Path

import torch

from lacy.model import load_model
from lacy.run import environment, write_atomic
from lacy.vocabulary import tailor
from vocabulary import extraction_examples, score

NEW = 40


def main(checkout, model_name, marked, out, count="8"):
    sys.path.insert(0, str(Path(checkout) / "src"))
    from transformers import AutoModelForCausalLM, RepetitionPenaltyLogitsProcessor
    from vocab_tailor.vocab_tailor import VocabTailor

    torch.set_num_threads(1)
    loaded = load_model(model_name)
    model, tokenizer = loaded.model.eval(), loaded.tokenizer
    test = extraction_examples(Path(marked), int(count))
    prompts = [
        torch.tensor([[0, *tokenizer(given, add_special_tokens=False)["input_ids"]]])
        for given, _ in test
    ]
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    results = {}

    def ours(name, before=lambda prompt: None):
        started, rows = time.process_time(), []
        for prompt in prompts:
            before(prompt)
            penalty = RepetitionPenaltyLogitsProcessor(1.1, prompt_ignore_length=prompt.shape[1])
            with torch.inference_mode():
                found = model.generate(
                    prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=NEW,
                    do_sample=False, pad_token_id=0, eos_token_id=end, logits_processor=[penalty],
                )  # fmt: skip
            rows.append(found[0, prompt.shape[1] :].tolist())
        note(name, rows, started)

    def note(name, rows, started):
        texts = [tokenizer.decode([n for n in row if n != end]) for row in rows]
        whole = results.setdefault("rows", rows)
        results[name] = {
            **score("extraction", texts, [o for _, o in test]),
            "identical": sum(a == b for a, b in zip(rows, whole, strict=True)) / len(rows),
            "cpu_seconds": time.process_time() - started,
        }  # fmt: skip
        print(name, results[name], flush=True)

    ours("whole head")
    for fallback in ("exact", "off"):
        tailored = tailor(loaded, fallback=fallback)
        ours(f"lacy, dynamic, {fallback}", lambda prompt, t=tailored: t.begin())
        tailored.restore()
    peer = VocabTailor()
    peer.tokenizer = tokenizer
    peer.load_model(AutoModelForCausalLM.from_pretrained(model_name), device="cpu")
    peer.update_lm_head(torch.tensor(sorted({*tokenizer.all_special_ids, end})), temp=False)
    started, rows = time.process_time(), []
    for prompt in prompts:
        with torch.inference_mode():
            found = peer.generate(prompt, max_new_tokens=NEW, original_eos_token_id=end)
        rows.append(found[0, prompt.shape[1] :].tolist())
    note("VocabTailor 0.2.0, input_aware", rows, started)
    del results["rows"]
    data = {"n": len(test), "new_tokens": NEW, "heads": results, "environment": environment()}
    write_atomic(out, json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
