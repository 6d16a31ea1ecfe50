"""The gateway under load, against a client that asks Triton directly, on the embedded Triton.

    python benchmarks/serving.py                          # latency, throughput, batching, switching; size base
    python benchmarks/serving.py --size tiny --seconds 3
    python benchmarks/serving.py --parts soak --soak 3600

Closed loop: each of so many clients sends its next request when the last one is answered. The gateway's clients send a
PNG of 224 x 224 to `classify`; Triton's own client sends the tensor that the gateway makes of it. Both sides take turns
within one run, so that the ratios hold on a machine that is somewhat busy; the absolute figures do not. On a very busy
one, the CPU time of gateway and Triton for each request says more than the clock.

- latency: one client; what the gateway adds to the median of Triton's own client (target: at most 15 %);
- throughput: 1, 2, 4, 8 clients; the best of the gateway's to the best of the direct ones (target: at least 90 %);
- batching: the direct clients on the same model with dynamic batching and without;
- switch: clients all the time, while the name is switched between two versions and the versions are loaded again
  (target: no request is answered by anything but 200);
- soak: `--soak-clients` for `--soak` seconds, with a `--pause` before each request on a machine with other work; the
  memory of gateway and Triton over the time, and in the last third against the first (target: at most 5 % more).

The exit code is 1 when a target is missed or a request fails.
"""

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import tritonclient.http as triton

try:
    from benchmarks._machine import cores
    from benchmarks._serving_platform import KEY, NAME, Platform, picture, platform, prepared
except ImportError:
    from _machine import cores
    from _serving_platform import KEY, NAME, Platform, picture, platform, prepared

PARTS = ("latency", "throughput", "batching", "switch", "soak")
Ask = Callable[[], bool]
MIB = 2**20


