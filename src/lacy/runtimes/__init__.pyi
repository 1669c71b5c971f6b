from .folders import FolderPrecision, write_safetensors
from .int8 import Int8, Int8Record, quantization_aware, quantize_int8, quantized_matrices
from .tensors import distinct_bytes, distinct_tensors, stored_bytes

__all__ = [
    "FolderPrecision",
    "Int8",
    "Int8Record",
    "distinct_bytes",
    "distinct_tensors",
    "quantization_aware",
    "quantize_int8",
    "quantized_matrices",
    "stored_bytes",
    "write_safetensors",
]
