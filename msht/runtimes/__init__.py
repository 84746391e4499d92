"""What runs a bundle's networks: PyTorch, or a verified export. Calibration and decisions lie above, once."""
