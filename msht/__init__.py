"""MSHT, the Multi-stage Hybrid Transformer, for cytology images: train, validate, explain, serve.

Importing this package is cheap: the networks are registered with timm at the moment timm itself is imported,
before or after this package, so that `timm.create_model("msht_resnet50")` works either way.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import wrapt

try:
    __version__ = version("msht")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"


@wrapt.when_imported("timm")
def _register_networks(_timm: object) -> None:
    import msht.network.model  # noqa: F401  registers the entry points
