"""Renders a chat with the tokenizer's template, and tokenizes it safely.

Two things must not happen: a message must not be dropped because the template does not know its
role, and text in a message must not become a control token. To detect both, the chat is rendered a
second time with placeholder words in place of everything that the caller wrote. If a placeholder is
missing, the template dropped that message. A control token that is not in the second rendering
comes from the caller's text, which is then encoded as ordinary text.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from lacy.corpus import TokenText

NONCE = secrets.token_hex(6)
"""Random, so that no message can contain a marker or a placeholder word."""

MARKS = 64
"""Most different control tokens in the text of one chat's messages."""

_MARKER = re.compile(r"[<\[{(|｜].*[>\])}|｜]", re.DOTALL)
"""Pattern of control tokens that a tokenizer does not list as special."""

_FORBIDDEN = "messages may not hold the model's control token {!r}"

Message = Mapping[str, Any]


class ChatRefused(Exception):
    """A chat that cannot be rendered or tokenized.

    Args:
        why: a message for the caller.
        code: a code for programs: ``chat_template``, ``role_not_supported``, ``control_token``.
        place: the index of the message at fault, if it is a single one.
    """

    def __init__(self, why: str, code: str, place: int | None = None) -> None:
        super().__init__(why)
        self.code, self.place = code, place


class ControlTokens:
    """The control tokens of a tokenizer, and ways to encode text with and without them.

    A control token is a token that the tokenizer lists as special, or another added token that
    looks like one (``<|user|>``, ``[INST]``). Added words and runs of spaces are ordinary text.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.ids = _control_ids(tokenizer)
        self.special = _special(tokenizer)
        """Ids of the special tokens by their names."""
        self._plain: _PlainText | None = None
        self._marked: Any = None

    def encode(self, text: str, plain: str = "") -> list[int]:
        """Tokens of a text in which control tokens are recognised, except those in ``plain``."""
        if plain and plain in text:
            return self.encode_marked(text.replace(plain, _mark(0)), {_mark(0): plain})
        ids: list[int] = self.tokenizer.encode(
            text, add_special_tokens=False, split_special_tokens=False
        )
        return ids

    def first(self, text: str) -> int | None:
        """The special token with whose name a text begins."""
        found = [name for name in self.special if text.startswith(name)]
        return self.special[max(found, key=len)] if found else None

    def within(self, ids: Sequence[int]) -> list[int]:
        """The control tokens among some tokens, in order."""
        return [token for token in ids if token in self.ids]

    def spelled(self, text: str) -> list[str]:
        """The parts of a text that the tokenizer would turn into control tokens.

        Raises:
            ChatRefused: there are some, and this tokenizer (one without a ``tokenizers`` backend)
                does not report their positions.
        """
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None and self.within(self.encode(text)):
            raise ChatRefused(_FORBIDDEN.format(text), "control_token")
        if backend is None:
            return []
        backend.encode_special_tokens = False
        made = backend.encode(text, add_special_tokens=False)
        places = zip(made.ids, made.offsets, strict=True)
        return [text[begin:end] for token, (begin, end) in places if token in self.ids]

    def encode_marked(self, text: str, marks: Mapping[str, str]) -> list[int]:
        """Tokens of a text in which markers stand for pieces of ordinary text.

        Args:
            text: the text; control tokens in it are recognised.
            marks: the markers and the text that they stand for.

        Raises:
            ChatRefused: the tokenizer cannot encode a piece as ordinary text.
        """
        self._prepare()
        assert self._plain is not None
        ids: list[int] = self._marked.encode(text, add_special_tokens=False).ids
        known = {self._marked.token_to_id(mark): piece for mark, piece in marks.items()}
        out: list[int] = []
        for token in ids:
            if token in known:
                piece = known[token]
                plain = self._plain.encode_continuation(piece)
                if self.within(plain):
                    raise ChatRefused(_FORBIDDEN.format(piece), "control_token")
                out += plain
            else:
                out.append(token)
        return out

    def _prepare(self) -> None:
        """Build the encoders that are rarely needed; takes seconds for a large vocabulary."""
        if self._plain is not None:
            return
        backend = self.tokenizer.backend_tokenizer
        from tokenizers import AddedToken, Tokenizer

        told = json.loads(backend.to_str())
        told |= {"truncation": None, "padding": None}
        for token in told["added_tokens"]:
            token["special"] = token["special"] or token["id"] in self.ids
        plain, self._marked = (Tokenizer.from_str(json.dumps(told)) for _ in range(2))
        plain.encode_special_tokens = True
        self._plain = _PlainText(self.tokenizer, plain)
        self._marked.add_special_tokens(
            [AddedToken(_mark(n), special=True, normalized=False) for n in range(MARKS)]
        )


class _PlainText(TokenText):
    """``TokenText`` for which no control token exists, whether listed as special or not."""

    def __init__(self, tokenizer: Any, plain: Any) -> None:
        super().__init__(tokenizer)
        self._plain = plain

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        return ids


_KNOWN: WeakKeyDictionary[Any, ControlTokens] = WeakKeyDictionary()


def control_tokens(tokenizer: Any) -> ControlTokens:
    """The control tokens of a tokenizer (cached)."""
    if tokenizer not in _KNOWN:
        _KNOWN[tokenizer] = ControlTokens(tokenizer)
    return _KNOWN[tokenizer]


@dataclass
class RenderedChat:
    """A rendered chat, ready for the model's answer."""

    tokenizer: Any
    messages: list[dict[str, Any]]
    """The messages as rendered; roles that the template does not know have been mapped."""
    text: str
    neutral: str | None
    """The rendering with placeholder words; None if the template rejects them."""
    _ids: list[int] | None = field(default=None, init=False)

    def tokens(self) -> list[int]:
        """The tokens of the chat. Call this only in the thread that uses the tokenizer.

        Raises:
            ChatRefused: text of a message would become a control token, and cannot be encoded
                otherwise.
        """
        if self._ids is None:
            self._ids = self._encode()
        return self._ids

    def _encode(self) -> list[int]:
        controls = control_tokens(self.tokenizer)
        ids = controls.encode(self.text)
        wanted = None if self.neutral is None else controls.within(controls.encode(self.neutral))
        if controls.within(ids) == wanted:
            return ids
        marks: dict[str, str] = {}
        for text in _strings(self.messages):
            for piece in controls.spelled(text):
                marks.setdefault(piece, _mark(len(marks)))
        if wanted is None and not marks:
            return ids
        if not marks or len(marks) > MARKS:
            raise ChatRefused(_FORBIDDEN.format("..."), "control_token")
        longest_first = sorted(marks, key=len, reverse=True)
        pieces = re.compile("|".join(map(re.escape, longest_first)))
        marked = _render(
            _changed(self.messages, lambda text: pieces.sub(lambda m: marks[m[0]], text)),
            self.tokenizer,
        )
        found = {mark: piece for piece, mark in marks.items()}
        same = re.sub("|".join(map(re.escape, found)), lambda m: found[m[0]], marked) == self.text
        ids = controls.encode_marked(marked, found) if same else []
        if not same or (wanted is not None and controls.within(ids) != wanted):
            raise ChatRefused(_FORBIDDEN.format(longest_first[0]), "control_token")
        return ids


