"""Two machines train one model by torchrun: two network namespaces of this one, joined by a cable."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from medcoss.run import sha256_file
from tests.medcoss.training.small import xrays

pytestmark = pytest.mark.timeout(900)
REPOSITORY = Path(__file__).resolve().parents[3]
ADDRESSES = ("10.231.77.1", "10.231.77.2")
# as docs/deploy/several-machines.md has it
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
STAGE = """
import sys
from medcoss import pretrain
pretrain(sys.argv[1], sys.argv[2], size="tiny", epochs=100, max_steps=6, batch_size=4, log_every=1, checkpoint_every=3,
         reconstructions=0)
"""


def ip(*arguments: str) -> None:
    """Run ip; what it says when it fails."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"


@pytest.fixture
def machines() -> Iterator[list[str]]:
    """Two namespaces, their ends of the cable called `cable`."""
    mark = uuid.uuid4().hex[:6]
    names = [f"mc-{mark}-{number}" for number in range(2)]
    first = subprocess.run(["ip", "netns", "add", names[0]], capture_output=True, text=True)
    if first.returncode:
        pytest.skip(f"network namespaces are not permitted here: {first.stderr.strip()}")
    try:
        ip("netns", "add", names[1])
        ip("-n", names[0], "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", names[1])
        for name, address in zip(names, ADDRESSES, strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "cable")
            for device in ("lo", "cable"):
                ip("-n", name, "link", "set", device, "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def test_two_machines_meet_and_make_the_model_that_two_processes_of_one_make(
    machines: list[str], tmp_path: Path
) -> None:
    (tmp_path / "stage.py").write_text(STAGE)
    data = xrays(tmp_path / "data")
    environ = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}

    def started(out: str, *command: str, **more: str) -> "subprocess.Popen[str]":
        script = [str(tmp_path / "stage.py"), str(data), str(tmp_path / out)]
        return subprocess.Popen([*command, *script], env=environ | more, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)  # fmt: skip

    runs = [started("alone", *TORCHRUN, "--standalone", "--nproc-per-node", "2", GLOO_SOCKET_IFNAME="lo")]
    for number, name in enumerate(machines):
        place = ["ip", "netns", "exec", name, *TORCHRUN, "--nnodes", "2", "--nproc-per-node", "1"]
        meet = ["--node-rank", str(number), "--master-addr", ADDRESSES[0], "--master-port", "29400"]
        runs.append(started(f"machine-{number}", *place, *meet, GLOO_SOCKET_IFNAME="cable"))
    said = [run.communicate(timeout=600)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], "\n".join(said)
    outs = [tmp_path / name for name in ("alone", "machine-0", "machine-1")]
    written = [out for out in outs if (out / "model" / "model.safetensors").is_file()]
    assert written == outs[:2], "of two machines the first process alone writes"
    assert "on 2 x cpu" in (written[1] / "log.txt").read_text()
    alone, together = (sha256_file(out / "model" / "model.safetensors") for out in written)
    assert together == alone
