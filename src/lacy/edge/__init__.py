"""Can these devices train this model? A simulation with assumptions that anyone can change.

    from lacy.edge import answer_sentences, can_devices_train, read_assumptions

    assumed = read_assumptions("phones", {"population": 10_000_000, "tokens": 7.2e9})
    for sentence in answer_sentences(can_devices_train(assumed, days=30)):
        print(sentence)

Devices are drawn from distributions and are available for some hours of the day; they are
interrupted, leave and are replaced; a server sends models, receives updates and ends each round by
quorum, grace window or timeout. The room knows sizes, operations and bytes, not models: it needs no
torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
