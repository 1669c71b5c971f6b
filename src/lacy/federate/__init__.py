"""Federated training: clients train one model on texts that never leave them.

In every round, a server sends the trained tensors (``state``) to some clients; each trains on its
own texts and sends back an ``Update``: the change of the tensors, counts and figures, never text.
The server checks every update, refuses those that are damaged, late or of another model, and
aggregates the others by a strategy.

- ``Client`` is anything with ``train(state, round) -> Update``; ``FitClient`` trains with
  ``lacy.train.fit``.
- ``Server`` holds the state, checks, aggregates, and keeps its state on disk; ``serve_rounds`` runs
  rounds over any transport.
- ``InProcess`` is the transport of one process: clients train one after another, so that memory
  does not grow with their number. ``lacy.federate.flower`` is that of Flower, over a network.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