@dataclass
class Load:
    """What came of some seconds of load: the time of each answered request, in seconds, how many failed, and the CPU
    seconds of gateway and Triton.
    """

    seconds: float
    times: list[float] = field(default_factory=list)
    failed: int = 0
    cpu: float = 0.0

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds of a request."""
        return 1000 * self.cpu / max(len(self.times), 1)

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.times) / self.seconds

    def quantile(self, share: float) -> float:
        """Milliseconds within which this share of the requests was answered."""
        ordered = sorted(self.times)
        return 1000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def through_gateway(target: Platform) -> Ask:
    """One client of the gateway."""
    client = httpx.Client(
        base_url=target.gateway_url, headers={"Authorization": f"Bearer {KEY}"}, timeout=120, trust_env=False
    )  # fmt: skip
    png, path = picture(), f"/v1/models/{NAME}/classify"
    return lambda: client.post(path, content=png).status_code == httpx.codes.OK


def directly(target: Platform, model: str, version: str = "1") -> Ask:
    """One client of Triton, as its own library is used."""
    client = triton.InferenceServerClient(target.triton_url, network_timeout=120)
    image = prepared(picture())

    def ask() -> bool:
        # as a caller does who has an image: the tensor is written anew for each request
        tensor = triton.InferInput("image", list(image.shape), "FP32")
        tensor.set_data_from_numpy(image)
        outputs = [triton.InferRequestedOutput("logits", binary_data=True)]
        return client.infer(model, [tensor], version, outputs).as_numpy("logits") is not None

    return ask


def loaded(
    target: Platform, make: Callable[[], Ask], clients: int, seconds: float, work: Callable[[], None] | None = None
) -> Load:
    """Load by so many clients, each in a thread; meanwhile `work` is done, which ends it if it takes longer."""
    found, lock, over = Load(seconds), threading.Lock(), threading.Event()
    ready = threading.Barrier(clients + 1, timeout=300)

    def client() -> None:
        ask = make()
        ask()
        ready.wait()
        while not over.is_set():
            began = time.perf_counter()
            try:
                good = ask()
            except Exception:  # noqa: BLE001 - whatever it is, the request was not answered
                good = False
            took = time.perf_counter() - began
            with lock:
                if good:
                    found.times.append(took)
                else:
                    found.failed += 1

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    ready.wait()
    began, used = time.perf_counter(), target.cpu_seconds()
    if work is not None:
        work()
    over.wait(max(0.0, began + seconds - time.perf_counter()))
    over.set()
    for thread in threads:
        thread.join()
    found.seconds, found.cpu = time.perf_counter() - began, target.cpu_seconds() - used
    return found


def latency(target: Platform, options: argparse.Namespace) -> bool:
    """One client of each kind, request by request in turns."""
    sides = {"gateway": through_gateway(target), "direct": directly(target, f"{NAME}.2", "2")}
    found = {name: Load(0) for name in sides}
    for ask in sides.values():
        ask()
    until = time.monotonic() + 2 * options.seconds
    while time.monotonic() < until:
        for name, ask in sides.items():
            used, began = target.cpu_seconds(), time.perf_counter()
            found[name].failed += not ask()
            found[name].times.append(time.perf_counter() - began)
            found[name].cpu += target.cpu_seconds() - used
    for name, load in found.items():
        print(f"latency     {name:<8} 1 client   p50 {load.quantile(0.5):7.1f} ms   p95 {load.quantile(0.95):7.1f} ms"
              f"   {load.cpu_ms:6.1f} CPU ms a request   {len(load.times)} requests")  # fmt: skip
    added = statistics.median(found["gateway"].times) / statistics.median(found["direct"].times) - 1
    print(f"latency     the gateway adds {added:.1%} (target: at most 15 %)")
    return added <= options.most_added and not any(load.failed for load in found.values())


def throughput(target: Platform, options: argparse.Namespace) -> bool:
    """Several clients of one kind, then of the other."""
    best, failed = {"gateway": 0.0, "direct": 0.0}, 0
    for clients in options.clients:
        for name in best:
            make = (
                (lambda: through_gateway(target)) if name == "gateway" else lambda: directly(target, f"{NAME}.2", "2")
            )
            load = loaded(target, make, clients, options.seconds)
            failed += load.failed
            best[name] = max(best[name], load.rate)
            print(f"throughput  {name:<8} {clients} clients  {load.rate:7.2f}/s   p50 {load.quantile(0.5):7.1f} ms   "
                  f"p95 {load.quantile(0.95):7.1f} ms   {load.cpu_ms:6.1f} CPU ms a request")  # fmt: skip
    ratio = best["gateway"] / best["direct"]
    print(f"throughput  at its best the gateway has {ratio:.1%} of the direct client's (target: at least 90 %)")
    return ratio >= options.least_share and not failed


def batching(target: Platform, options: argparse.Namespace) -> bool:
    """The same graph, with requests joined and one by one."""
    clients = max(options.clients)
    runs: dict[str, list[Load]] = {f"{NAME}.1": [], target.alone: []}
    for _ in range(options.turns):
        for model, done in runs.items():
            done.append(loaded(target, lambda m=model: directly(target, m), clients, options.seconds))  # type: ignore[misc]
    on, off = (statistics.median(load.rate for load in done) for done in runs.values())
    cpu_on, cpu_off = (statistics.median(load.cpu_ms for load in done) for done in runs.values())
    print(
        f"batching    {clients} clients, direct: {on:.2f}/s with dynamic batching, {off:.2f}/s without, "
        f"ratio {on / off:.2f}; {cpu_on:.1f} and {cpu_off:.1f} CPU ms a request, ratio {cpu_off / cpu_on:.2f}"
    )
    return True


def switch(target: Platform, options: argparse.Namespace) -> bool:
    """The name moves, and its versions are loaded again, while it is asked."""
    client = triton.InferenceServerClient(target.triton_url, network_timeout=300)
    done = {"switched": 0, "loaded again": 0}

    def work() -> None:
        until = time.monotonic() + options.seconds
        while time.monotonic() < until or min(done.values()) < 2:
            target.activate(done["switched"] % 2)
            done["switched"] += 1
            client.load_model(f"{NAME}.{1 + done['loaded again'] % 2}")
            done["loaded again"] += 1

    load = loaded(target, lambda: through_gateway(target), 4, options.seconds, work)
    counts = ", ".join(f"{what} {number} times" for what, number in done.items())
    print(f"switch      {counts}: {len(load.times)} requests answered, {load.failed} dropped (target: 0); "
          f"p95 {load.quantile(0.95):.1f} ms")  # fmt: skip
    target.activate(1)
    return load.failed == 0


def soak(target: Platform, options: argparse.Namespace) -> bool:
    """Memory under load that lasts."""
    seen: list[tuple[float, list[int]]] = []

    def rested() -> Ask:
        ask = through_gateway(target)

        def one() -> bool:
            time.sleep(options.pause)
            return ask()

        return one

    def work() -> None:
        began = time.monotonic()
        while time.monotonic() < began + options.soak:
            seen.append((time.monotonic() - began, target.resident()))
            time.sleep(min(5.0, options.soak / 30))

    load = loaded(target, rested, options.soak_clients, options.soak, work)
    for at in range(10):
        when, (gateway, behind) = seen[at * (len(seen) - 1) // 9]
        print(f"soak        {when:6.0f} s   gateway {gateway / MIB:6.1f} MiB   Triton {behind / MIB:6.1f} MiB")
    third = max(len(seen) // 3, 1)
    flat = True
    for place, name in enumerate(("gateway", "Triton")):
        first, last = (statistics.median(held[place] for _, held in part) for part in (seen[:third], seen[-third:]))
        growth = last / first - 1
        flat = flat and growth <= options.most_growth
        print(
            f"soak        {name}: {first / MIB:.1f} MiB in the first third, {last / MIB:.1f} MiB in the last, "
            f"{growth:+.1%}"
        )
    print(f"soak        {options.soak:g} s: {len(load.times)} requests answered, {load.failed} failed")
    return flat and not load.failed


def main(argv: Sequence[str]) -> int:
    """Run the parts that were chosen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS[:-1]))
    parser.add_argument("--size", choices=("tiny", "small", "base", "large"), default="base")
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--turns", type=int, default=3, help="of batching")
    parser.add_argument("--max-batch", type=int, default=8)
    parser.add_argument("--queue-delay-us", type=int, default=500)
    parser.add_argument("--soak", type=float, default=60, metavar="SECONDS")
    parser.add_argument("--soak-clients", type=int, default=4)
    parser.add_argument("--pause", type=float, default=0.0, metavar="SECONDS", help="of each client of the soak")
    parser.add_argument("--most-added", type=float, default=0.15, help="share of Triton's own latency")
    parser.add_argument("--least-share", type=float, default=0.9, help="of the direct client's throughput")
    parser.add_argument("--most-growth", type=float, default=0.05, help="of memory")
    options = parser.parse_args(argv)
    print(f"{cores()}; size {options.size}, 224 x 224, batches of up to {options.max_batch}, queue delay "
          f"{options.queue_delay_us} µs", flush=True)  # fmt: skip
    parts = {"latency": latency, "throughput": throughput, "batching": batching, "switch": switch, "soak": soak}
    with (
        tempfile.TemporaryDirectory(prefix="medcoss-serving-") as folder,
        platform(Path(folder), options.size, options.max_batch, options.queue_delay_us) as target,
    ):
        missed = [name for name in options.parts if not parts[name](target, options)]
    print(json.dumps({"missed": missed}))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
