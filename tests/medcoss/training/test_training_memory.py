"""Training keeps its memory from step to step."""

import subprocess
import sys

SCRIPT = """
import resource, torch
from medcoss.training.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.zeros(2_000_000)
        torch.zeros(7_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

kept = keep_freed_memory()
faults()
print(kept, faults())
"""


def test_memory_that_a_step_frees_is_there_for_the_next_one() -> None:
    # in a process of its own: the setting stays
    found = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout.split()
    assert found[0] == "True"
    # five times 36 MB given back and taken again would be 44,000 pages
    # the heap may grow once more, by one block
    assert int(found[1]) < 11_000


BLOCK = """
import resource, torch
from medcoss.training.memory import large_tensors_kept

def used():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(10_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

cpu = torch.device("cpu")
torch.ones(10_000_000)
start = used()
with large_tensors_kept(cpu):
    for _ in range(20):
        faults()
    with large_tensors_kept(cpu):
        for _ in range(20):
            faults()
    inner = [faults() for _ in range(10)]
print(sum(inner), used() - start, faults())
"""


def test_tensors_of_any_size_are_kept_within_a_block_and_given_back_after_it() -> None:
    found = subprocess.run([sys.executable, "-c", BLOCK], capture_output=True, text=True, check=True).stdout.split()
    within, left, after = map(int, found)
    # 40 MB are 9,766 pages, or 20 huge ones; at first the heap grows, until a place that is free happens to be aligned
    assert within < 9_766, "of ten times together"
    assert left < 20e6 and after > 20, "what was kept has gone back to the system"
