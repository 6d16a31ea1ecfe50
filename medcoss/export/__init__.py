"""Trained models as ONNX in a Triton model repository."""
