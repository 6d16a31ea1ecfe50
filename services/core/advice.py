"""What to try after a failed attempt, for its reason, its kind and its spec."""

from typing import Any

from services.core.tables import Job

_SMALLER = {"large": "base", "base": "small", "small": "tiny"}


def advice(job: Job, why: dict[str, Any], again: bool) -> list[str]:
    """Things to try, the most promising first. `again`: the platform tries once more by itself."""
    found = _BY_REASON.get(why["reason"], _code)(job, why)
    return [*found, *_what_follows(job, why["reason"], again)]


def _what_follows(job: Job, reason: str, again: bool) -> list[str]:
    kept = job.checkpoint_step
    if again:
        start = f"from the checkpoint of step {kept} or a later one" if kept is not None else "from the beginning"
        # what has gone wrong by itself may go wrong again
        lead = "nothing has to be done: " if reason == "lost_worker" else ""
        return [f"{lead}attempt {job.attempt + 1} of {job.max_attempts} starts by itself, {start}"]
    if reason in {"data", "time_limit", "cancelled"}:
        return []
    spent = job.attempt >= job.max_attempts
    used = f"all {job.max_attempts} attempts are used up" if spent else "retry.on leaves it out"
    return [f"it is not tried again ({used}); submit it again once the cause is mended"]


def _out_of_memory(job: Job, _: dict[str, Any]) -> list[str]:
    spec, found = job.spec, []
    batch = spec.get("batch_size")
    if batch and "accumulate" in spec:
        processes = (job.nodes or 1) * max(job.gpus or 1, 1)
        share, parts = batch // processes, next_cut(batch, spec["accumulate"], processes)
        if parts is not None:
            whose = f"each process's {share} samples of the batch are" if processes > 1 else f"the batch of {batch} is"
            found.append(
                f"set accumulate to {parts}: {whose} computed {share // parts} samples at a time, "
                f"instead of {share // spec['accumulate']}, with the same result"
            )
    if batch and batch > 1 and "accumulate" not in spec:
        found.append(f"set batch_size to {batch // 2}, half of what it is; the result does not depend on it")
    if spec.get("precision") == "fp32" and (job.gpus or 0) > 0:
        found.append("set precision to auto: 16-bit numbers take half of the memory on a GPU")
    if job.kind in ("preprocess", "preprocess_chunk"):
        found.append("ask for a worker with more memory (resources.memory_bytes), or split the largest files")
    else:
        found.append("ask for a worker with more memory (resources.memory_bytes, or GPUs with more)")
    smaller = _SMALLER.get(spec.get("size", ""))
    if smaller and not spec.get("init_model"):
        found.append(f"set size to {smaller}")
    return found


def next_cut(batch: int, accumulate: int, processes: int) -> int | None:
    """The smallest number of micro-batches, at least twice as many, that shares the batch equally."""
    cuts = range(2 * accumulate, batch // processes + 1)
    return next((parts for parts in cuts if batch % (parts * processes) == 0), None)


def _data(job: Job, why: dict[str, Any]) -> list[str]:
    where = why.get("where", "")
    if where.split("/")[0] in job.spec:
        return [f"change {where} in the spec as the message says and submit the job again"]
    named = f"mend or leave out {where}" if where else "mend the input as the message says"
    found = [f"{named} and submit the job again; as it is, it would fail each time"]
    if job.kind == "preprocess":
        found.append("or raise max_bad_fraction to leave out what cannot be used; report.json lists it")
    return found


def _lost_worker(_: Job, __: dict[str, Any]) -> list[str]:
    return []


def _killed(_: Job, __: dict[str, Any]) -> list[str]:
    return ["see the log of the worker's machine (dmesg, or the events of its pod): its control group counted no "
            "out-of-memory kill, so somebody or the system ended the process"]  # fmt: skip


def _storage(_: Job, __: dict[str, Any]) -> list[str]:
    return ["see /readyz and the object store: is it reachable, has it room, and has the worker's cache folder?"]


def _serving(_: Job, __: dict[str, Any]) -> list[str]:
    return ["see whether Triton runs and what its log says of the model"]


def _time_limit(job: Job, _: dict[str, Any]) -> list[str]:
    found = "raise time_limit_s and resume it: it goes on from its checkpoint"
    if job.done and job.total and job.ran_s > 0:
        whole = job.ran_s * job.total / job.done
        found += f"; {job.done} of {job.total} were done in {job.ran_s:.0f} s, at that pace all take {whole:.0f} s"
    return [found, "or cancel it"]


def _cancelled(_: Job, __: dict[str, Any]) -> list[str]:
    return ["nothing: its owner wanted it so; submit it again to start anew"]


def _code(job: Job, _: dict[str, Any]) -> list[str]:
    return [f"report it with the id {job.id} and the last log lines; the worker's log has the trace"]


_BY_REASON = {
    "out_of_memory": _out_of_memory, "data": _data, "lost_worker": _lost_worker, "killed": _killed,
    "storage": _storage, "serving": _serving, "time_limit": _time_limit,
    "cancelled": _cancelled, "code": _code,
}  # fmt: skip
