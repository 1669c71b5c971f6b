"""Mark a whole corpus in batches and several processes; the marks are stored in shards.

A folder of marks contains ``marks.json`` (the manifest: settings, counts, one entry per shard) and
the shards ``shard-00000.jsonl`` and so on. Each line of a shard holds a document's id, a digest of
its text, and its marks (null if marking took too long). Texts are not copied; ``attach_marks`` adds
the marks to the documents of the same source and raises an error if that source has changed. An
interrupted run resumes after its last complete shard.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from lacy._children import end_with_parent
from lacy._garbage import collect_garbage_less
from lacy._parse import parse_json
from lacy.annotate.protocol import Annotator, annotator_settings, validated_marks
from lacy.disk import lock
from lacy.errors import LacyError
from lacy.run import write_atomic
from lacy.types import Document, Mark

TextMarks = list[Mark] | None
"""The marks of a text; None if marking it took too long."""

MANIFEST = "marks.json"
FORMAT = 1


@dataclass
class Shard:
    """Manifest entry of a shard: numbers of documents and marks, and a digest of the texts."""

    documents: int
    marks: int
    source: str


@dataclass
class Manifest:
    """The content of ``marks.json``, which describes a folder of marks."""

    settings: dict[str, Any]
    shard_size: int
    complete: bool = False
    shards: list[Shard] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)
    slow: list[str] = field(default_factory=list)
    """Ids of the documents without marks because marking took too long (E50)."""
    format: int = FORMAT

    @property
    def documents(self) -> int:
        """Number of documents stored so far."""
        return sum(shard.documents for shard in self.shards)

    @property
    def fingerprint(self) -> str:
        """Return a digest of all texts in order."""
        return _digest("".join(shard.source for shard in self.shards))


def annotate_documents(
    documents: Iterable[Document],
    annotator: Annotator,
    folder: str | Path,
    *,
    shard_size: int = 1000,
    batch_size: int = 64,
    n_process: int = 1,
    total: int | None = None,
    progress: bool = True,
) -> Manifest:
    """Mark documents and store the marks, resuming where an earlier call stopped.

    Args:
        documents: read as a stream, in the same order at every call.
        annotator: if it has ``uses_subjects``, it also gets ``meta["title"]``.
        folder: where the marks are stored; created if needed.
        shard_size: documents per shard.
        batch_size: documents per call of the annotator.
        n_process: worker processes. They are spawned and get a pickled copy of the annotator, so
            a script must start its work under ``if __name__ == "__main__"``.
        total: number of documents, for the progress bar; by default ``len(documents)``.
        progress: show a progress bar on a terminal.

    Returns:
        The manifest.

    Raises:
        LacyError: E33, the folder has marks that were made with other settings; E34, the documents
            differ from those of the finished shards; E36, a worker died; E31, the annotator's marks
            are invalid; E150, another process is using the folder. Finished shards stay usable in
            every case.
    """
    folder = Path(folder)
    if total is None and isinstance(documents, Sized):
        total = len(documents)
    stream = iter(documents)
    with ExitStack() as stack:
        stack.enter_context(lock(folder))
        manifest = _open_manifest(folder, annotator_settings(annotator), shard_size)
        tick = stack.enter_context(_progress_bar(total, progress))
        for shard in manifest.shards:
            _skip_shard(stream, shard, folder, tick)
        chunk = list(islice(stream, shard_size))
        if chunk:
            ask = stack.enter_context(_Workers(annotator, batch_size, n_process))
        while chunk:
            _store_shard(folder, manifest, chunk, ask(chunk, tick))
            chunk = list(islice(stream, shard_size))
        if not manifest.complete:
            manifest.complete = True
            _write_manifest(folder, manifest)
    return manifest


def load_manifest(folder: str | Path) -> Manifest:
    """Read a folder's manifest.

    Raises:
        LacyError: E37, there is none, or it is not readable.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise LacyError("E37", folder=folder, why=f"no {MANIFEST} there")
    try:
        raw = parse_json(path.read_text(encoding="utf-8"))
        shards = [Shard(**shard) for shard in raw.pop("shards")]
        raw.pop("fingerprint", None)
        manifest = Manifest(**raw, shards=shards)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise LacyError("E37", folder=folder, why=f"{MANIFEST} is damaged ({error})") from error
    if manifest.format != FORMAT:
        raise LacyError("E37", folder=folder, why=f"format {manifest.format} is not {FORMAT}")
    return manifest


