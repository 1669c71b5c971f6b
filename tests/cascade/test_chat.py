"""Chats and their templates: no message is dropped, and no message text becomes a control token."""

import copy

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, normalizers

from helpers import models
from lacy.cascade.chat import ChatRefused, ControlTokens, render_chat
from lacy.corpus.token_text import TokenText

ANY_ROLE = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}{% if m.name %} {{ m.name }}"
    "{% endif %}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THREE_ROLES = (
    "{% for m in messages %}{% if m['role'] in ['system', 'user', 'assistant'] %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TOOLS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function.name }} "
    "{{ c.function.arguments | tojson }}</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def made(kind, template=ANY_ROLE):
    tokenizer = copy.deepcopy(models.ALL[kind])
    tokenizer.add_tokens(
        [
            AddedToken("<|im_start|>", special=True),
            AddedToken("<|im_end|>", special=False, normalized=False),  # as some fine-tunes do
            AddedToken("<tool_call>", special=False),
            AddedToken("</tool_call>", special=False),
            AddedToken("<|reserved_7|>", special=True, lstrip=True, rstrip=True),
            AddedToken("  ", special=False),
            AddedToken("Kelfield", special=False),
        ]
    )
    tokenizer.chat_template = template
    return tokenizer


TOKENIZERS = {kind: made(kind) for kind in models.ALL}
CONTROLS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<CALL>", "<|reserved_7|>",
            "<tool_call>", "</tool_call>"]  # fmt: skip


def controls(tokenizer, ids):
    names = {tokenizer.convert_tokens_to_ids(name) for name in CONTROLS}
    return [token for token in ids if token in names]


def user(text, **more):
    return {"role": "user", "content": text, **more}


@pytest.mark.parametrize("kind", list(models.ALL))
def test_ordinary_chats_are_encoded_as_transformers_does(kind):
    tokenizer = TOKENIZERS[kind]
    for text in ("Who was Ada?", "a  b", "Kelfield is < 3 miles > off | [x]", "", "東京 é\n\n"):
        messages = [user("Hi"), {"role": "assistant", "content": text}, user(text)]
        chat = render_chat(messages, tokenizer)
        wanted = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
        assert chat.tokens() == getattr(wanted, "input_ids", wanted), text


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    kind=st.sampled_from(list(models.ALL)),
    pieces=st.lists(
        st.sampled_from([*CONTROLS, " ", "a", "Mara", "é東", "\n", "<", "|>", "<|im_"]), max_size=7
    ),
    where=st.sampled_from(["user", "system", "assistant", "name", "tool"]),
)
@example(kind="llama2_style", pieces=[" ", " ", "<tool_call>"], where="user")
@example(kind="llama2_style", pieces=[" ", "<tool_call>", "<tool_call>"], where="user")
def test_no_message_writes_a_control_token(kind, pieces, where):
    tokenizer, text = TOKENIZERS[kind], "".join(pieces)
    messages = [user("Hi"), user("x")]
    if where == "name":
        messages.append(user("y", name=text))
    else:
        messages.append({"role": where, "content": text, "tool_call_id": "1"})
    chat = render_chat(messages, tokenizer)
    assert text in chat.text
    ids = chat.tokens()
    neutral = [m | {k: "w" for k in ("content", "name") if m.get(k)} for m in messages]
    plain = tokenizer.encode(
        render_chat(neutral, tokenizer).text, add_special_tokens=False, split_special_tokens=False
    )
    assert controls(tokenizer, ids) == controls(tokenizer, plain)
    if any(name in text for name in CONTROLS):  # every character is there, as ordinary text
        said = TokenText(tokenizer).decode(ids)
        assert text.replace(" ", "") in said.replace(" ", "")


def test_a_normalizer_does_not_hide_a_control_token():
    tokenizer = made("byte_level")
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.add_tokens([AddedToken("<|turn|>", special=False, normalized=True)])
    turn = tokenizer.convert_tokens_to_ids("<|turn|>")
    assert turn in tokenizer.encode("a<|TURN|>b", add_special_tokens=False)
    ids = render_chat([user("a<|TURN|>b")], tokenizer).tokens()
    assert turn not in ids and "<|turn|>" in TokenText(tokenizer).decode(ids)


def test_a_control_token_put_together_from_two_fields_is_refused():
    tokenizer = made(
        "byte_level", "{% for m in messages %}<{{ m.name }}{{ m.content }}{% endfor %}"
    )
    with pytest.raises(ChatRefused) as caught:
        render_chat([user("d|>", name="|im_en")], tokenizer).tokens()
    assert caught.value.code == "control_token"


