"""Render a chat with the tokenizer's template, and tokenize it safely.

Two things must not happen: the template must not drop a message because it does not know the role,
and text in a message must not become a control token. To detect both, the chat is rendered a second
time with placeholders for everything that the caller wrote. If a placeholder is missing, the
template dropped that message. If a control token is missing, it came from the caller's text, which
is then encoded as ordinary text.
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
"""Part of markers and placeholders; random, so that no message can contain one."""

MAX_MARKERS = 64
"""Maximum number of different control tokens in the messages of a chat."""

_CONTROL_PATTERN = re.compile(r"[<\[{(|｜].*[>\])}|｜]", re.DOTALL)
"""What a control token looks like that the tokenizer does not list as special."""

_FORBIDDEN = "messages must not contain the model's control token {!r}"

Message = Mapping[str, Any]


class ChatRefused(Exception):
    """Raised when a chat cannot be rendered or tokenized.

    Args:
        why: a message for the caller.
        code: a code for programs: ``chat_template``, ``role_not_supported``, ``control_token``.
        place: the index of the message at fault, if there is a single one.
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
        added = getattr(tokenizer, "added_tokens_decoder", {})
        self.names = [str(token).strip() for n, token in added.items() if n in self.ids]
        self._plain: _PlainText | None = None
        self._marked: Any = None

    def encode(self, text: str, plain: str = "") -> list[int]:
        """Encode a text in which control tokens are recognised, except those in ``plain``."""
        if plain and plain in text:
            return self.encode_marked(text.replace(plain, _marker(0)), {_marker(0): plain})
        ids: list[int] = self.tokenizer.encode(
            text, add_special_tokens=False, split_special_tokens=False
        )
        return ids

    def leading_special(self, text: str) -> int | None:
        """Return the id of the special token that a text begins with; None if there is none."""
        names = [name for name in self.special if text.startswith(name)]
        return self.special[max(names, key=len)] if names else None

    def only_controls(self, ids: Sequence[int]) -> list[int]:
        """Return those of the token ids that are control tokens, in order."""
        return [token for token in ids if token in self.ids]

    def spelled_controls(self, text: str) -> list[str]:
        """Return the parts of a text that would become control tokens, if it were encoded alone.

        Raises:
            ChatRefused: there are some, and this tokenizer does not report their positions (it has
                no ``tokenizers`` backend).
        """
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None and self.only_controls(self.encode(text)):
            raise ChatRefused(_FORBIDDEN.format(text), "control_token")
        if backend is None:
            return []
        backend.encode_special_tokens = False
        encoding = backend.encode(text, add_special_tokens=False)
        tokens = zip(encoding.ids, encoding.offsets, strict=True)
        return [text[begin:end] for token, (begin, end) in tokens if token in self.ids]

    def encode_marked(self, text: str, markers: Mapping[str, str]) -> list[int]:
        """Encode a text in which markers stand for parts that must be encoded as ordinary text.

        Args:
            text: the text; control tokens in it are recognised.
            markers: for each marker, the text that it stands for.

        Raises:
            ChatRefused: the tokenizer cannot encode a part as ordinary text.
        """
        self._prepare()
        assert self._plain is not None
        ids: list[int] = self._marked.encode(text, add_special_tokens=False).ids
        parts = {self._marked.token_to_id(marker): part for marker, part in markers.items()}
        encoded: list[int] = []
        for token in ids:
            if token not in parts:
                encoded.append(token)
                continue
            plain = self._plain.encode_continuation(parts[token])
            if self.only_controls(plain):
                raise ChatRefused(_FORBIDDEN.format(parts[token]), "control_token")
            encoded += plain
        return encoded

    def _prepare(self) -> None:
        """Build two encoders on first use, as this takes seconds for a large vocabulary."""
        if self._plain is not None:
            return
        backend = self.tokenizer.backend_tokenizer
        from tokenizers import AddedToken, Tokenizer

        state = json.loads(backend.to_str())
        state |= {"truncation": None, "padding": None}
        for token in state["added_tokens"]:
            token["special"] = token["special"] or token["id"] in self.ids
        plain, self._marked = (Tokenizer.from_str(json.dumps(state)) for _ in range(2))
        plain.encode_special_tokens = True
        self._plain = _PlainText(self.tokenizer, plain)
        self._marked.add_special_tokens(
            [AddedToken(_marker(n), special=True, normalized=False) for n in range(MAX_MARKERS)]
        )


