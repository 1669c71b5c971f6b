"""Shared by tests of several packages: small models, servers, stores, browsers, waiting."""
