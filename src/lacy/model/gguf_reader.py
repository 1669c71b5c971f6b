"""Read the header of a GGUF file fast, and once.

The package ``gguf`` reads each entry of an array by several slices of a memory map, which takes
half a minute for a vocabulary of 262,144 tokens, and ``transformers`` does so several times per
model. ``read_header`` reads an array of numbers at once and walks through strings without the
memory map; ``shared_header`` lets ``transformers`` use the header that was read already.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


def read_header(file: Path) -> Any:
    """Return a ``gguf.GGUFReader`` of a file, with the same fields and tensors."""
    import gguf

    class Reader(gguf.GGUFReader):
        """A reader that does not read arrays entry by entry."""

        def _get_field_parts(self, orig_offs: int, raw_type: int) -> Any:
            if raw_type != gguf.GGUFValueType.ARRAY:
                return super()._get_field_parts(orig_offs, raw_type)
            kind_part = self._get(orig_offs, np.uint32)
            count_part = self._get(orig_offs + kind_part.nbytes, np.uint64)
            kind, count = gguf.GGUFValueType(int(kind_part[0])), int(count_part[0])
            begin = orig_offs + kind_part.nbytes + count_part.nbytes
            if kind == gguf.GGUFValueType.STRING:
                parts, end = self._strings(begin, count)
                places = list(range(3, len(parts) + 2, 2))  # lengths and texts alternate
            elif (scalar := self.gguf_scalar_to_np.get(kind)) is not None:
                values = np.asarray(self._get(begin, scalar, count))
                if len(values) < count:
                    raise ValueError(f"the file ends within an array of {count} numbers")
                parts, end = list(values[:, None]), begin + values.nbytes
                places = list(range(2, len(parts) + 2))
            else:
                return super()._get_field_parts(orig_offs, raw_type)
            types = [gguf.GGUFValueType.ARRAY, *[kind] * bool(count)]
            return end - orig_offs, [kind_part, count_part, *parts], places, types

        def _strings(self, begin: int, count: int) -> tuple[list[Any], int]:
            """Return lengths and texts of strings as arrays, alternating, and where they end."""
            number = np.dtype(np.uint64).newbyteorder(self.byte_order)
            order: Any = {gguf.GGUFEndian.LITTLE: "little", gguf.GGUFEndian.BIG: "big"}
            order = order[self.endianess]
            data: Any = np.asarray(self.data)
            raw, place, size = memoryview(data), begin, len(data)
            parts: list[Any] = []
            for _ in range(count):
                text = place + 8
                end = text + int.from_bytes(raw[place:text], order)
                if end > size:
                    raise ValueError(f"the file ends within an array of {count} texts")
                parts += (data[place:text].view(number), data[text:end])
                place = end
            return parts, place

    return Reader(file)


@contextlib.contextmanager
def shared_header(reader: Any) -> Iterator[None]:
    """Within the context, ``gguf.GGUFReader`` returns this header instead of reading one.

    The model's name is left out: ``transformers`` takes a Llama named "mistral" for another
    architecture, which its reader then does not know.
    """
    import gguf

    original, name = gguf.GGUFReader, reader.fields.pop("general.name", None)
    gguf.GGUFReader = lambda *_: reader
    try:
        yield
    finally:
        gguf.GGUFReader = original
        if name is not None:
            reader.fields["general.name"] = name
