"""The client of one platform."""

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from medcoss.client.access import Audit, Keys, Projects
from medcoss.client.datasets import Datasets
from medcoss.client.deployments import Deployments
from medcoss.client.erasures import Erasures
from medcoss.client.evaluations import Evaluations
from medcoss.client.finding import find_server
from medcoss.client.gc import GarbageCollector
from medcoss.client.indexes import Indexes
from medcoss.client.inference import Inference
from medcoss.client.jobs import Jobs
from medcoss.client.pipelines import Pipelines
from medcoss.client.records import Hit, Me, PlatformInfo
from medcoss.client.registry import Aliases, Models
from medcoss.client.transport import Connections, Transport
from medcoss.client.uploads import Uploads
from medcoss.client.usage_records import Usage
from medcoss.client.webhooks import Webhooks
from medcoss.client.workers import Workers

TIMEOUT_S = 60.0


class Client:
    """Talks to a platform: `datasets`, `uploads`, `jobs`, `pipelines`, `models`, `evaluations`, `indexes`, `aliases`,
    `deployments`, `inference`, `webhooks`, `workers`, and for administrators `projects`, `keys`, `audit` and `gc`.

    Without arguments, server and key come from MEDCOSS_SERVER and MEDCOSS_KEY, or else from the data folder of
    a platform on this machine (`data_dir`, MEDCOSS_DATA_DIR or `.medcoss`). `gateway` is the address of the
    inference gateway, by default the one the platform tells; `timeout_s` holds for ordinary calls.
    Raises NotConfigured when no server or no key is found. It may be used from several threads.
    """

    def __init__(
        self,
        server: str | None = None,
        key: str | None = None,
        *,
        data_dir: Path | str | None = None,
        gateway: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        found = find_server(server, key, data_dir)
        self.server = found.server
        self._key, self._gateway_url = found.key, gateway
        self._connections = Connections(timeout_s)
        self._transport = Transport(self._connections, found.server, found.key, found.advice)
        self._gateway: Transport | None = None
        self._platform: PlatformInfo | None = None
        self.datasets = Datasets(self._transport, self._connections)
        self.uploads = Uploads(self._transport)
        self.jobs = Jobs(self._transport, self._connections)
        self.pipelines = Pipelines(self._transport, self.jobs)
        self.models = Models(self._transport, self._connections)
        self.evaluations = Evaluations(self._transport, self._connections)
        self.aliases = Aliases(self._transport)
        self.erasures = Erasures(self._transport)
        self.deployments = Deployments(self._transport)
        self.webhooks = Webhooks(self._transport)
        self.projects = Projects(self._transport)
        self.keys = Keys(self._transport)
        self.audit = Audit(self._transport)
        self.workers = Workers(self._transport)
        self.gc = GarbageCollector(self._transport)
        self.inference = Inference(self._find_gateway)
        self.indexes = Indexes(self._transport, self._connections, self._find_gateway, self.jobs)

    def platform(self) -> PlatformInfo:
        """Version, the gateway's address and limits."""
        if self._platform is None:
            self._platform = self._transport.parse(PlatformInfo, self._transport.get("/v1/platform"))
        return self._platform

    def search(
        self, q: str, *, type: Iterable[str] | None = None, project: str | None = None, limit: int = 20
    ) -> list[Hit]:
        """Datasets, jobs and models by words, or how they begin, of names, tags and notes, newest first. `type` is some
        of `dataset`, `job` and `model`.
        """
        asked = {"q": q, "type": None if type is None else [*type], "project": project, "limit": limit}
        found = self._transport.get("/v1/search", asked)
        return [self._transport.parse(Hit, item) for item in found["items"]]

    def me(self) -> Me:
        """Whose key this is, its role and its projects."""
        return self._transport.parse(Me, self._transport.get("/v1/me"))

    def usage(self, project: str | None = None) -> Usage:
        """Jobs against the quotas, what the key's projects, or one of them by name or id, have stored, and the disk."""
        return self._transport.parse(Usage, self._transport.get("/v1/usage", {"project": project}))

    def ready(self) -> dict[str, str]:
        """What the control plane needs, each `ok`. Raises ApiError (503) naming what does not answer."""
        response = self._transport.call("GET", "/readyz", idempotent=False)
        return dict(self._transport.document(response))

    def job_counts(self) -> dict[str, int]:
        """The number of jobs in each state."""
        text = self._transport.call("GET", "/metrics").text
        lines = [line for line in text.splitlines() if line.startswith('medcoss_jobs{state="')]
        return {line.split('"')[1]: int(float(line.rpartition(" ")[2])) for line in lines}

    def _find_gateway(self) -> Transport:
        if self._gateway is None:
            url = (self._gateway_url or self.platform().gateway_url).rstrip("/")
            self._gateway = Transport(self._connections, url, self._key, "is the inference gateway running?")
        return self._gateway

    def close(self) -> None:
        """Close all connections."""
        self._connections.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
