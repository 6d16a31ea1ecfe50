"""The chart: what is rendered is valid Kubernetes, keeps to the policy, and uses every value that there is."""

import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import promql_parser as promql
import pytest
import yaml
from kubeflow_trainer_api.models.trainer_v1alpha1_training_runtime import TrainerV1alpha1TrainingRuntime
from kubernetes_validate.utils import SchemaNotFoundError

from medcoss import __version__
from services.core.attempts import Claim
from services.core.settings import Settings
from services.worker.machines.cluster import CONTAINER
from services.worker.machines.trainjob import train_job
from tests.deploy.compose import COMPOSE
from tests.deploy.manifests import CHART, FILES, Manifest, helm, pods, rendered
from tests.deploy.test_deploy_monitoring import EXPORTED, selectors

VERSIONS = ["1.27", "1.30", "1.34"]
# of operators; their schemas are not Kubernetes' own
CUSTOM = {"TrainingRuntime", "ScaledObject", "ServiceMonitor", "PodMonitor", "PrometheusRule"}
EVERYTHING = (
    "--set=monitoring.enabled=true,ingress.enabled=true,ingress.tlsSecret=tls,workers.gpu.enabled=true,"
    "workers.gpu.keda.enabled=true,machines.enabled=true,api.autoscaling.enabled=true,workers.gpu.cache.storageClass=fast"
)
each_file = pytest.mark.parametrize("values", FILES, ids=lambda path: path.stem)


def with_everything(values: Path) -> list[Manifest]:
    """What is rendered; with the chart's own values also everything that is off by default."""
    return [*rendered(values), *(rendered(values, EVERYTHING) if values == FILES[0] else [])]


@each_file
def test_helm_finds_no_fault(values: Path) -> None:
    found = helm("lint", str(CHART), "--strict", "-f", str(values))
    assert found.returncode == 0, found.stdout + found.stderr


@each_file
def test_manifests_are_valid_for_every_supported_kubernetes(values: Path) -> None:
    for item in with_everything(values):
        for version in VERSIONS if values == FILES[0] else VERSIONS[-1:]:
            try:
                kubernetes_validate.validate(item, version, strict=True)
            except SchemaNotFoundError:
                assert item["kind"] in CUSTOM, f"{item['apiVersion']} {item['kind']} is unknown to {version}"


@each_file
def test_names_are_given_once_and_everything_lies_in_the_namespace(values: Path) -> None:
    names = [(item["kind"], item["metadata"]["name"]) for item in rendered(values)]
    assert len(names) == len(set(names))
    assert {item["metadata"]["namespace"] for item in rendered(values)} == {"imaging"}


@each_file
def test_no_pod_is_privileged_or_root_or_talks_to_the_api_server(values: Path) -> None:
    for name, spec in pods(with_everything(values)).items():
        # what creates TrainJobs asks for them
        assert spec["automountServiceAccountToken"] is name.endswith("-medcoss-machines"), name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        assert spec["securityContext"]["runAsNonRoot"] is True and spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not any("hostPath" in volume for volume in spec.get("volumes", [])), name
        for container in spec["containers"] + spec.get("initContainers", []):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "privileged": False, "readOnlyRootFilesystem": True,
                "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]},
            }, name  # fmt: skip


@each_file
def test_every_container_is_limited_and_every_lasting_one_is_probed(values: Path) -> None:
    for name, spec in pods(with_everything(values)).items():
        for container in spec["containers"]:
            for part in ("requests", "limits"):
                assert {"cpu", "memory"} <= set(container["resources"][part]), f"{name}: {part}"
            if name.startswith(("Deployment", "StatefulSet")):
                assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container), name
        for volume in spec.get("volumes", []):
            if "emptyDir" in volume:
                assert volume["emptyDir"]["sizeLimit"], f"{name}: {volume['name']}"


@each_file
def test_images_have_a_tag_that_says_which(values: Path) -> None:
    for name, spec in pods(with_everything(values)).items():
        for container in spec["containers"]:
            tag = container["image"].rpartition("/")[2].partition(":")[2]
            assert tag and tag != "latest", f"{name}: {container['image']}"


