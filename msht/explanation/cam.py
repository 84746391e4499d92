"""Class activation maps: where in a view the evidence for a class lies.

The methods are pytorch-grad-cam's. Its habit of stretching each map to [0, 1] is set aside: that makes an
empty field glow like a full one, and hides how much evidence there is. Maps here keep their scale and are cut
off at zero, so that the fields of a case and the folds of a bundle can be compared.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, XGradCAM
from pytorch_grad_cam.base_cam import BaseCAM
from torch import nn
from torch.nn import functional

from msht.errors import InvalidInput
from msht.explanation.gradient_free import AblationCAM, EigenGradCAM, ScoreCAM
from msht.explanation.targets import ClassEvidence
from msht.network.explain import explanation_layers

Maps = npt.NDArray[np.float32]


class _RawScale(BaseCAM):  # type: ignore[misc, unused-ignore]
    """Keeps a map as the method computes it: no stretching, no resizing, no clipping."""

    def compute_cam_per_layer(self, input_tensor: Any, targets: Any, eigen_smooth: bool) -> list[Any]:
        """Maps of each target layer, each of shape (B, 1, h, w)."""
        recorded = self.activations_and_grads
        activations = [activation.numpy() for activation in recorded.activations]
        # A layer that the answer does not depend on gets no gradient at all; its evidence is zero.
        gradients = [gradient.numpy() for gradient in recorded.gradients] or [np.zeros_like(a) for a in activations]
        # Methods that run the network again must not have each run recorded, too.
        recorded.release()
        return [
            self.get_cam_image(input_tensor, layer, targets, activation, gradient, eigen_smooth)[:, None]
            for layer, activation, gradient in zip(self.target_layers, activations, gradients, strict=True)
        ]

    def aggregate_multi_layers(self, cam_per_target_layer: list[Any]) -> Any:
        """The only layer's maps, shape (B, h, w)."""
        return cam_per_target_layer[0][:, 0]


def _raw(method: type[BaseCAM]) -> type[BaseCAM]:
    return type(f"Raw{method.__name__}", (_RawScale, method), {})


METHODS: dict[str, type[BaseCAM]] = {
    "gradcam": _raw(GradCAM),
    "gradcam++": _raw(GradCAMPlusPlus),
    "hirescam": _raw(HiResCAM),
    "layercam": _raw(LayerCAM),
    "xgradcam": _raw(XGradCAM),
    "eigengradcam": _raw(EigenGradCAM),
    "scorecam": _raw(ScoreCAM),
    "ablationcam": _raw(AblationCAM),
}
"""Methods by name.

Sources: Selvaraju et al. (2017), arXiv 1610.02391; Chattopadhay et al. (2018), arXiv 1710.11063; Draelos and
Carin (2020), arXiv 2011.08891; Jiang et al. (2021), doi 10.1109/TIP.2021.3089943; Fu et al. (2020), arXiv
2008.02312; and `msht.explanation.gradient_free`. Eigen-CAM is left out: it shows the strongest pattern of a layer
whatever class is asked for.
"""

COSTLY = ("scorecam", "ablationcam")
"""Methods that run the network once for each channel of the layer."""


def class_activation_map(
    network: nn.Module,
    images: torch.Tensor,
    *,
    layer: str | None = None,
    method: str = "gradcam",
    class_index: int = 1,
) -> Maps:
    """Map the evidence for a class over each image.

    The network is left as it was: training mode, gradients and hooks.

    Args:
        network: gives logits (B, num_classes); a compiled one is explained by the module inside it.
        images: shape (B, 3, S, S), as the network takes them, on its device.
        layer: a public name out of `explanation_layers(network)`; None for the network's default.
        method: a key of `METHODS`.
        class_index: the class whose evidence is mapped; 1 is the positive class.

    Returns:
        float32, shape (B, S, S), not negative, in the method's own units: not stretched for each image.

    Raises:
        InvalidInput: if the layer or the method is unknown.
    """
    maps = raw_class_activation_map(network, images, layer=layer, method=method, class_index=class_index)
    grown = functional.interpolate(
        torch.from_numpy(maps)[:, None], size=images.shape[-2:], mode="bilinear", align_corners=False
    )
    return np.maximum(grown[:, 0].numpy(), 0.0)


