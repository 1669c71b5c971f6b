from .base import (
    PROBE_SECONDS,
    SETUP_SECONDS,
    VIEW_SECONDS,
    Catalogue,
    ForeignKey,
    Store,
    StoreError,
    match_name,
    timeout_message,
)
from .opening import is_postgres_url, is_url, open_store, redact
from .sqlite import open_read_only

__all__ = [
    "PROBE_SECONDS",
    "SETUP_SECONDS",
    "VIEW_SECONDS",
    "Catalogue",
    "ForeignKey",
    "Store",
    "StoreError",
    "is_postgres_url",
    "is_url",
    "match_name",
    "open_read_only",
    "open_store",
    "redact",
    "timeout_message",
]
