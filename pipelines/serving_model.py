"""What MLflow runs when it loads a logged bundle: this file is copied beside the model, and no object is pickled."""

from __future__ import annotations

from mlflow.models import set_model

from pipelines.serving import BundleModel

set_model(BundleModel())
