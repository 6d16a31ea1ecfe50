"""What a worker asks of the Kubernetes API server: TrainJobs, their pods, and the pods' logs. Five calls, no more."""

import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from services.core.settings import Settings

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TRAINER = "/apis/trainer.kubeflow.org/v1alpha1"
CONTAINER = "node"
TIMEOUT_S = 10.0
# a log that is silent so long is asked for anew: a connection may be dead without a sign
SILENT_S = 60.0


class ClusterAway(Exception):
    """The API server does not answer, or not now."""


class ClusterRefused(Exception):
    """The API server has refused a request; what it said."""


class Cluster:
    """The API server, for one namespace."""

    def __init__(self, settings: Settings) -> None:
        """Raises ClusterRefused when it is not known where the API server is."""
        self.namespace = settings.machines_namespace or _read("namespace")
        if not self.namespace:
            raise ClusterRefused("MEDCOSS_MACHINES_NAMESPACE is not set, and this is no pod that could tell")
        authority = ACCOUNT / "ca.crt"
        verify = ssl.create_default_context(cafile=str(authority)) if authority.is_file() else True
        self._client = httpx.Client(base_url=_server(settings), verify=verify, timeout=TIMEOUT_S)

    def create(self, train_job: dict[str, Any]) -> None:
        """Create a TrainJob; one of that name that is there already was created before the answer was lost."""
        self._ask("POST", self._of("trainjobs"), but=409, json=train_job)

    def remove(self, name: str) -> None:
        """Remove a TrainJob and its pods, which get SIGTERM and their time; none is fine, too."""
        self._ask("DELETE", self._of("trainjobs", name), but=404, params={"propagationPolicy": "Background"})

    def end_pod(self, name: str) -> None:
        """End a pod at once."""
        self._ask("DELETE", self._core("pods", name), but=404, params={"gracePeriodSeconds": "0"})

    def runtime(self, name: str) -> dict[str, Any]:
        """A TrainingRuntime. ClusterRefused when there is none."""
        return self._ask("GET", self._of("trainingruntimes", name))

    def train_job(self, name: str) -> dict[str, Any] | None:
        """A TrainJob; None when it is not there."""
        return self._ask("GET", self._of("trainjobs", name), but=404) or None

    def train_jobs(self, selector: str) -> list[dict[str, Any]]:
        """The TrainJobs with these labels."""
        return list(self._ask("GET", self._of("trainjobs"), params={"labelSelector": selector})["items"])

    def pods(self, train_job: str) -> list[dict[str, Any]]:
        """The pods of a TrainJob; JobSet, which makes them, gives them its name."""
        selector = f"jobset.sigs.k8s.io/jobset-name={train_job}"
        return list(self._ask("GET", self._core("pods"), params={"labelSelector": selector})["items"])

    def log(self, pod: str, since: str | None) -> Iterator[str]:
        """The lines of a pod's log with their times, also those that are still to come, until it ends.

        Raises ClusterAway when the connection breaks, ClusterRefused when the pod is gone.
        """
        wanted = {"container": CONTAINER, "follow": "true", "timestamps": "true"}
        wanted |= {"sinceTime": since} if since else {}
        patience = httpx.Timeout(TIMEOUT_S, read=SILENT_S)
        try:
            with self._client.stream("GET", self._core("pods", pod, "log"), params=wanted, headers=_token(),
                                     timeout=patience) as answer:  # fmt: skip
                if answer.is_error:
                    answer.read()
                    raise _failure(answer)
                yield from answer.iter_lines()
        except httpx.HTTPError as error:
            raise ClusterAway(type(error).__name__) from error

    def _of(self, *parts: str) -> str:
        return "/".join((TRAINER, "namespaces", self.namespace, *parts))

    def _core(self, *parts: str) -> str:
        return "/".join(("/api/v1", "namespaces", self.namespace, *parts))

    def _ask(self, method: str, path: str, but: int | None = None, **request: Any) -> dict[str, Any]:
        """The answer; empty for the status `but`, which is no error."""
        try:
            answer = self._client.request(method, path, headers=_token(), **request)
        except httpx.HTTPError as error:
            raise ClusterAway(type(error).__name__) from error
        if answer.status_code == but:
            return {}
        if answer.is_error:
            raise _failure(answer)
        found: dict[str, Any] = answer.json()
        return found


def _failure(answer: httpx.Response) -> Exception:
    try:
        message = str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        message = f"status {answer.status_code}"
    passing = answer.status_code == 429 or answer.status_code >= 500
    return ClusterAway(message) if passing else ClusterRefused(message)


def _server(settings: Settings) -> str:
    if settings.machines_api:
        return settings.machines_api
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT_HTTPS", "443")
    if not host:
        raise ClusterRefused("MEDCOSS_MACHINES_API is not set, and this is no pod of a cluster")
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def _token() -> dict[str, str]:
    """Read anew each time: the kubelet replaces it."""
    token = _read("token")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _read(name: str) -> str:
    try:
        return (ACCOUNT / name).read_text().strip()
    except OSError:
        return ""
