from .body import MASKED, EncoderBody, EncoderLayer, EncoderShape, KeysValues, attention_bias
from .bytes import SCALE, dequantised, quantised
from .start import body_of, encoder_folder, load_bert, shape_of_bert
from .texts import PieceReader, mean_states, text_vectors

__all__ = [
    "MASKED",
    "SCALE",
    "EncoderBody",
    "EncoderLayer",
    "EncoderShape",
    "KeysValues",
    "PieceReader",
    "attention_bias",
    "body_of",
    "dequantised",
    "encoder_folder",
    "load_bert",
    "mean_states",
    "quantised",
    "shape_of_bert",
    "text_vectors",
]
