from .base import (
    SETUP_SECONDS,
    VIEW_PROBE_SECONDS,
    VIEW_SECONDS,
    Catalogue,
    ForeignKey,
    Store,
    StoreError,
    match_name,
    timeout_message,
)
from .by_name import hide_credentials, is_postgres_url, is_url, open_store
from .sqlite import open_read_only

__all__ = [
    "SETUP_SECONDS",
    "VIEW_PROBE_SECONDS",
    "VIEW_SECONDS",
    "Catalogue",
    "ForeignKey",
    "Store",
    "StoreError",
    "hide_credentials",
    "is_postgres_url",
    "is_url",
    "match_name",
    "open_read_only",
    "open_store",
    "timeout_message",
]