def render_chat(messages: Sequence[Message], tokenizer: Any) -> RenderedChat:
    """Render messages with the tokenizer's template.

    If the template does not know the role ``developer``, such a message is rendered as ``system``.
    If it drops results of tools, these are rendered as ``user`` messages.
    Where roles must alternate, neighbours that get the same role this way become one message.

    Args:
        messages: as for ``apply_chat_template``: ``role``, ``content`` (a text) and optionally
            ``name``, ``tool_calls``, ``tool_call_id``.
        tokenizer: a tokenizer with a chat template.

    Raises:
        ChatRefused: the template rejects the messages, or drops one of them under every role.
    """
    failure: ChatRefused | None = None
    knows = "developer" in str(tokenizer.chat_template)
    for reading in _readings([dict(message) for message in messages], knows):
        try:
            text = _render(reading, tokenizer)
        except ChatRefused as error:
            failure = failure or error
            continue
        words = [_Words(place) for place in range(len(reading))]
        neutral = None
        with suppress(ChatRefused):  # a template that examines the content of messages
            neutral = _render(
                [_changed(m, say) for m, say in zip(reading, words, strict=True)], tokenizer
            )
        lost = _lost(reading, words, neutral, text)
        if lost is None:
            return RenderedChat(tokenizer, reading, text, neutral)
        if failure is not None and len(reading) < len(messages):
            continue  # the places are not the caller's
        role = messages[lost]["role"]
        why = f"the model's chat template drops a message of the role {role!r} at this place"
        failure = ChatRefused(why, "role_not_supported", lost)
    assert failure is not None
    raise failure


