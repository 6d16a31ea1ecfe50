"""Lines of Python that children of tests run in place of a job."""

from collections.abc import Sequence
from functools import partial

from services.worker.process import Begin
from services.worker.starting import Anew

# what the scripts of tests begin with: the job has been read, `send` reports
PRELUDE = """
import json, os, signal, subprocess, sys, time
job = json.load(sys.stdin)
pipe = os.fdopen(int(os.environ["MEDCOSS_REPORT_FD"]), "w")
def send(type, **report):
    print(json.dumps({"type": type, **report}), file=pipe, flush=True)
def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.01)
"""


def beginning_with(command: Sequence[str]) -> dict[bool, Begin]:
    """What `services.worker.process.BEGIN` is to be for jobs to be processes of `command`."""
    return dict.fromkeys((True, False), partial(Anew, command=command))


# a script that makes a dataset ends with
RESULT = """
info = {"modality": "xray", "kind": "image2d", "samples": 1, "splits": {"train": 1}, "sample_shape": [1, 32, 32],
        "recipe": {}}
send("result", metrics={"samples": 1.0}, outputs=[{
    "resource": "dataset", "id": job["output_id"], "name": "made", "prefix": f"datasets/{job['output_id']}/shards",
    "info": info, "files": [{"path": "meta.json", "size": 2, "sha256": "0" * 64}]}])
"""
