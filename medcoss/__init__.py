"""medcoss: continual self-supervised pre-training of one encoder for medical data.

The package root imports nothing heavy, so that the control plane and the client can
use `medcoss.specs`, `medcoss.modalities` and `medcoss.client` without torch.
"""

__version__ = "0.1.0"
