"""How a change of weights travels between processes: tensors to bytes, and back.

    codec = codec_by_name("int4")
    data = codec.encode(delta)                # bytes of a safetensors file; no pickle anywhere
    delta = codec.decode(data, shapes_of(weights))

A ``Codec`` decides the precision: ``f32``, ``f16``, ``bf16``, ``int8`` and ``int4`` with a scale
for each block, or ``topk``, which sends the largest changes only. All that is needed to decode is
in the bytes (scales, positions, names, shapes), so their length is what a transfer costs.
``ErrorFeedback`` keeps what a codec lost and adds it to the next delta. A receiver passes the
shapes that it expects; anything else is refused before it can reach a model.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
