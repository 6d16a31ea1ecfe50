"""What of a worker's GPUs and memory is free while it runs jobs side by side."""

import threading
from dataclasses import replace

from services.core.attempts import Claim
from services.core.scheduling import Offer


class Room:
    """Shares `whole` out. Who looks at what is free and takes some of it holds `lock` meanwhile."""

    def __init__(self, whole: Offer) -> None:
        self.lock = threading.Lock()
        self._whole = whole
        self._claims: dict[tuple[str, int], Claim] = {}

    def free(self) -> Offer:
        """What is left to offer."""
        taken = {gpu for claim in self._claims.values() for gpu in claim.gpus}
        names, memory = tuple(gpu for gpu in self._whole.names if gpu not in taken), self._whole.memory_bytes
        if memory is not None:
            memory = max(memory - sum(claim.memory_bytes or 0 for claim in self._claims.values()), 0)
        if self._whole.nodes is not None:
            # of the same kind, all of them; what each has, Kubernetes shares out
            taken_machines = sum(claim.nodes or 0 for claim in self._claims.values())
            return replace(self._whole, nodes=max(self._whole.nodes - taken_machines, 0))
        return replace(
            self._whole, gpus=len(names), names=names, memory_bytes=memory, all_taken=bool(taken) and not names
        )  # fmt: skip

    def take(self, claim: Claim) -> None:
        """The attempt has begun."""
        self._claims[claim.job_id, claim.fence] = claim

    def give_back(self, claim: Claim) -> None:
        """The attempt has ended."""
        with self.lock:
            self._claims.pop((claim.job_id, claim.fence), None)