class _PlainText(TokenText):
    """A ``TokenText`` that encodes names of control tokens as ordinary text."""

    def __init__(self, tokenizer: Any, plain: Any) -> None:
        super().__init__(tokenizer)
        self._plain = plain

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        return ids


_KNOWN: WeakKeyDictionary[Any, ControlTokens] = WeakKeyDictionary()


def control_tokens(tokenizer: Any) -> ControlTokens:
    """Return the control tokens of a tokenizer (cached)."""
    if tokenizer not in _KNOWN:
        _KNOWN[tokenizer] = ControlTokens(tokenizer)
    return _KNOWN[tokenizer]


@dataclass
class RenderedChat:
    """A rendered chat; the model's answer continues its text."""

    tokenizer: Any
    messages: list[dict[str, Any]]
    """The messages as rendered, with roles that the template knows."""
    text: str
    neutral: str | None
    """The rendering with placeholders; None if the template rejects them."""
    _ids: list[int] | None = field(default=None, init=False)

    def tokens(self) -> list[int]:
        """Return the tokens of the chat. Call this only in the thread that uses the tokenizer.

        Raises:
            ChatRefused: the text of a message can only be encoded with a control token.
        """
        if self._ids is None:
            self._ids = self._encode()
        return self._ids

    def _encode(self) -> list[int]:
        control = control_tokens(self.tokenizer)
        ids = control.encode(self.text)
        expected = None
        if self.neutral is not None:
            expected = control.only_controls(control.encode(self.neutral))
        if control.only_controls(ids) == expected:
            return ids
        texts = _strings(self.messages)
        parts = list(dict.fromkeys(p for text in texts for p in control.spelled_controls(text)))
        if expected is None and not parts:
            return ids
        # Some tokenizers find a control token only next to other text (Llama 2's normalizer adds
        # "▁" in front), so in a second attempt all names of control tokens are ordinary text.
        names = [name for name in control.names if name and any(name in t for t in texts)]
        for attempt in (parts, list(dict.fromkeys(parts + names))):
            encoded = self._encode_as_text(attempt) if 0 < len(attempt) <= MAX_MARKERS else None
            if encoded is not None and expected in (None, control.only_controls(encoded)):
                return encoded
        part = max(parts, key=len, default="...")
        raise ChatRefused(_FORBIDDEN.format(part), "control_token")

    def _encode_as_text(self, parts: Sequence[str]) -> list[int] | None:
        """Encode the chat with these parts of messages as ordinary text; None if that fails."""
        markers = {part: _marker(n) for n, part in enumerate(parts)}
        pattern = re.compile("|".join(map(re.escape, sorted(parts, key=len, reverse=True))))
        marked = _render(
            _changed(self.messages, lambda text: pattern.sub(lambda m: markers[m[0]], text)),
            self.tokenizer,
        )
        part_of = {marker: part for part, marker in markers.items()}
        restored = re.sub("|".join(map(re.escape, part_of)), lambda m: part_of[m[0]], marked)
        if restored != self.text:
            return None
        return control_tokens(self.tokenizer).encode_marked(marked, part_of)


def render_chat(messages: Sequence[Message], tokenizer: Any) -> RenderedChat:
    """Render messages with the tokenizer's template.

    If the template does not know the role ``developer``, such a message is rendered as ``system``.
    If it drops tool results, they are rendered as ``user`` messages. If roles must alternate,
    neighbouring messages that get the same role in this way are joined.

    Args:
        messages: messages as ``apply_chat_template`` takes them: ``role``, ``content`` (a text) and
            optionally ``name``, ``tool_calls``, ``tool_call_id``.
        tokenizer: a tokenizer with a chat template.

    Raises:
        ChatRefused: the template rejects the messages, or drops one of them under every role.
    """
    failure: ChatRefused | None = None
    knows = "developer" in str(tokenizer.chat_template)
    for mapped in _role_mappings([dict(message) for message in messages], knows):
        try:
            text = _render(mapped, tokenizer)
        except ChatRefused as error:
            failure = failure or error
            continue
        placeholders = [_Placeholders(place) for place in range(len(mapped))]
        neutral = None
        with suppress(ChatRefused):  # a template that checks contents may reject placeholders
            neutral = _render(
                [_changed(m, words) for m, words in zip(mapped, placeholders, strict=True)],
                tokenizer,
            )
        dropped = _first_dropped(mapped, placeholders, neutral, text)
        if dropped is None:
            return RenderedChat(tokenizer, mapped, text, neutral)
        if failure is not None and len(mapped) < len(messages):
            continue  # messages were joined, so the index is not the caller's
        role = messages[dropped]["role"]
        why = f"the model's chat template drops a message with the role {role!r} here"
        failure = ChatRefused(why, "role_not_supported", dropped)
    assert failure is not None
    raise failure


