"""What GPUs can do, by the names that their drivers give them."""

# dense bfloat16 / float16 tensor-core TFLOP/s, from NVIDIA's data sheets and white papers
PEAK_TFLOPS = {
    "H100 PCIe": 756.0, "H100 NVL": 835.0, "A100": 312.0, "H100": 989.4, "H200": 989.4, "GH200": 989.4, "B200": 2250.0,
    "A10": 125.0, "A30": 165.0, "A40": 149.7, "A6000": 154.8, "L4": 121.0, "L40": 181.0, "L40S": 362.0,
    "V100": 125.0, "T4": 65.0, "RTX 3090": 71.0, "RTX 4090": 165.2,
}  # fmt: skip


def peak_tflops(device_name: str) -> float | None:
    """What a GPU of this name can do in 16 bits, None when it is not known."""
    words = device_name.replace("-", " ").split()
    for name in sorted(PEAK_TFLOPS, key=lambda n: -len(n.split())):
        if set(name.split()) <= set(words):
            return PEAK_TFLOPS[name]
    return None
