"""Maps that need no gradient, or only its principal component, as pytorch-grad-cam defines them.

Its own classes print progress bars, record every masked run, replace modules of the network while they work, and know
no layer of tokens; these do none of that and find the same weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pytorch_grad_cam.base_cam import BaseCAM
from torch.nn import functional

BATCH = 32
"""Masked or ablated copies of an image that go through the network together."""

Array = npt.NDArray[np.float32]


class EigenGradCAM(BaseCAM):  # type: ignore[misc, unused-ignore]
    """First principal component of gradient times activation, with the sign of their sum.

    Source: Muhammad and Yeasin (2020), arXiv 2008.00299, with gradients as in pytorch-grad-cam. A component has no sign
    of its own: it is turned to agree with the sum over channels, so that more still speaks for the class.
    """

    def get_cam_image(
        self, input_tensor: Any, target_layer: Any, targets: Any, activations: Any, grads: Any, eigen_smooth: bool
    ) -> Any:
        """Maps of shape (B, h, w) from activations and gradients of shape (B, C, h, w)."""
        maps = []
        for evidence in np.nan_to_num(activations * grads):
            rows = evidence.reshape(len(evidence), -1).T
            centred = rows - rows.mean(axis=0)
            _, _, directions = np.linalg.svd(centred, full_matrices=False)
            projection = centred @ directions[0]
            if projection @ rows.sum(axis=1) < 0:
                projection = -projection
            maps.append(projection.reshape(evidence.shape[1:]))
        return np.asarray(maps, dtype=np.float32)


class _WithoutGradients(BaseCAM):  # type: ignore[misc, unused-ignore]
    def __init__(self, model: Any, target_layers: Any, reshape_transform: Any = None) -> None:
        super().__init__(model, target_layers, reshape_transform, uses_gradients=False)


class ScoreCAM(_WithoutGradients):
    """Weighs each channel by what is left of the evidence when the image is masked with it.

    Source: Wang et al. (2020), arXiv 1910.01279: softmax over the channels of the evidence in the image times the
    channel, stretched to [0, 1] and to the size of the image. The blank image's evidence is the same for all channels
    and cancels in the softmax.
    """

    def get_cam_weights(
        self, input_tensor: Any, target_layers: Any, targets: Any, activations: Any, grads: Any
    ) -> Array:
        """Weights of shape (B, C)."""
        masks = functional.interpolate(
            torch.from_numpy(activations), size=input_tensor.shape[-2:], mode="bilinear", align_corners=False
        )
        low, high = masks.amin(dim=(2, 3), keepdim=True), masks.amax(dim=(2, 3), keepdim=True)
        masks = ((masks - low) / (high - low).clamp(min=1e-8)).to(input_tensor.device)
        weights = []
        with torch.no_grad():
            for image, own, target in zip(input_tensor, masks, targets, strict=True):
                parts = [target(self.model(image * part[:, None])) for part in own.split(BATCH)]
                weights.append(torch.cat(parts).float().softmax(dim=0).cpu().numpy())
        return np.asarray(weights, dtype=np.float32)


class AblationCAM(_WithoutGradients):
    """Weighs each channel by the evidence that is lost when the channel is set to zero.

    Source: Desai and Ramaswamy (2020), WACV, 983. There the loss is divided by the evidence itself; the log-odds that
    are explained here pass through zero, and one factor for a whole map changes no order within it.
    """

    def get_cam_weights(
        self, input_tensor: Any, target_layers: Any, targets: Any, activations: Any, grads: Any
    ) -> Array:
        """Weights of shape (B, C)."""
        channels = activations.shape[1]
        silenced = torch.zeros(0, dtype=torch.long)

        def silence(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
            if not len(silenced):
                return output
            changed = output.clone()
            rows = torch.arange(len(silenced))
            if output.ndim == 4 and output.shape[1] == channels:
                changed[rows, silenced] = 0
            else:
                changed[rows, ..., silenced] = 0
            return changed

        weights = []
        handle = target_layers.register_forward_hook(silence)
        try:
            with torch.no_grad():
                for image, target in zip(input_tensor, targets, strict=True):
                    silenced = torch.zeros(0, dtype=torch.long)
                    whole = target(self.model(image[None]))
                    left = []
                    for part in torch.arange(channels).split(BATCH):
                        silenced = part
                        left.append(target(self.model(image.expand(len(part), *image.shape))))
                    weights.append((whole - torch.cat(left)).float().cpu().numpy())
        finally:
            handle.remove()
        return np.asarray(weights, dtype=np.float32)