def raw_class_activation_map(
    network: nn.Module,
    images: torch.Tensor,
    *,
    layer: str | None = None,
    method: str = "gradcam",
    class_index: int = 1,
) -> Maps:
    """As `class_activation_map`, at the layer's own resolution and with its sign, shape (B, h, w)."""
    if method not in METHODS:
        raise InvalidInput(f"There is no explanation method '{method}'.", f"Choose one of {', '.join(METHODS)}.")
    eager = network._orig_mod if hasattr(network, "_orig_mod") else network  # torch.compile drops hooks
    assert isinstance(eager, nn.Module)
    path = layer_path(eager, layer)
    with _undisturbed(eager), torch.inference_mode(mode=False), torch.enable_grad():
        # A gradient with respect to the image carries the chain through frozen parameters.
        inputs = images.clone().requires_grad_(True)
        fold = _folding(eager, (images.shape[-2], images.shape[-1]))
        explainer = METHODS[method](eager, [eager.get_submodule(path)], reshape_transform=fold)
        try:
            maps = explainer(inputs, [ClassEvidence(class_index)] * len(images))
        finally:
            explainer.activations_and_grads.release()
            explainer.outputs = None
    return np.ascontiguousarray(maps, dtype=np.float32)


def layer_path(network: nn.Module, layer: str | None) -> str:
    """Find the dotted path of a layer by its public name; None for the network's default.

    Raises:
        InvalidInput: if the network has no layer of that name.
    """
    layers = explanation_layers(network)
    name = layer if layer is not None else default_layer(network)
    if name not in layers:
        raise InvalidInput(f"This network has no layer '{name}' to explain.", f"Choose one of {', '.join(layers)}.")
    return layers[name]


def default_layer(network: nn.Module) -> str:
    """The public name of the layer that explains a network unless another is asked for."""
    named = getattr(network, "default_explanation_layer", None)
    return named if isinstance(named, str) else list(explanation_layers(network))[-1]


@contextlib.contextmanager
def _undisturbed(network: nn.Module) -> Iterator[None]:
    """Evaluation mode and frozen parameters inside; modes, flags and gradients as they were afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    flags = [(parameter, parameter.requires_grad, parameter.grad) for parameter in network.parameters()]
    try:
        for parameter, _, _ in flags:
            parameter.requires_grad_(False)
            parameter.grad = None
        network.eval()
        yield
    finally:
        for parameter, wanted, gradient in flags:
            parameter.requires_grad_(wanted)
            parameter.grad = gradient
        for module, training in modes:
            module.training = training


def _folding(network: nn.Module, image_size: tuple[int, int]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Make the function that brings a layer's output to (B, C, h, w)."""
    prefix = int(getattr(network, "num_prefix_tokens", 0))
    channels = getattr(network, "num_features", None)

    def fold(output: torch.Tensor) -> torch.Tensor:
        if output.ndim == 3:
            return fold_tokens(output, prefix, image_size)
        if output.shape[-1] == channels != output.shape[1]:  # Swin and its kin keep channels last
            return output.permute(0, 3, 1, 2)
        return output

    return fold


def fold_tokens(tokens: torch.Tensor, prefix: int, image_size: tuple[int, int]) -> torch.Tensor:
    """Fold tokens, shape (B, prefix + h * w, C), to maps of shape (B, C, h, w); the prefix is dropped.

    The grid has the proportions of the image, so that a network that takes several sizes folds rightly too.

    Raises:
        ValueError: if the tokens do not fill a grid of the image's proportions.
    """
    count = tokens.shape[1] - prefix
    height = round((count * image_size[0] / image_size[1]) ** 0.5)
    width = count // max(height, 1)
    if height * width != count:
        raise ValueError(f"{count} tokens do not fill a grid with the proportions of {image_size}")
    return tokens[:, prefix:].transpose(1, 2).unflatten(2, (height, width))
