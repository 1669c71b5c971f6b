from .folders import FolderPrecision, write_safetensors
from .int8 import (
    Int8,
    Int8Record,
    check_int8,
    quantization_aware,
    quantize_int8,
    quantized_matrices,
)
from .onnx_export import OnnxPrecision, check_onnx, write_onnx
from .onnx_model import OnnxModel, is_onnx, open_local, open_onnx
from .tensors import distinct_bytes, distinct_tensors, stored_bytes

__all__ = [
    "FolderPrecision",
    "Int8",
    "Int8Record",
    "OnnxModel",
    "OnnxPrecision",
    "check_int8",
    "check_onnx",
    "distinct_bytes",
    "distinct_tensors",
    "is_onnx",
    "open_local",
    "open_onnx",
    "quantization_aware",
    "quantize_int8",
    "quantized_matrices",
    "stored_bytes",
    "write_onnx",
    "write_safetensors",
]
