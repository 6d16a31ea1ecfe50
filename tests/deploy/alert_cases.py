"""For every alert, an hour of numbers on which it has to fire at its end, and one on which it must not."""

# a sample every 30 s, for so long
MINUTES = 60


def flat(value: float) -> str:
    """The same all the time."""
    return f"{value}+0x{2 * MINUTES}"


def rising(by: float) -> str:
    """A counter, with its increase in 30 s."""
    return f"0+{by}x{2 * MINUTES}"


def at_last(value: float, minutes: int) -> str:
    """A counter that has stood at 0 and made one step so many minutes before the end."""
    return f"0x{2 * (MINUTES - minutes)} {value}x{2 * minutes}"


def histogram(name: str, labels: str, seconds: float) -> dict[str, str]:
    """One observation in 30 s that took so long."""
    bounds = (0.1, 1.0, 5.0, 60.0)
    return {f'{name}_bucket{{{labels},le="{bound}"}}': rising(1 if seconds <= bound else 0) for bound in bounds} | {
        f'{name}_bucket{{{labels},le="+Inf"}}': rising(1)
    }


def _failures(reason: str, values: str) -> dict[str, str]:
    # two control planes tell the same
    return {f'medcoss_attempt_failures_total{{reason="{reason}",instance="{n}"}}': values for n in "ab"}


def _http(status: str, by: float, route: str = "/v1/jobs") -> dict[str, str]:
    return {f'medcoss_http_requests_total{{method="GET",route="{route}",status="{status}"}}': rising(by)}


def _gateway(status: str, by: float, route: str = "/v1/models/{name}/embed") -> dict[str, str]:
    return {f'medcoss_gateway_requests_total{{route="{route}",status="{status}"}}': rising(by)}


def _sent(outcome: str, by: float) -> dict[str, str]:
    return {f'medcoss_webhook_messages_total{{outcome="{outcome}"}}': rising(by)}


def _queued(resource_class: str, jobs: int, oldest_s: float = 0) -> dict[str, str]:
    return {
        f'medcoss_queue_jobs{{resource_class="{resource_class}"}}': flat(jobs),
        f'medcoss_queue_oldest_seconds{{resource_class="{resource_class}"}}': flat(oldest_s),
    }


def _workers(idle: int, running: int = 0) -> dict[str, str]:
    return {f'medcoss_workers{{state="{s}"}}': flat(n) for s, n in (("idle", idle), ("running", running))}


