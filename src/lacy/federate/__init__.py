"""Federated training: clients train one model on texts that never leave them.

In every round, a server sends the trained tensors (``state``) to some clients; each trains on its
own texts and sends back an ``Update``: the change of the tensors, counts and figures, never text.
The server checks every update, refuses those that are damaged, late or of another model, and
aggregates the others by a strategy.

- ``Client`` is anything with ``train(state, round) -> Update``; ``FitClient`` trains with
  ``lacy.train.fit``.
- ``FederationServer`` runs rounds over any transport, checks and aggregates updates, and keeps its
  state on disk.
- ``InProcess`` is the transport of one process: clients train one after another, so that memory
  does not grow with their number. ``FlowerTransport`` goes over a network.
- ``federate`` runs a whole federation in this process; ``write_flower_app`` prepares one over a
  network.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
