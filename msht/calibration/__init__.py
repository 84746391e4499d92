"""Calibration: probabilities, operating points, conformal sets."""