def _role_mappings(messages: list[dict[str, Any]], knows: bool) -> Iterator[list[dict[str, Any]]]:
    """Yield mappings of roles to try; ``knows`` is True if the template mentions ``developer``."""
    roles = {str(message["role"]) for message in messages}
    as_system = [m | {"role": "system"} if m["role"] == "developer" else m for m in messages]
    yield messages if knows else as_system
    if "developer" in roles:
        yield as_system if knows else messages
    if "tool" in roles or any(message.get("tool_calls") for message in messages):
        for mapped in (messages, as_system) if knows else (as_system, messages):
            yield [_without_tools(message) for message in mapped]
        # Tool results and the user's next message may now be neighbours of the same role.
        yield _joined([_without_tools(message) for message in as_system])
    elif "developer" in roles:
        yield _joined(as_system)


def _joined(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join neighbouring messages of the same role, for templates whose roles must alternate."""
    joined: list[dict[str, Any]] = []
    for message in messages:
        if joined and joined[-1]["role"] == message["role"]:
            contents = [str(joined[-1]["content"]), str(message["content"])]
            joined[-1] = joined[-1] | {"content": "\n\n".join(filter(str.strip, contents))}
        else:
            joined.append(message)
    return joined


def _without_tools(message: dict[str, Any]) -> dict[str, Any]:
    """Convert a tool call or tool result to plain text, for a template without tools."""
    content = str(message["content"])
    if message["role"] == "tool":
        return {"role": "user", "content": content}
    calls = message.get("tool_calls")
    if not calls:
        return message
    lines = [json.dumps(call["function"], ensure_ascii=False) for call in calls]
    lines = [content, *lines] if content.strip() else lines
    return {"role": message["role"], "content": "\n".join(lines)}


def _first_dropped(
    messages: Sequence[Message],
    placeholders: Sequence[_Placeholders],
    neutral: str | None,
    text: str,
) -> int | None:
    """Return the index of the first message that the rendering does not fully contain."""
    for place, message in enumerate(messages):
        parts = [str(message["content"])]
        parts += [str(call["function"]["name"]) for call in message.get("tool_calls") or ()]
        for part in filter(str.strip, parts):
            is_rendered = (
                part.strip() in text if neutral is None else placeholders[place](part) in neutral
            )
            if not is_rendered:
                return place
    return None


class _Placeholders:
    """Replaces the texts of one message: equal texts by equal placeholders, blank ones by none."""

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
        raise ChatRefused(f"the chat template rejects them: {error}", "chat_template") from error


def _changed(value: Any, change: Callable[[str], str], key: str = "") -> Any:
    """Copy messages, applying ``change`` to all texts of the caller, but not to roles and types."""
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
    """Return all texts of the caller in messages."""
    texts: list[str] = []

    def collect(text: str) -> str:
        texts.append(text)
        return text

    _changed(messages, collect)
    return texts


def _marker(number: int) -> str:
    """Return a marker between private-use characters, which texts do not contain."""
    return f"\ue000{NONCE}.{number}\ue001"


def _special(tokenizer: Any) -> dict[str, int]:
    added = getattr(tokenizer, "added_tokens_decoder", {})
    named = zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True)
    return {str(t): n for n, t in added.items() if t.special} | {str(t): n for t, n in named}


def _control_ids(tokenizer: Any) -> set[int]:
    ids = set(tokenizer.all_special_ids)
    added = getattr(tokenizer, "added_tokens_decoder", {})
    ids |= {n for n, t in added.items() if t.special or _CONTROL_PATTERN.fullmatch(str(t).strip())}
    # This token stands for unknown characters; it is no control token unless it has such a role.
    unknown = getattr(tokenizer, "unk_token_id", None)
    steering = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    return ids - {unknown} if unknown not in steering else ids