HOUR = 3600
# the seconds since 0 at which the hour ends
NOW = MINUTES * 60
CASES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "MedcossPartDown": (
        {'up{job="medcoss-worker",instance="a"}': flat(1), 'up{job="medcoss-worker",instance="b"}': flat(0)},
        {'up{job="medcoss-worker",instance="a"}': flat(1), 'up{job="another"}': flat(0)},
    ),
    "MedcossNoControlPlane": (
        {'up{job="medcoss-api"}': flat(0), 'up{job="medcoss-worker"}': flat(1)},
        {'up{job="medcoss-api",instance="a"}': flat(0), 'up{job="medcoss-api",instance="b"}': flat(1)},
    ),
    "MedcossDatabaseDown": ({"medcoss_database_up": flat(0)}, {"medcoss_database_up": flat(1)}),
    "MedcossObjectStoreDown": ({"medcoss_object_store_up": flat(0)}, {"medcoss_object_store_up": flat(1)}),
    "MedcossBrokerDown": ({"medcoss_broker_up": flat(0)}, {"medcoss_broker_up": flat(1)}),
    "MedcossRingsFail": (
        {"medcoss_ring_failures_total": rising(1)}, {"medcoss_ring_failures_total": at_last(3, 30)},
    ),
    "MedcossNoWorker": (_workers(0), _workers(0, 1)),
    "MedcossWorkerSilent": (
        {'medcoss_worker_heartbeat_age_seconds{worker="a"}': flat(25)},
        {'medcoss_worker_heartbeat_age_seconds{worker="a"}': flat(4)},
    ),
    "MedcossWorkerLost": (_failures("lost_worker", at_last(1, 10)), _failures("lost_worker", at_last(1, 30))),
    "MedcossNoGpuWorker": (
        _queued("gpu", 2) | {'medcoss_worker_gpus{worker="a"}': flat(0)},
        _queued("gpu", 2) | {'medcoss_worker_gpus{worker="a"}': flat(0), 'medcoss_worker_gpus{worker="b"}': flat(1)},
    ),
    "MedcossQueueStands": (_queued("cpu", 3, 900) | _workers(1, 2), _queued("cpu", 3, 900) | _workers(0, 3)),
    "MedcossQueueOld": (_queued("gpu", 1, 7 * HOUR) | _workers(0, 1), _queued("gpu", 1, 5 * HOUR)),
    "MedcossJobsFail": (
        _failures("code", at_last(4, 20)) | _failures("data", at_last(3, 40)),
        _failures("code", at_last(4, 20)) | _failures("lost_worker", at_last(9, 20)),
    ),
    "MedcossOutOfMemory": (_failures("out_of_memory", at_last(1, 40)), _failures("code", at_last(1, 40))),
    "MedcossTrainingSilent": (
        {'medcoss_training_silent_seconds{kind="pretrain"}': flat(2400)},
        {'medcoss_training_silent_seconds{kind="pretrain"}': flat(600)},
    ),
    "MedcossGpuMemoryFull": (
        {'medcoss_worker_gpu_memory_used_bytes{worker="a"}': flat(79e9),
         'medcoss_worker_gpu_memory_bytes{worker="a"}': flat(80e9)},
        {'medcoss_worker_gpu_memory_used_bytes{worker="a"}': flat(79e9),
         'medcoss_worker_gpu_memory_bytes{worker="a"}': flat(160e9)},
    ),
    "MedcossGpuIdle": (
        {'medcoss_worker_gpu_utilisation{worker="a"}': flat(0)} | _queued("gpu", 1),
        {'medcoss_worker_gpu_utilisation{worker="a"}': flat(0)} | _queued("gpu", 0) | _queued("cpu", 1),
    ),
    "MedcossDiskFull": (
        {"medcoss_cache_disk_free_bytes": flat(5e9), "medcoss_cache_disk_bytes": flat(100e9)},
        # a process without a cache
        {"medcoss_cache_disk_free_bytes": flat(0), "medcoss_cache_disk_bytes": flat(0)},
    ),
    "MedcossSweeperStands": (
        {'medcoss_sweep_last_timestamp_seconds{job="medcoss-beat"}': flat(NOW - 300),
         'medcoss_sweep_last_timestamp_seconds{job="medcoss-worker"}': flat(0)},
        {'medcoss_sweep_last_timestamp_seconds{job="medcoss-beat"}': f"0+30x{2 * MINUTES}",
         'medcoss_sweep_last_timestamp_seconds{job="medcoss-worker"}': flat(0)},
    ),
    "MedcossLeasesExpired": (
        {"medcoss_expired_leases": flat(2)}, {"medcoss_expired_leases": f"0x{2 * MINUTES - 2} 1 1"},
    ),
    "MedcossLeftovers": (
        {"medcoss_leftovers_oldest_seconds": flat(7 * HOUR)}, {"medcoss_leftovers_oldest_seconds": flat(HOUR)},
    ),
    "MedcossWebhooksStand": (
        {"medcoss_webhook_messages_due_oldest_seconds": flat(900)},
        {"medcoss_webhook_messages_due_oldest_seconds": flat(20)},
    ),
    "MedcossWebhooksFail": (
        _sent("retried", 1) | _sent("failed", 1) | _sent("delivered", 1), _sent("retried", 1) | _sent("delivered", 9),
    ),
    "MedcossWebhookDisabled": ({"medcoss_webhooks_disabled": flat(1)}, {"medcoss_webhooks_disabled": flat(0)}),
    "MedcossRequestsFail": (
        _http("500", 1) | _http("200", 9), _http("503", 9, "/readyz") | _http("404", 9) | _http("200", 1),
    ),
    "MedcossRequestsSlow": (
        histogram("medcoss_http_request_seconds", 'route="/v1/jobs"', 4),
        histogram("medcoss_http_request_seconds", 'route="/v1/jobs"', 0.05)
        | histogram("medcoss_http_request_seconds", 'route="/v1/events"', 50)
        | histogram("medcoss_http_request_seconds", 'route="/v1/jobs/{job_id}/stream"', 50),
    ),
    "MedcossKeysTried": (_http("401", 60), _http("401", 1)),
    "MedcossDatabaseErrors": (
        {'medcoss_db_errors_total{error="OperationalError"}': rising(2)},
        {'medcoss_db_errors_total{error="UniqueViolation"}': rising(2),
         'medcoss_db_errors_total{error="IntegrityError"}': rising(2)},
    ),
    "MedcossDatabaseSlow": (
        histogram("medcoss_db_seconds", 'operation="select"', 0.9),
        histogram("medcoss_db_seconds", 'operation="select"', 0.02),
    ),
    "MedcossObjectStoreErrors": (
        {'medcoss_s3_errors_total{operation="put"}': rising(2)}, {'medcoss_s3_errors_total{operation="put"}': flat(9)},
    ),
    "MedcossObjectStoreSlow": (
        histogram("medcoss_s3_seconds", 'operation="get"', 20), histogram("medcoss_s3_seconds", 'operation="get"', 0.9),
    ),
    "MedcossInferenceFails": (
        _gateway("503", 1) | _gateway("200", 9), _gateway("503", 9, "/readyz") | _gateway("200", 9),
    ),
    "MedcossInferenceSlow": (
        histogram("medcoss_inference_stage_seconds", 'model="m",stage="infer"', 50),
        histogram("medcoss_inference_stage_seconds", 'model="m",stage="decode"', 50),
    ),
}  # fmt: skip