@each_file
def test_nothing_secret_is_readable_outside_of_secrets(values: Path) -> None:
    """Whatever the chart's secret holds is nowhere else, and no variable carries a secret."""
    for objects in (rendered(values), with_everything(values)):
        secrets = [item for item in objects if item["kind"] == "Secret"]
        kept = {value for item in secrets for value in item["stringData"].values()}
        rest = json.dumps([item for item in objects if item["kind"] != "Secret"])
        assert not any(value in rest for value in kept)
        for name, spec in pods(objects).items():
            for container in spec["containers"]:
                for variable in container.get("env", []):
                    secret = re.search(r"KEY|PASSWORD|SECRET|CREDENTIAL|DATABASE_URL|REDIS_URL", variable["name"])
                    assert not secret or re.search(r"_FILE$|_DIR$|_PATH$", variable["name"]), f"{name}: {variable}"
        settings = next(i for i in objects if i["kind"] == "ConfigMap" and i["metadata"]["name"].endswith("-settings"))
        assert "MEDCOSS_DATABASE_URL" not in settings["data"]


@each_file
def test_every_pod_has_a_network_policy_and_every_service_a_pod(values: Path) -> None:
    objects = rendered(values, EVERYTHING, "--set=networkPolicy.enabled=true")
    components = {"prepare", "test"}
    for item in objects:
        if item["kind"] in {"Deployment", "StatefulSet"}:
            components.add(item["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"])
    policies = {
        item["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]: item["spec"]
        for item in objects if item["kind"] == "NetworkPolicy"
    }  # fmt: skip
    assert components <= set(policies)
    assert all(spec["policyTypes"] == ["Ingress", "Egress"] for spec in policies.values())
    for item in objects:
        if item["kind"] == "Service":
            assert item["spec"]["selector"]["app.kubernetes.io/component"] in components


def test_network_policies_let_through_what_is_needed_and_no_more() -> None:
    """Both ends have to allow it: the egress of the one and the ingress of the other."""
    objects = rendered(FILES[0], EVERYTHING, "--set-json=networkPolicy.clients=[{}],networkPolicy.prometheus=[{}]")
    policies = {
        item["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]: item["spec"]
        for item in objects if item["kind"] == "NetworkPolicy"
    }  # fmt: skip

    def allows(rules: list[Manifest], side: str, other: str, port: int) -> bool:
        return any(
            one.get("podSelector", {}).get("matchLabels", {}).get("app.kubernetes.io/component") == other
            and ("ports" not in rule or {"port": port} in rule["ports"])
            for rule in rules for one in rule.get(side, [])
        )  # fmt: skip

    platform = {"api", "gateway", "worker", "machines", "beat", "prepare"}
    needed = {
        *((one, "postgresql", 5432) for one in platform), *((one, "redis", 6379) for one in platform),
        *((one, "s3", 9000) for one in platform | {"trainer", "triton"}),
        *((one, "triton", 8000) for one in ("gateway", "worker", "beat")),
        ("test", "api", 8000), ("test", "gateway", 8001), ("trainer", "trainer", 29400),
    }  # fmt: skip
    ports = {"postgresql": 5432, "redis": 6379, "s3": 9000, "triton": 8000, "api": 8000, "gateway": 8001}
    found = {
        (one, other, port)
        for one in policies for other, port in [*ports.items(), ("trainer", 29400), ("worker", 9464)]
        if allows(policies[one].get("egress") or [], "to", other, port)
        and allows(policies[other].get("ingress") or [], "from", one, port)
    }  # fmt: skip
    assert found == needed
    for component in policies:
        names = next(rule["ports"] for rule in policies[component]["egress"] if "to" not in rule)
        assert {one["port"] for one in names} == {53}, f"{component} cannot ask for names"
    for item in objects:
        for rule in item["spec"].get("podMetricsEndpoints", []) if item["kind"] == "PodMonitor" else []:
            component = item["metadata"]["labels"]["app.kubernetes.io/component"]
            port = 8002 if component == "triton" else 9464
            assert rule["port"] == "metrics"
            assert {"ports": [{"port": port}], "from": [{}]} in policies[component]["ingress"], component


def test_triton_is_given_an_address_with_a_port() -> None:
    """Without one it takes the address for the name of a bucket: `S3FileSystem` of Triton's core."""
    known = re.compile(r"s3://(http://|https://|)([0-9a-zA-Z\-.]+):([0-9]+)/([0-9a-z.\-]+)(((/[0-9a-zA-Z.\-_]+)*)?)")
    elsewhere = "--set=existingSecret=mine,postgresql.bundled=false,s3.bundled=false,s3.endpoint="
    for options, wanted in [
        ((), "s3://http://clinic-medcoss-s3:9000/medcoss/triton"),
        ((elsewhere + "s3.example.org,s3.secure=true",), "s3://https://s3.example.org:443/medcoss/triton"),
        ((elsewhere + "s3.example.org",), "s3://http://s3.example.org:80/medcoss/triton"),
        ((elsewhere + "store:9000,s3.secure=true",), "s3://https://store:9000/medcoss/triton"),
    ]:
        spec = pods(rendered(FILES[0], *options))["Deployment/clinic-medcoss-triton"]
        (option,) = (one for one in spec["containers"][0]["args"] if one.startswith("--model-repository="))
        assert option.partition("=")[2] == wanted and known.fullmatch(wanted)


def test_a_job_has_time_to_write_its_checkpoint_when_its_pod_ends() -> None:
    for item in rendered(CHART / "examples" / "gpu-cluster.yaml"):
        if item["kind"] == "Deployment" and "-worker-" in item["metadata"]["name"]:
            spec = item["spec"]["template"]["spec"]
            grace = next(v["value"] for v in spec["containers"][0]["env"] if v["name"] == "MEDCOSS_STOP_GRACE_S")
            assert spec["terminationGracePeriodSeconds"] >= int(grace) + 15
            assert item["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}


def test_migrations_come_before_everything_else_of_an_upgrade() -> None:
    def job(values: str, *options: str) -> Manifest:
        return next(i for i in rendered(CHART / values, *options) if i["kind"] == "Job")["metadata"]

    hook = "helm.sh/hook"
    # the database is of the release: nothing to migrate before it is installed
    assert hook not in job("values.yaml").get("annotations", {})
    assert job("values.yaml", "--is-upgrade")["annotations"][hook] == "pre-upgrade"
    assert job("examples/gpu-cluster.yaml")["annotations"][hook] == "pre-install,pre-upgrade"


def test_an_upgrade_may_bring_workers_before_control_planes() -> None:
    objects = rendered(FILES[0], "--is-upgrade", "--set=image.tag=0.2.0,image.webTag=0.1.0,machines.enabled=true")
    tags = {name.rpartition("medcoss-")[2].partition("-")[0]: spec["containers"][0]["image"].rpartition(":")[2]
            for name, spec in pods(objects).items() if name.startswith(("Deployment", "Job"))}  # fmt: skip
    assert tags.pop("triton")
    assert {name for name, tag in tags.items() if tag.startswith("0.1.0")} == {"api", "gateway"}
    assert {name for name, tag in tags.items() if tag.startswith("0.2.0")} == {"prepare", "worker", "beat", "machines"}


def test_what_supervises_several_machines_may_do_that_and_no_more() -> None:
    objects = rendered(CHART / "examples" / "gpu-cluster.yaml")
    by_name = {(item["kind"], item["metadata"]["name"]): item for item in objects}
    assert [kind for kind, _ in by_name if kind in {"Role", "RoleBinding"}] == ["Role", "RoleBinding"]
    allowed = {
        (verb, resource) for rule in by_name["Role", "clinic-medcoss-machines"]["rules"]
        for resource in rule["resources"] for verb in rule["verbs"]
    }  # fmt: skip
    assert allowed == {
        *((verb, "trainjobs") for verb in ("create", "get", "list", "delete")),
        ("get", "trainingruntimes"), ("list", "pods"), ("delete", "pods"), ("get", "pods/log"),
    }  # fmt: skip
    (subject,) = by_name["RoleBinding", "clinic-medcoss-machines"]["subjects"]
    assert subject["name"] == "clinic-medcoss-machines" and subject["namespace"] == "imaging"


def test_the_runtime_is_one_that_kubeflow_trainer_knows_and_the_worker_asks_for() -> None:
    objects = rendered(CHART / "examples" / "gpu-cluster.yaml")
    runtime = next(item for item in objects if item["kind"] == "TrainingRuntime")
    known = TrainerV1alpha1TrainingRuntime.from_dict(runtime)
    assert known is not None and known.to_dict() == runtime, "nothing that the API does not know"
    pod = pods([runtime])["TrainingRuntime/clinic-medcoss-trainer"]
    (container,) = pod["containers"]
    env = {one["name"]: one["value"] for one in container["env"]}
    assert pod["restartPolicy"] == "Never" and container["name"] == CONTAINER
    assert pod["terminationGracePeriodSeconds"] >= int(env["MEDCOSS_STOP_GRACE_S"]) + 15
    secrets = next(volume for volume in pod["volumes"] if volume["name"] == "secrets")["secret"]["items"]
    assert {one["path"] for one in secrets} == {"medcoss_s3_access_key", "medcoss_s3_secret_key"}

    worker = next(item for item in objects if item["metadata"]["name"] == "clinic-medcoss-machines"
                  and item["kind"] == "Deployment")["spec"]["template"]["spec"]  # fmt: skip
    given = {one["name"]: one["value"] for one in worker["containers"][0]["env"]}
    assert given["MEDCOSS_MACHINES_RUNTIME"] == runtime["metadata"]["name"]
    assert int(given["MEDCOSS_STOP_GRACE_S"]) > pod["terminationGracePeriodSeconds"]
    assert {name for name in given if name != "MEDCOSS_STOP_GRACE_S"} <= {
        f"MEDCOSS_{name.upper()}" for name in Settings.model_fields
    }
    # the job's own resources come to those of the runtime
    claim = Claim("job_1", "prj_1", "pretrain", "n", {}, 1, 3, 2, nodes=4, gpus_each=8)
    made = train_job(claim, Settings(machines_runtime=runtime["metadata"]["name"]), runtime)
    limits = made["spec"]["trainer"]["resourcesPerNode"]["limits"]
    assert limits == {**container["resources"]["limits"], "nvidia.com/gpu": "8"}


def test_gpus_are_asked_for_and_their_queue_is_heard() -> None:
    objects = rendered(CHART / "examples" / "one-gpu-server.yaml")
    worker = next(i for i in objects if i["metadata"]["name"].endswith("-worker-gpu"))["spec"]["template"]["spec"]
    container = worker["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "jobs,jobs.gpu" in container["args"] and container["image"].endswith(f":{__version__}-cuda")
    assert worker["tolerations"] and worker["runtimeClassName"] == "nvidia"


def test_workers_come_with_the_queue_of_their_own_release() -> None:
    scaled = {item["metadata"]["name"]: item["spec"] for item in rendered(CHART / "examples" / "gpu-cluster.yaml")
              if item["kind"] == "ScaledObject"}  # fmt: skip
    assert set(scaled) == {f"clinic-medcoss-worker-{name}" for name in ("cpu", "gpu", "gpu8")}
    for name, spec in scaled.items():
        assert spec["scaleTargetRef"] == {"name": name}
        (trigger,) = spec["triggers"]
        found = [one for one, _ in selectors(promql.parse(trigger["metadata"]["query"]))]
        assert {one.name for one in found} == {"medcoss_queue_jobs", "medcoss_worker_busy"} <= set(EXPORTED)
        for selector in found:
            # labels that the Prometheus operator gives
            labels = {one.name: one.value for one in selector.matchers.matchers}
            assert labels.pop("namespace") == "imaging" and labels.pop("pod", f"{name}-.*") == f"{name}-.*"
            assert set(labels) <= EXPORTED[selector.name]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--set=api.replica=3"], "replica"),
        (["--set=workers.gpu.gpus=2,workers.gpu.variant=cpu"], "workers.gpu.variant"),
        (["--set=postgresql.image=postgres:latest"], "postgresql.image"),
        (["--set=redis.bundled=false"], "existingSecret is needed"),
        (["--set=s3.bundled=false,existingSecret=mine"], "s3.endpoint is needed"),
        (["--set=triton.enabled=false"], "triton.url is needed"),
        (["--set=settings.MEDCOSS_ENCRYPTION_KEY=abc"], "put it into existingSecret"),
        (["--set=settings.LEASE=1"], "settings"),
        (["--set=api.resources.limits=null"], "limits"),
    ],
)
def test_values_that_cannot_work_are_refused_by_name(options: list[str], says: str) -> None:
    found = helm("template", "clinic", str(CHART), *options)
    assert found.returncode != 0 and says in found.stderr


def _leaves(values: Any, path: str = "") -> list[str]:
    if isinstance(values, dict) and values:
        return [leaf for key, value in values.items() for leaf in _leaves(value, f"{path}.{key}" if path else key)]
    return [path]


def test_every_value_is_used_and_explained() -> None:
    text = (CHART / "values.yaml").read_text()
    templates = "".join(p.read_text() for p in (CHART / "templates").rglob("*") if p.is_file())
    page = (CHART.parents[2] / "docs" / "deploy" / "kubernetes.md").read_text()
    for leaf in _leaves(yaml.safe_load(text)):
        # the parts of classes and of resources are handed on as a whole
        name = re.sub(r"\.(requests|limits)\..*$", "", leaf).rpartition(".")[2]
        assert re.search(rf"\b{name}\b", templates), f"no template uses {leaf}"
    for top in yaml.safe_load(text):
        assert f"`{top}" in page, f"docs/deploy/kubernetes.md does not tell of {top}"


def test_the_schema_knows_exactly_the_values_that_there_are() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())

    def check(values: Any, known: dict[str, Any], path: str) -> None:
        known = schema["$defs"][known["$ref"].rpartition("/")[2]] if "$ref" in known else known
        if isinstance(values, dict) and "properties" in known:
            assert set(values) == set(known["properties"]) - {"global", "ephemeral-storage"}, path
            for key, value in values.items():
                check(value, known["properties"][key], f"{path}.{key}")
        elif isinstance(values, dict) and isinstance(known.get("additionalProperties"), dict):
            for key, value in values.items():
                check(value, known["additionalProperties"], f"{path}.{key}")

    check(yaml.safe_load((CHART / "values.yaml").read_text()), schema, "values")


def test_settings_of_the_chart_are_settings_of_the_services() -> None:
    known = {f"MEDCOSS_{name.upper()}" for name in Settings.model_fields} | {"MEDCOSS_SECRETS_DIR"}
    for objects in (rendered(values, EVERYTHING) for values in FILES):
        for item in objects:
            if item["kind"] == "ConfigMap" and item["metadata"]["name"].endswith("-settings"):
                assert set(item["data"]) <= known


def test_the_backup_that_the_page_shows_runs_beside_the_release() -> None:
    page = (CHART.parents[2] / "docs" / "deploy" / "backup.md").read_text()
    (text,) = re.findall(r"^```yaml\n# backup.yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    job = yaml.safe_load(text)
    kubernetes_validate.validate(job, VERSIONS[-1], strict=True)
    release = helm("template", "medcoss", str(CHART), "-n", job["metadata"]["namespace"])
    objects = [item for item in yaml.safe_load_all(release.stdout) if item]
    prepare = next(item for item in objects if item["kind"] == "Job")["spec"]["template"]
    template = job["spec"]["jobTemplate"]["spec"]["template"]
    assert template["metadata"]["labels"].items() <= prepare["metadata"]["labels"].items()
    (container,), (own,) = template["spec"]["containers"], prepare["spec"]["containers"]
    assert container["image"] == own["image"] and set(own["volumeMounts"][0].items()) <= {
        item for mount in container["volumeMounts"] for item in mount.items()
    }
    names = {(item["kind"], item["metadata"]["name"]) for item in objects}
    assert ("ConfigMap", container["envFrom"][0]["configMapRef"]["name"]) in names
    assert ("Secret", template["spec"]["volumes"][0]["secret"]["secretName"]) in names


def test_versions_and_images_are_the_same_everywhere() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__
    values, compose = yaml.safe_load((CHART / "values.yaml").read_text()), COMPOSE.read_text()
    for part in ("postgresql", "redis", "s3", "triton"):
        assert f":-{values[part]['image']}}}" in compose
