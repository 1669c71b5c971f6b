"""Begin and end tokens of a text: chosen once, stored, and added by the saved tokenizer."""

import json

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from lacy.annotate import encode
from lacy.corpus import load_tokenizer, tokenizer_fingerprint
from lacy.corpus.special_tokens import begin_end, chat_marks, save_tokenizer, turn_end
from lacy.errors import LacyError
from lacy.types import Document

END = "<|endoftext|>"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ m['role'] }}\n{{ m['content'] }}"
    "<end_of_turn>\n{% endfor %}"
)
LLAMA3 = (
    "<|begin_of_text|>{% for m in messages %}<|start|>{{ m['role'] }}<|stop|>{{ m['content'] }}"
    "<|eot_id|>{% endfor %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} "
    "[/INST]{% else %} {{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
ANY_BOS = "{% for m in messages %}{{ bos_token }}{{ m['content'] }}{{ eos_token }}{% endfor %}"


def made(folder, bos, eos, specials, template=None, **settings):
    """A byte-level tokenizer with these special tokens, in a folder not written by lacy."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(
        models.BPE(vocab={letter: n for n, letter in enumerate([*specials, *alphabet])}, merges=[])
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(specials))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=bos, eos_token=eos, **settings
    )
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return folder


SMOL = ("<|im_start|>", "<|im_end|>", (END, "<|im_start|>", "<|im_end|>"), CHATML)
QWEN = (None, "<|im_end|>", (END, "<|im_start|>", "<|im_end|>"), CHATML)


@pytest.mark.parametrize(
    ("bos", "eos", "specials", "template", "begin", "end", "why"),
    [
        ("<s>", "</s>", ("<s>", "</s>"), None, "<s>", "</s>", ""),
        (END, END, (END,), None, END, END, ""),
        (None, END, (END,), None, END, END, "no begin token"),
        (*SMOL, END, END, "mark of its chat template"),
        (*QWEN, END, END, "mark of its chat template"),
        ("<bos>", "<eos>", ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"), GEMMA,
         "<bos>", "<eos>", ""),
        ("<|begin_of_text|>", "<|eot_id|>",
         ("<|begin_of_text|>", "<|end_of_text|>", "<|start|>", "<|stop|>", "<|eot_id|>"), LLAMA3,
         "<|begin_of_text|>", "<|end_of_text|>", ""),
        ("<s>", "</s>", ("<s>", "</s>"), MISTRAL, "<s>", "</s>", ""),
        ("<|im_start|>", "<|im_end|>", ("<|im_start|>", "<|im_end|>"), CHATML,
         "<|im_start|>", "<|im_end|>", "no other token"),
        ("<|im_start|>", "<|im_end|>", ("<s>", "<|im_start|>", "<|im_end|>"), CHATML,
         "<s>", "<|im_end|>", "mark of its chat template"),
        ("<s>", "</s>", ("<s>", "</s>"), "{{ raise_exception('no') }}", "<s>", "</s>", ""),
    ],
    ids=["plain", "one", "no-bos", "smollm2", "qwen", "gemma", "llama3", "mistral", "marks-only",
         "s-beside", "broken-template"],
)  # fmt: skip
def test_the_tokens_around_a_text(tmp_path, bos, eos, specials, template, begin, end, why):
    said = []
    folder = made(tmp_path / "theirs", bos, eos, specials, template)
    tokenizer = load_tokenizer(folder, notify=said.append)
    assert tokenizer.convert_ids_to_tokens(list(begin_end(tokenizer))) == [begin, end]
    assert bool(said) == bool(why) and all(why in text for text in said)
    ids = encode(Document("d", "Ada", {}, ()), tokenizer).input_ids
    assert tokenizer.convert_ids_to_tokens([ids[0], ids[-1]]) == [begin, end]

    save_tokenizer(tokenizer, tmp_path / "ours")
    again = load_tokenizer(tmp_path / "ours", notify=said.append)
    assert begin_end(again) == begin_end(tokenizer)
    assert tokenizer_fingerprint(again) == tokenizer_fingerprint(tokenizer)
    assert len(said) == bool(why)  # it is chosen once
    plain = AutoTokenizer.from_pretrained(tmp_path / "ours")
    assert plain("Ada").input_ids == list(ids[:-1])
    assert plain(["Ada", "Bo"]).input_ids[1][0] == ids[0]
    save_tokenizer(again, tmp_path / "twice")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        first, second = ((tmp_path / k / name).read_text() for k in ("ours", "twice"))
        assert json.loads(first) == json.loads(second)


@pytest.mark.parametrize("kind", [SMOL, QWEN, ("<s>", "</s>", ("<s>", "</s>"), ANY_BOS)])
def test_chat_templates_render_as_before(tmp_path, kind):
    more = {"extra_special_tokens": [kind[2][-1]]}
    before = AutoTokenizer.from_pretrained(made(tmp_path / "theirs", *kind, **more))
    save_tokenizer(load_tokenizer(tmp_path / "theirs"), tmp_path / "ours")
    after = AutoTokenizer.from_pretrained(tmp_path / "ours")
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]
    assert after.apply_chat_template(chat) == before.apply_chat_template(chat)
    assert set(before.all_special_tokens) <= set(after.all_special_tokens)


def test_the_user_can_choose_the_begin_token(tmp_path):
    folder = made(tmp_path / "theirs", *SMOL)
    tokenizer = load_tokenizer(folder, begin="<|im_start|>")
    assert tokenizer.convert_ids_to_tokens(list(begin_end(tokenizer))) == ["<|im_start|>", END]
    save_tokenizer(tokenizer, tmp_path / "ours")
    assert begin_end(load_tokenizer(tmp_path / "ours")) == begin_end(tokenizer)
    assert begin_end(load_tokenizer(tmp_path / "ours", begin=END)) == (0, 0)
    with pytest.raises(LacyError, match="no token '<bos>'") as caught:
        load_tokenizer(folder, begin="<bos>")
    assert caught.value.code == "E98" and "'<|im_end|>'" in caught.value.do


def test_the_tokenizers_own_begin_token_is_replaced(tmp_path):
    """One that put other tokens around texts, or said that it adds none."""
    folder = made(tmp_path / "theirs", "<s>", "</s>", ("<s>", "</s>"))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"add_bos_token": False, "add_eos_token": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.post_processor = processors.TemplateProcessing("$A </s>", None, [("</s>", 1)])
    backend.save(str(folder / "tokenizer.json"))
    save_tokenizer(load_tokenizer(folder), tmp_path / "ours")
    plain = AutoTokenizer.from_pretrained(tmp_path / "ours")
    assert plain.convert_ids_to_tokens(plain("x").input_ids) == ["<s>", "x"]


@pytest.mark.parametrize(
    ("kind", "marks", "turn"),
    [
        (SMOL, {"<|im_start|>", "<|im_end|>"}, "<|im_end|>"),
        (("<s>", "</s>", ("<s>", "</s>"), MISTRAL), {"</s>"}, "</s>"),
        (("<bos>", "<eos>", ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"), GEMMA),
         {"<start_of_turn>", "<end_of_turn>"}, "<end_of_turn>"),
        (("<s>", "</s>", ("<s>", "</s>"), None), set(), None),
        (("<s>", "</s>", ("<s>", "</s>"), "{% for m in messages %}{{ m.content }}\n{% endfor %}"),
         set(), None),
    ],
)  # fmt: skip
def test_marks_of_the_chat_template(tmp_path, kind, marks, turn):
    tokenizer = load_tokenizer(made(tmp_path / "t", *kind))
    assert chat_marks(tokenizer) == marks
    found = turn_end(tokenizer)
    assert (None if found is None else tokenizer.convert_ids_to_tokens(found)) == turn
