"""Explanation: where in the image the answer comes from."""
