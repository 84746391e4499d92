"""Which map explains a network, and how: the one place that decides method, layer and scale."""

from __future__ import annotations

from typing import Any

import numpy as np

from msht.errors import InvalidInput
from msht.images.preprocessing import to_tensor

METHOD = "layercam"
"""Chosen by measurement on phantoms and on smears (docs/explanation.md)."""
METHODS_IN_WORDS = {
    "gradcam": "Grad-CAM",
    "gradcam++": "Grad-CAM++",
    "hirescam": "HiResCAM (Grad-CAM taken element by element)",
    "layercam": "LayerCAM",
    "xgradcam": "XGrad-CAM",
    "eigengradcam": "EigenGradCAM (first principal component of gradient times activation)",
    "scorecam": "Score-CAM",
    "ablationcam": "Ablation-CAM",
}
PREFERRED_LAYER = "encoder_3"
"""Third stage of the backbone: its maps are better than chance in every check, while those of the later decoders and
of the last norm are not (docs/explanation.md)."""


def unknown_method(method: str) -> InvalidInput:
    """What to say about a method that there is not."""
    return InvalidInput(f"--method {method} is unknown.", f"Choose one of {', '.join(METHODS_IN_WORDS)}.")


def mean_maps(
    ensemble: Any, views: np.ndarray, *, method: str = METHOD, layer: str | None = None
) -> tuple[np.ndarray, str]:
    """Mean over the networks of their maps for the positive class, and the layer in words.

    Args:
        ensemble: of the bundle.
        views: uint8 of shape (B, S, S, 3).
        method: of `msht.explanation.cam.METHODS`.
        layer: public name of the layer; None: the one that reports use.

    Returns:
        Maps, float32 of shape (B, S, S), not negative and not scaled, and the name of the layer.
    """
    from msht.explanation.cam import class_activation_map

    images = to_tensor(views, ensemble.preprocessing).to(ensemble.device)
    layer = layer or explained_layer(ensemble.folds[0].network)
    maps = [
        class_activation_map(fold.network, images, layer=layer, method=method, class_index=1) for fold in ensemble.folds
    ]
    return np.mean(maps, axis=0), layer_in_words(layer)


def case_scale(maps: np.ndarray) -> float:
    """The evidence drawn as full in every map of a case, shape (B, S, S): the median of the fields' largest values.

    The largest value of all would leave most fields blank, since gradients differ tenfold between fields that score
    alike; values above the scale are drawn as its last colour, and the report says so. It is 1 without any evidence.
    """
    return scale_of(maps.reshape(len(maps), -1).max(axis=1))


def scale_of(largest: np.ndarray) -> float:
    """The same from the largest value of each map, shape (B,)."""
    median = float(np.median(largest))
    return median if median > 0 else float(largest.max()) or 1.0


def explained_layer(network: Any) -> str:
    """The public name of the layer that reports explain a network at."""
    from msht.explanation.cam import default_layer
    from msht.network.explain import explanation_layers

    return PREFERRED_LAYER if PREFERRED_LAYER in explanation_layers(network) else default_layer(network)


def layer_in_words(layer: str) -> str:
    """A layer's public name as a reader knows it."""
    kind, _, number = layer.partition("_")
    words = {"encoder": f"backbone stage {number}", "decoder": f"decoder {number}, after its self-attention"}
    return words.get(kind, {"norm": "the last layer norm", "last": "the last feature layer"}.get(layer, layer))