def attach_marks(documents: Iterable[Document], folder: str | Path) -> Iterator[Document]:
    """Yield the documents with their stored marks; skip those that took too long to mark.

    Args:
        documents: the same source, in the same order, as was annotated.
        folder: written by ``annotate_documents``.

    Raises:
        LacyError: E37, there are no marks, or the annotation is not finished; E34, a document is
            not the one that was annotated.
    """
    manifest = load_manifest(folder)
    if not manifest.complete:
        why = f"annotation stopped after {manifest.documents} documents"
        raise LacyError("E37", folder=folder, why=why)
    lines = _stored_lines(Path(folder), manifest)
    number = 0
    for number, document in enumerate(documents, 1):
        line = next(lines, None)
        if line is None:
            why = f"there are more than {number - 1} documents now"
            raise LacyError("E34", folder=folder, why=why)
        if line["id"] != document.id or line["text"] != _digest(document.text):
            why = f"document {number} ({document.id!r}) is not the one that was annotated"
            raise LacyError("E34", folder=folder, why=why)
        if line["marks"] is not None:
            marks = tuple(Mark(*values) for values in line["marks"])
            yield replace(document, marks=marks)
    if next(lines, None) is not None:
        why = f"there are only {number} documents now, {manifest.documents} were annotated"
        raise LacyError("E34", folder=folder, why=why)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _shard_path(folder: Path, number: int) -> Path:
    return folder / f"shard-{number:05d}.jsonl"


def _texts_digest(documents: Iterable[Document]) -> str:
    return _digest("".join(f"{document.id}\0{_digest(document.text)}\n" for document in documents))


def _open_manifest(folder: Path, settings: dict[str, Any], shard_size: int) -> Manifest:
    """Return the manifest of an earlier call with the same settings, or a new one."""
    settings = json.loads(json.dumps(settings))  # compare as stored: JSON turns tuples into lists
    if not (folder / MANIFEST).exists():
        return Manifest(settings, shard_size)
    manifest = load_manifest(folder)
    changed = [*_changes(manifest.settings, settings)]
    if manifest.shard_size != shard_size:
        changed.append(f"shard_size: {manifest.shard_size} -> {shard_size}")
    if changed:
        raise LacyError("E33", folder=folder, changed="; ".join(changed))
    return manifest


def _changes(old: Any, new: Any, name: str = "") -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from _changes(old.get(key), new.get(key), f"{name}.{key}" if name else key)
    elif old != new:
        yield f"{name}: {old!r} -> {new!r}"


def _skip_shard(
    stream: Iterator[Document], shard: Shard, folder: Path, tick: Callable[[int], None]
) -> None:
    """Skip the documents of a finished shard; raise E34 if they differ from the annotated ones."""
    chunk = list(islice(stream, shard.documents))
    if len(chunk) < shard.documents or _texts_digest(chunk) != shard.source:
        first = chunk[0].id if chunk else "none"
        why = f"the {shard.documents} documents from {first!r} on have changed"
        raise LacyError("E34", folder=folder, why=why)
    tick(len(chunk))


def _store_shard(
    folder: Path, manifest: Manifest, documents: Sequence[Document], marks: Sequence[TextMarks]
) -> None:
    """Write a shard, then the manifest; a crash between the two loses only this shard."""
    lines = []
    for document, found in zip(documents, marks, strict=True):
        if found is None:
            manifest.slow.append(document.id)
        rows = None if found is None else [_mark_row(mark) for mark in found]
        line = {"id": document.id, "text": _digest(document.text), "marks": rows}
        lines.append(json.dumps(line, separators=(",", ":")) + "\n")
        for mark in found or ():
            manifest.reasons[mark.reason] = manifest.reasons.get(mark.reason, 0) + 1
    write_atomic(_shard_path(folder, len(manifest.shards)), "".join(lines))
    count = sum(len(found or ()) for found in marks)
    manifest.shards.append(Shard(len(documents), count, _texts_digest(documents)))
    _write_manifest(folder, manifest)


