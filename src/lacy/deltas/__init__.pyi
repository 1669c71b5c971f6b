from .blocks import BlockCodec
from .by_name import CODECS, codec_by_name
from .codec import Codec
from .feedback import ErrorFeedback
from .frame import Shapes, require_fits, shapes_of
from .mean import RunningMean
from .plain import PlainCodec
from .topk import TopKCodec

__all__ = [
    "CODECS",
    "BlockCodec",
    "Codec",
    "ErrorFeedback",
    "PlainCodec",
    "RunningMean",
    "Shapes",
    "TopKCodec",
    "codec_by_name",
    "require_fits",
    "shapes_of",
]
