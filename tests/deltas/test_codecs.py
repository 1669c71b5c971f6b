"""Codecs against slow references, properties over varied input, and messages that are refused."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from lacy.deltas import (
    BlockCodec,
    PlainCodec,
    TopKCodec,
    codec_by_name,
    require_fits,
    shapes_of,
)
from lacy.errors import LacyError

NAMES = ("f32", "f16", "bf16", "int8", "int4", "int4/8", "int8/256", "topk", "topk/0.3", "topk/1")


@st.composite
def deltas(draw):
    """A few tensors of any shape, with magnitudes from tiny to large."""
    shapes = draw(
        st.lists(st.lists(st.integers(1, 40), max_size=2).map(tuple), min_size=1, max_size=3)
    )
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale = 10.0 ** draw(st.integers(-30, 3))
    kinds = (torch.float32, torch.float64)
    dtype = draw(st.sampled_from(kinds))
    return {
        f"layer.{number}": torch.randn(shape, generator=generator, dtype=dtype) * scale
        for number, shape in enumerate(shapes)
    }


def large(seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"body.weight": (90, 100), "norm": (33,), "scalar": ()}
    return {name: torch.randn(shape, generator=generator) * 1e-3 for name, shape in shapes.items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_codec_is_found_by_its_own_name(name):
    codec = codec_by_name(name)
    assert codec_by_name(codec.name) == codec


@pytest.mark.parametrize(
    "name",
    ["f64", "", "int4/7", "int4/9", "int4/x", "int4/", "topk/0", "topk/2", "topk/nan", "f32/2"],
)
def test_other_names_are_refused(name):
    with pytest.raises(LacyError, match="E357"):
        codec_by_name(name)


# ----------------------------------------------------------------------------- what is lost


@settings(deadline=None, max_examples=40)
@given(deltas())
def test_f32_loses_nothing_and_the_others_stay_within_their_precision(delta):
    for name, relative in (("f32", 0.0), ("bf16", 2.0**-8)):
        back = PlainCodec(name).decode(PlainCodec(name).encode(delta), shapes_of(delta))
        for key, tensor in delta.items():
            error = (back[key] - tensor.float()).abs()
            assert (error <= relative * tensor.float().abs()).all()


@settings(deadline=None, max_examples=40)
@given(deltas(), st.sampled_from([8, 4]), st.sampled_from([8, 64]))
def test_the_error_of_a_block_is_at_most_half_a_level(delta, bits, block):
    codec = BlockCodec(bits, block)
    back = codec.decode(codec.encode(delta), shapes_of(delta))
    level = 2 ** (bits - 1) - 1
    for key, tensor in delta.items():
        flat, found = tensor.float().flatten(), back[key].flatten()
        for first in range(0, len(flat), block):
            part = slice(first, first + block)
            most = 0.5 * float(flat[part].abs().max()) / level
            # The scale is a bfloat16 number, rounded up.
            assert float((flat[part] - found[part]).abs().max()) <= most * (1 + 2**-7) + 1e-40


def test_blocks_equal_a_loop():
    delta, block, level = large(), 8, 7
    back = BlockCodec(4, block).decode(BlockCodec(4, block).encode(delta), shapes_of(delta))
    for key, tensor in delta.items():
        flat = tensor.flatten().tolist()
        slow = []
        for first in range(0, len(flat), block):
            values = flat[first : first + block]
            largest = max(abs(v) for v in values)
            scale = torch.tensor(largest / level).bfloat16().item()
            if scale * level < largest:  # the next bfloat16
                scale += 2.0 ** (math.frexp(scale)[1] - 8)
            slow += [scale * max(-level, min(level, round(v / scale))) for v in values]
        assert torch.allclose(back[key].flatten(), torch.tensor(slow), rtol=1e-6, atol=0)


def test_topk_equals_a_loop():
    delta = large()
    codec = TopKCodec(0.05)
    back = codec.decode(codec.encode(delta), shapes_of(delta))
    for key, tensor in delta.items():
        flat, slow = tensor.flatten().tolist(), []
        for first in range(0, len(flat), 4096):
            chunk = flat[first : first + 4096]
            count = max(1, round(len(chunk) * 0.05))
            order = sorted(range(len(chunk)), key=lambda n: -abs(chunk[n]))[:count]
            sizes = [abs(chunk[n]) for n in order]
            mean = sum(sizes) / count
            upper = [s for s in sizes if s > mean]
            lower = [s for s in sizes if s <= mean]
            high = sum(upper) / len(upper) if upper else sum(lower) / len(lower)
            low, high = (torch.tensor(v).bfloat16().item() for v in (sum(lower) / len(lower), high))
            out = [0.0] * len(chunk)
            for n in order:
                size = high if abs(chunk[n]) > (low + high) / 2 else low
                out[n] = math.copysign(size, chunk[n])
            slow += out
        assert torch.equal(back[key].flatten(), torch.tensor(slow))


@settings(deadline=None, max_examples=25)
@given(deltas(), st.sampled_from([0.01, 0.3, 1.0]))
def test_topk_keeps_signs_and_no_more_than_its_share(delta, density):
    codec = TopKCodec(density)
    back = codec.decode(codec.encode(delta), shapes_of(delta))
    for key, tensor in delta.items():
        assert (back[key] * tensor.float() >= 0).all()
        assert int((back[key] != 0).sum()) <= max(1, round(tensor.numel() * density))


@pytest.mark.parametrize("name", NAMES)
def test_zeros_stay_zeros(name):
    codec, zeros = codec_by_name(name), {"w": torch.zeros(70, 3), "s": torch.zeros(())}
    back = codec.decode(codec.encode(zeros), shapes_of(zeros))
    assert all((tensor == 0).all() for tensor in back.values())
    assert shapes_of(back) == shapes_of(zeros)


# ------------------------------------------------------------------------------------- bytes


@pytest.mark.parametrize("name", NAMES)
def test_the_size_is_known_before_the_values_and_counts_everything(name):
    codec, delta = codec_by_name(name), large()
    data = codec.encode(delta)
    assert len(data) == codec.size(shapes_of(delta))
    parts = load(data)  # any safetensors reader opens it
    assert len(data) >= sum(part.numel() * part.element_size() for part in parts.values())


def test_bits_per_value_of_a_million_values():
    shapes = {"w": (1024, 1024)}
    bits = {name: 8 * codec_by_name(name).size(shapes) / 2**20 for name in NAMES}
    assert bits["f32"] == pytest.approx(32, rel=1e-3)
    assert bits["int8"] == pytest.approx(8.25, rel=1e-3)
    assert bits["int4"] == pytest.approx(4.25, rel=1e-3)
    assert bits["topk"] == pytest.approx((64 * 14 + 32) / 4096, rel=0.02)


def test_the_order_of_tensors_does_not_matter():
    delta = large()
    turned = dict(reversed(delta.items()))
    assert codec_by_name("int4").encode(delta) == codec_by_name("int4").encode(turned)


# ------------------------------------------------------------------------------- bad messages


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_not_sent(name, value):
    delta = large()
    delta["norm"][5] = value
    with pytest.raises(LacyError, match=r"E355.*norm"):
        codec_by_name(name).encode(delta)


def test_what_does_not_fit_a_type_and_nothing_at_all_are_not_sent():
    with pytest.raises(LacyError, match=r"E355.*f16"):
        PlainCodec("f16").encode({"w": torch.tensor([1e6])})
    with pytest.raises(LacyError, match="E355"):
        TopKCodec().encode({"w": torch.tensor([torch.finfo(torch.float32).max])})
    with pytest.raises(LacyError, match="E355"):
        PlainCodec().encode({})


def metadata(data):
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]


def changed(data, **entries):
    """The same message with other entries about itself."""
    about = json.loads(metadata(data)["delta"]) | entries
    return save(load(data), {"delta": json.dumps(about)})


@pytest.mark.parametrize("name", NAMES)
def test_foreign_messages_are_refused(name):
    codec, delta = codec_by_name(name), large()
    data, shapes = codec.encode(delta), shapes_of(delta)
    bad = {
        "other codec": changed(data, codec="q9"),
        "other format": changed(data, format=99),
        "no shapes": changed(data, shapes=[1]),
        "a pickle": b"\x80\x04\x95" + data,
        "nothing": b"",
        "too short": data[: len(data) // 2],
        "too long": data + bytes(10_000),
        "a huge header": (2**60).to_bytes(8, "little") + data[8:],
        "nested header": (200).to_bytes(8, "little") + b"[" * 200,
        "no metadata": save(load(data)),
    }
    for what, message in bad.items():
        with pytest.raises(LacyError, match="E356"):
            codec.decode(message, shapes)
            pytest.fail(what)


def test_the_difference_is_named():
    codec, delta = codec_by_name("int4"), large()
    data = codec.encode(delta)
    shapes = shapes_of(delta)
    for expected, words in (
        (shapes | {"norm": (34,)}, r"norm has the shape \[33\], not \[34\]"),
        (shapes | {"head": (2,)}, "it lacks head"),
        ({"norm": (33,), "scalar": ()}, "bytes, where at most"),
        ({"body.weight": (90, 100), "norm": (33,)}, "it has scalar, which is not expected"),
    ):
        with pytest.raises(LacyError, match=words):
            codec.decode(data, expected)


@pytest.mark.parametrize(
    ("name", "part", "value"),
    [
        ("f16", "values", math.nan),
        ("int4", "scales", math.inf),
        ("int4", "scales", -1.0),
        ("int8", "codes", 255),
        ("topk", "levels", math.nan),
        ("topk", "levels", -1.0),
        ("topk/0.3", "places", 255),
    ],
)
def test_harmful_values_in_a_message_are_refused(name, part, value):
    codec, delta = codec_by_name(name), large()
    data = codec.encode(delta)
    parts = load(data)
    parts[part] = torch.full_like(parts[part], value)
    harmful = save(parts, metadata(data))
    with pytest.raises(LacyError, match="E356"):
        codec.decode(harmful, shapes_of(delta))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**31), st.sampled_from(NAMES))
def test_flipped_bytes_give_an_error_or_finite_values(seed, name):
    codec, delta = codec_by_name(name), {"w": torch.randn(40, 5), "b": torch.randn(3)}
    data = bytearray(codec.encode(delta))
    generator = torch.Generator().manual_seed(seed)
    for _ in range(3):
        place = int(torch.randint(len(data), (), generator=generator))
        data[place] = int(torch.randint(256, (), generator=generator))
    try:
        back = codec.decode(bytes(data), shapes_of(delta))
    except LacyError as error:
        assert error.code == "E356"
    else:
        require_fits(back, shapes_of(delta))
