from .base import (
    PROBE_SECONDS,
    SETUP_SECONDS,
    VIEW_SECONDS,
    Catalogue,
    Reading,
    Reference,
    Store,
    StoreError,
    late,
    spelled,
)
from .opening import is_address, is_url, open_store, without_secret
from .sqlite import read_only

__all__ = [
    "PROBE_SECONDS",
    "SETUP_SECONDS",
    "VIEW_SECONDS",
    "Catalogue",
    "Reading",
    "Reference",
    "Store",
    "StoreError",
    "is_address",
    "is_url",
    "late",
    "open_store",
    "read_only",
    "spelled",
    "without_secret",
]
