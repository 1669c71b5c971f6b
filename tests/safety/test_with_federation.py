"""A trained classifier guards the clients of a federation."""

from dataclasses import replace

import pytest

from helpers.toy_safety import toy_texts
from lacy.errors import LacyError
from lacy.federate import FederateSettings, align
from lacy.model import save_model
from lacy.safety import AlignSettings, PreferencePair, load_classifier
from lacy.testing import byte_tokenizer


@pytest.mark.slow
def test_what_a_trained_classifier_flags_is_replaced_on_clients(student, packed_model, tmp_path):
    student.save(tmp_path / "guard")
    guard = load_classifier(tmp_path / "guard")
    texts = [one for one in toy_texts(60, seed=5) if one.prompt is None]
    pairs = [PreferencePair(one.text, "first mix", "no", id=str(n)) for n, one in enumerate(texts)]
    expected = int((guard.prompt_scores([one.text for one in texts])
                    >= guard.threshold("prompt")).sum())  # fmt: skip
    harmful = sum(one.harmful for one in texts)
    assert 0.8 * harmful <= expected <= 1.2 * harmful  # it tells them apart
    model = save_model(tmp_path / "model", packed_model, byte_tokenizer(), {"preset": "tiny"})
    halves = {"even": pairs[::2], "odd": pairs[1::2]}
    done = align(model, halves, tmp_path / "out", FederateSettings(rounds=1, lora_rank=2),
                 AlignSettings(prompt_tokens=16, reply_tokens=16), guard=guard,
                 thresholds=(None, 2.0))  # fmt: skip
    counts = done.rounds[0].counts
    assert (counts["seen"], counts["by_prompt"]) == (len(pairs), expected)
    assert counts["replaced"] + counts["refusing"] == expected
    # Trained again under the same name, it would sanitise in another way.
    again = load_classifier(tmp_path / "guard")
    assert again.fingerprint() == guard.fingerprint()
    again.decisions["prompt"] = replace(again.decisions["prompt"], threshold=0.123)
    with pytest.raises(LacyError, match=r"E17.*guard"):
        align(model, halves, tmp_path / "out", FederateSettings(rounds=1, lora_rank=2),
              AlignSettings(prompt_tokens=16, reply_tokens=16), guard=again,
              thresholds=(None, 2.0))  # fmt: skip