def _mark_row(mark: Mark) -> list[Any]:
    row = [mark.start, mark.end, mark.reason, mark.relation, mark.label]
    while row[-1] is None:
        row.pop()
    return row


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    content = {**asdict(manifest), "fingerprint": manifest.fingerprint}
    write_atomic(folder / MANIFEST, json.dumps(content, indent=1) + "\n")


def _stored_lines(folder: Path, manifest: Manifest) -> Iterator[dict[str, Any]]:
    for number, shard in enumerate(manifest.shards):
        path = _shard_path(folder, number)
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            if len(lines) != shard.documents:
                raise ValueError(f"{len(lines)} lines, not {shard.documents}")
            yield from map(parse_json, lines)
        except (OSError, ValueError) as error:
            why = f"{path.name} is damaged ({error})"
            raise LacyError("E37", folder=folder, why=why) from error


_worker: Annotator | None = None


def _start_worker(annotator: Annotator) -> None:
    global _worker
    _worker = annotator
    end_with_parent()
    collect_garbage_less()


def _annotate_in_worker(texts: Sequence[str], subjects: Sequence[str | None]) -> list[TextMarks]:
    assert _worker is not None
    return _annotate(_worker, texts, subjects)


def _annotate(
    annotator: Annotator, texts: Sequence[str], subjects: Sequence[str | None]
) -> list[TextMarks]:
    """Return the marks of each text; if a batch takes too long, try its texts one by one."""
    try:
        if getattr(annotator, "uses_subjects", False):
            marks = annotator.annotate(texts, subjects)  # type: ignore[call-arg]
        else:
            marks = annotator.annotate(texts)
    except LacyError as error:
        if error.code != "E50":
            raise
        if len(texts) == 1:
            return [None]
        pairs = zip(texts, subjects, strict=True)
        return [found for t, s in pairs for found in _annotate(annotator, [t], [s])]
    return [*validated_marks(texts, marks, annotator.name)]


class _Workers:
    """Calls the annotator batch by batch, in this process or in worker processes."""

    def __init__(self, annotator: Annotator, batch_size: int, n_process: int) -> None:
        self.annotator = annotator
        self.batch_size = batch_size
        self.pool: ProcessPoolExecutor | None = None
        if n_process > 1:
            self.pool = ProcessPoolExecutor(
                n_process, get_context("spawn"), initializer=_start_worker, initargs=(annotator,)
            )

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *failure: object) -> None:
        if self.pool is not None:
            self.pool.shutdown(wait=True, cancel_futures=True)

    def __call__(
        self, documents: Sequence[Document], tick: Callable[[int], None]
    ) -> list[TextMarks]:
        batches = []
        for start in range(0, len(documents), self.batch_size):
            batch = documents[start : start + self.batch_size]
            batches.append(([d.text for d in batch], [d.meta.get("title") for d in batch]))
        marks: list[TextMarks] = []
        if self.pool is None:
            for texts, subjects in batches:
                marks += _annotate(self.annotator, texts, subjects)
                tick(len(texts))
            return marks
        try:
            futures: list[Future[list[TextMarks]]] = [
                self.pool.submit(_annotate_in_worker, texts, subjects)
                for texts, subjects in batches
            ]
            for future in futures:
                found = future.result()
                marks += found
                tick(len(found))
        except BrokenProcessPool as error:
            raise LacyError("E36", why=str(error)) from error
        return marks


@contextmanager
def _progress_bar(total: int | None, shown: bool) -> Iterator[Callable[[int], None]]:
    """Show a progress bar with the time left on a terminal; yield a function that advances it."""
    from rich import progress as rp
    from rich.console import Console

    console = Console(stderr=True)
    with rp.Progress(
        rp.TextColumn("annotating"), rp.BarColumn(), rp.MofNCompleteColumn(),
        rp.TimeElapsedColumn(), rp.TextColumn("left"), rp.TimeRemainingColumn(),
        console=console, disable=not (shown and console.is_terminal),
    ) as bar:  # fmt: skip
        yield partial(bar.advance, bar.add_task("annotating", total=total))
