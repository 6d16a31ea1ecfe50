"""What a model was made with: versions and machine, for its record."""

import platform

import torch

from medcoss import __version__


def environment(device: torch.device) -> dict[str, str]:
    """Versions of the code and of what decides its numbers, and the kind of machine."""
    return {
        "medcoss": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    }