def _readings(messages: list[dict[str, Any]], knows: bool) -> Iterator[list[dict[str, Any]]]:
    """Possible role mappings; ``knows``: the template mentions the role ``developer``."""
    roles = {str(message["role"]) for message in messages}
    as_system = [m | {"role": "system"} if m["role"] == "developer" else m for m in messages]
    yield messages if knows else as_system
    if "developer" in roles:
        yield as_system if knows else messages
    if "tool" in roles or any(message.get("tool_calls") for message in messages):
        for reading in (messages, as_system) if knows else (as_system, messages):
            yield [_without_tools(message) for message in reading]
        # results of several tools, or one and the user's next words, are neighbours by now
        yield _joined([_without_tools(message) for message in as_system])
    elif "developer" in roles:
        yield _joined(as_system)


def _joined(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Neighbours of one role as one message, for templates in which roles must alternate."""
    found: list[dict[str, Any]] = []
    for message in messages:
        if found and found[-1]["role"] == message["role"]:
            said = [str(found[-1]["content"]), str(message["content"])]
            found[-1] = found[-1] | {"content": "\n\n".join(filter(str.strip, said))}
        else:
            found.append(message)
    return found


def _without_tools(message: dict[str, Any]) -> dict[str, Any]:
    """A message of a chat with tools, for a template without tools."""
    said = str(message["content"])
    if message["role"] == "tool":
        return {"role": "user", "content": said}
    calls = message.get("tool_calls")
    if not calls:
        return message
    asked = [json.dumps(call["function"], ensure_ascii=False) for call in calls]
    return {"role": message["role"], "content": "\n".join([said] * bool(said.strip()) + asked)}


def _lost(
    messages: Sequence[Message], words: Sequence[_Words], neutral: str | None, text: str
) -> int | None:
    """The first message that is not completely contained in the prompt."""
    for place, message in enumerate(messages):
        said = [str(message["content"])]
        said += [str(call["function"]["name"]) for call in message.get("tool_calls") or ()]
        for part in said:
            found = part.strip() in text if neutral is None else words[place](part) in neutral
            if part.strip() and not found:
                return place
    return None


class _Words:
    """Placeholder words for one message: the same for the same text, blank for blank text."""

    def __init__(self, place: int) -> None:
        self._place = place
        self._known: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        if not text.strip():
            return text
        word = f"w{NONCE}n{self._place}m{len(self._known)}x"
        return self._known.setdefault(text, word)


def _render(messages: Sequence[Message], tokenizer: Any) -> str:
    try:
        return str(
            tokenizer.apply_chat_template(
                [dict(message) for message in messages], tokenize=False, add_generation_prompt=True
            )
        )
    except Exception as error:  # a template may raise anything
        raise ChatRefused(f"the chat template refuses: {error}", "chat_template") from error


def _changed(value: Any, change: Callable[[str], str], key: str = "") -> Any:
    """A copy of messages with every text of the caller replaced; roles and types stay."""
    if isinstance(value, str):
        return value if key in ("role", "type") else change(value)
    if isinstance(value, Mapping):
        free = key == "arguments"  # the caller chooses these keys
        return {
            (change(name) if free else name): _changed(part, change, key if free else name)
            for name, part in value.items()
        }
    if isinstance(value, Sequence):
        return [_changed(part, change, key) for part in value]
    return value


def _strings(messages: Any) -> list[str]:
    """Every text of the caller in messages."""
    found: list[str] = []

    def note(text: str) -> str:
        found.append(text)
        return text

    _changed(messages, note)
    return found


def _mark(number: int) -> str:
    return f"\ue000{NONCE}.{number}\ue001"


def _special(tokenizer: Any) -> dict[str, int]:
    added = getattr(tokenizer, "added_tokens_decoder", {})
    named = zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True)
    return {str(t): n for n, t in added.items() if t.special} | {str(t): n for t, n in named}


def _control_ids(tokenizer: Any) -> set[int]:
    ids = set(tokenizer.all_special_ids)
    added = getattr(tokenizer, "added_tokens_decoder", {})
    ids |= {n for n, t in added.items() if t.special or _MARKER.fullmatch(str(t).strip())}
    # Characters that are not in the vocabulary become this token, which is not a control token.
    unknown = getattr(tokenizer, "unk_token_id", None)
    steering = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    return ids - {unknown} if unknown not in steering else ids
