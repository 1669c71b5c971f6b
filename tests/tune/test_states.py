"""Hidden states and statistics, against one forward pass per article."""

import numpy as np
import torch

from lacy.annotate import encode
from lacy.model import load_model
from lacy.tune.states import read_states


def test_states_equal_a_pass_over_each_article(raw_folder, articles, tmp_path):
    loaded = load_model(raw_folder)
    loaded.model.eval()
    encoded = [encode(d, loaded.tokenizer, 60 + 5 * n) for n, d in enumerate(articles[:5])]
    states, computed = read_states(
        loaded.model, encoded, tmp_path, fingerprint="f", bf16=False, progress=False
    )
    assert computed == 5
    at = 0
    for number, article in enumerate(encoded):
        ids_T = torch.tensor(article.input_ids)
        with torch.inference_mode():
            hidden = loaded.model.model(input_ids=ids_T[None, :-1]).last_hidden_state[0]
            logits = loaded.model(input_ids=ids_T[None, :-1]).logits[0, :, :-1]
        logp = torch.log_softmax(logits, -1)
        rows = slice(at, at := at + len(ids_T) - 1)
        np.testing.assert_allclose(states.hidden_ND[rows], hidden, atol=5e-3)
        np.testing.assert_array_equal(states.article_N[rows], number)
        np.testing.assert_array_equal(states.input_N[rows], ids_T[:-1])
        np.testing.assert_array_equal(states.previous_N[rows][1:], ids_T[:-2])
        np.testing.assert_array_equal(states.target_N[rows], ids_T[1:])
        np.testing.assert_array_equal(states.marks_N[rows], article.marks[1:])
        loss = -logp[range(len(logp)), ids_T[1:]]
        np.testing.assert_allclose(states.loss_N[rows], loss, atol=1e-4)
        entropy = -(logp.exp() * logp).sum(-1)
        np.testing.assert_allclose(states.entropy_N[rows], entropy, atol=1e-4)
        np.testing.assert_array_equal(states.right_N[rows], logp.argmax(-1) == ids_T[1:])
    assert at == len(states)
    again, computed = read_states(
        loaded.model, encoded, tmp_path, fingerprint="f", bf16=False, progress=False
    )
    assert computed == 0
    np.testing.assert_array_equal(again.hidden_ND, states.hidden_ND)
    _, computed = read_states(
        loaded.model, encoded, tmp_path, fingerprint="g", bf16=False, progress=False
    )
    assert computed == 5