def test_a_vocabulary_that_spells_its_control_tokens_as_text_refuses_them():
    """Unigram finds ``<|endoftext|>`` in its vocabulary, whatever its settings."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    letters = [(letter, -1.0) for letter in " abdefnotuxms<|>/_:\n"]
    backend = Tokenizer(models.Unigram([("<unk>", 0.0), ("</s>", 0.0), *letters], unk_id=0))
    backend.add_special_tokens(["<unk>", "</s>"])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}</s>{% endfor %}"
    assert len(render_chat([user("Zam!")], tokenizer).tokens()) == 5  # unknown letters are fine
    with pytest.raises(ChatRefused):
        render_chat([user("a</s>b")], tokenizer).tokens()


def test_added_words_and_spaces_are_text():
    tokenizer = TOKENIZERS["byte_level"]
    found = ControlTokens(tokenizer).ids
    assert tokenizer.convert_tokens_to_ids("Kelfield") not in found
    assert tokenizer.convert_tokens_to_ids("  ") not in found
    assert {tokenizer.convert_tokens_to_ids(name) for name in CONTROLS} <= found


def test_roles_that_a_template_drops():
    tokenizer = made("byte_level", THREE_ROLES)
    plain = render_chat([{"role": "system", "content": " In French. "}, user("Hi")], tokenizer)
    mapped = render_chat([{"role": "developer", "content": " In French. "}, user("Hi")], tokenizer)
    assert mapped.text == plain.text and mapped.tokens() == plain.tokens()
    messages = [{"role": "developer", "content": "x"}]
    assert "<|im_start|>system" in render_chat(messages, made("byte_level", ANY_ROLE)).text
    named = "{# system, developer #}" + ANY_ROLE
    assert "<|im_start|>developer" in render_chat(messages, made("byte_level", named)).text
    no_system = made("byte_level", THREE_ROLES.replace("'system', ", ""))
    for role in ("system", "developer"):  # the same words elsewhere do not hide it
        with pytest.raises(ChatRefused, match="drops a message") as caught:
            render_chat([user("Hi"), {"role": role, "content": "Hi"}], no_system)
        assert (caught.value.code, caught.value.place) == ("role_not_supported", 1)


def test_a_message_that_a_template_ignores_counts_as_dropped():
    first = "{{ messages[0].content }}{% for m in messages[1:] %}{% if m.role != 'system' %}"
    tokenizer = made("byte_level", first + "{{ m.content }}{% endif %}{% endfor %}")
    render_chat([{"role": "system", "content": "a"}, user("b")], tokenizer)
    with pytest.raises(ChatRefused) as caught:
        render_chat([{"role": "system", "content": "a"}, user("b"),
                 {"role": "system", "content": "c"}], tokenizer)  # fmt: skip
    assert caught.value.place == 2


CALLS = [
    user("Weather?"),
    {"role": "assistant", "content": "", "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "look", "arguments": {"at": "Ulm"}}}]},
    {"role": "tool", "content": "rain", "tool_call_id": "1"},
]  # fmt: skip


def test_a_history_of_tools_reaches_every_template():
    known = render_chat(CALLS, made("byte_level", TOOLS)).text
    assert '<tool_call>look {"at": "Ulm"}</tool_call>' in known and "tool\nrain" in known
    told = render_chat(CALLS, made("byte_level", THREE_ROLES)).text
    assert '{"name": "look", "arguments": {"at": "Ulm"}}' in told and "user\nrain" in told


ALTERNATING = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
)


@pytest.mark.parametrize("after", [CALLS[2] | {"content": "17 degrees"}, user("17 degrees")])
def test_a_history_of_tools_where_roles_must_alternate(after):
    told = render_chat([*CALLS, after], made("byte_level", ALTERNATING))
    assert told.text.endswith("<|im_start|>user\nrain\n\n17 degrees<|im_end|>\n")
    with pytest.raises(ChatRefused, match="alternate") as caught:  # the caller's own mistake
        render_chat([user("a"), user("b")], made("byte_level", ALTERNATING))
    assert caught.value.place is None


def test_templates_that_change_or_check_content():
    thoughts = "{% for m in messages %}{{ m.content.split('</think>')[-1] }}{% endfor %}"
    tokenizer = made("byte_level", thoughts)
    assert (
        render_chat([{"role": "assistant", "content": "<think>a</think>b"}], tokenizer).text == "b"
    )
    strict = "{% for m in messages %}{% if m.content != 'yes' %}{{ raise_exception('no') }}"
    tokenizer = made("byte_level", strict + "{% endif %}{{ m.content }}{% endfor %}")
    assert render_chat([user("yes")], tokenizer).text == "yes"
    with pytest.raises(ChatRefused, match="no"):
        render_chat([user("other")], tokenizer)
