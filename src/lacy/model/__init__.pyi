from .building import add_call, build_model, from_checkpoint
from .cache import keeps_keys_and_values, new_cache
from .decode import Decoder, context_of
from .ends import end_ids
from .files import INDEX, ONNX, WEIGHTS, check_complete, damaged_model, newest_complete
from .fingerprint import FINGERPRINT, model_fingerprint
from .forward import (
    Gate,
    forbid_call,
    freeze_biases,
    gate_of,
    has_plain_head,
    head_inputs,
    head_weight,
    hidden_states,
    layer_states,
    positions,
    probe,
    relative_error,
    set_call_row,
    set_gate,
    set_taught,
    taught_to_call,
)
from .gguf import GgufPrecision, check_gguf, write_gguf
from .gguf_blocks import (
    BLOCK,
    BLOCK_TYPES,
    BlockKind,
    BlockMatrix,
    BlockType,
    nearest_codes,
    values_of,
)
from .gguf_shapes import shape_of
from .io import (
    META,
    Loaded,
    load_beside,
    load_model,
    require_context,
    save_model,
    write_beside,
    write_model,
)
from .likelihood import without_call
from .naming import SHORT_NAMES, resolve
from .origin import ORIGIN, from_scratch, origin_of
from .partial import PartialHead, partial_head
from .precision import Precision, bf16_is_fast, set_precision
from .presets import PRESETS, Memory, Preset, get_preset, preset_names, training_memory
from .quantized import plain_parts, quantization_of, require_unquantized
from .recompute import RecomputingDecoder, decodes_from_cache, new_decoder
from .text_head import TextHead, read_head
from .trees import takes_trees
from .weights import read_model

__all__ = [
    "BLOCK",
    "BLOCK_TYPES",
    "FINGERPRINT",
    "INDEX",
    "META",
    "ONNX",
    "ORIGIN",
    "PRESETS",
    "SHORT_NAMES",
    "WEIGHTS",
    "BlockKind",
    "BlockMatrix",
    "BlockType",
    "Decoder",
    "Gate",
    "GgufPrecision",
    "Loaded",
    "Memory",
    "PartialHead",
    "Precision",
    "Preset",
    "RecomputingDecoder",
    "TextHead",
    "add_call",
    "bf16_is_fast",
    "build_model",
    "check_complete",
    "check_gguf",
    "context_of",
    "damaged_model",
    "decodes_from_cache",
    "end_ids",
    "forbid_call",
    "freeze_biases",
    "from_checkpoint",
    "from_scratch",
    "gate_of",
    "get_preset",
    "has_plain_head",
    "head_inputs",
    "head_weight",
    "hidden_states",
    "keeps_keys_and_values",
    "layer_states",
    "load_beside",
    "load_model",
    "model_fingerprint",
    "nearest_codes",
    "new_cache",
    "new_decoder",
    "newest_complete",
    "origin_of",
    "partial_head",
    "plain_parts",
    "positions",
    "preset_names",
    "probe",
    "quantization_of",
    "read_head",
    "read_model",
    "relative_error",
    "require_context",
    "require_unquantized",
    "resolve",
    "save_model",
    "set_call_row",
    "set_gate",
    "set_precision",
    "set_taught",
    "shape_of",
    "takes_trees",
    "taught_to_call",
    "training_memory",
    "values_of",
    "without_call",
    "write_beside",
    "write_gguf",
    "write_model",
]
