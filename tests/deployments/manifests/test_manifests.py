"""Manifests for Kubernetes, held to KubeRay's published schema and to Kubernetes' own."""

import copy
import json
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

from deployments.__main__ import main
from deployments.access import keys
from deployments.errors import SettingsError
from deployments.manifests import files, node_groups, pods
from deployments.manifests.values import Values, read
from tests.deployments.manifests import kuberay_schema

KUBERNETES = "1.37"
SHARED = Path("../shared/kuberay")
SERVED = yaml.safe_load(Path("serve_config.yaml").read_text())
ON_PREMISES = {
    "cluster_name": "trimtab",
    "provider": {"type": "local", "head_ip": "192.0.2.10", "worker_ips": ["192.0.2.11", "192.0.2.12"]},
    "auth": {"ssh_user": "ubuntu"},
    "min_workers": 2,
    "max_workers": 2,
}
WITH_GPUS = {
    "cluster_name": "trimtab",
    "provider": {"type": "aws", "region": "eu-central-1"},
    "auth": {"ssh_user": "ubuntu"},
    "max_workers": 6,
    "available_node_types": {
        "head": {"resources": {"CPU": 4}, "node_config": {"InstanceType": "m7i.xlarge"}, "max_workers": 0},
        "ray.worker.cpu": {"resources": {"CPU": 8}, "node_config": {}, "min_workers": 2, "max_workers": 6},
        "ray.worker.gpu": {"resources": {"CPU": 8, "GPU": 2}, "node_config": {}, "min_workers": 0, "max_workers": 2},
    },
    "head_node_type": "head",
}
ALL_SAID = {
    "namespace": "models",
    "image": {"repository": "registry.example/trimtab", "tag": "1", "pullPolicy": "Always", "pullSecrets": ["pull"]},
    "secrets": {"certificate": "tls", "files": ["backend"], "environment": ["bucket"]},
    "artifacts": {"url": "https://artifacts.example/models"},
    "state": {"size": "5Gi", "storageClass": "fast"},
    "service": "LoadBalancer",
    "network": {"clients": ["shop"], "monitoring": "monitoring"},
    "redis": {"address": "redis.models.svc:6379", "secret": "redis"},
    "worker": {"nodeSelector": {"disk": "ssd"}, "tolerations": [{"key": "models", "operator": "Exists"}]},
}
CASES = {
    "as shipped": (ON_PREMISES, {"namespace": "trimtab"}),
    "GPUs and scaling": (WITH_GPUS, {"namespace": "trimtab"}),
    "all values": (WITH_GPUS, ALL_SAID),
    "one host": ({**ON_PREMISES, "min_workers": 0, "max_workers": 0}, {"namespace": "trimtab"}),
}


def made(cluster=ON_PREMISES, values=None):
    """The objects of all files."""
    chosen = Values.model_validate(values or {"namespace": "trimtab"})
    return [each for objects in files.manifests(SERVED, cluster, chosen).values() for each in objects]


def of_kind(kind, objects):
    return [each for each in objects if each.get("kind") == kind]


def spec_of(objects):
    """The RayCluster within the RayService."""
    (service,) = of_kind("RayService", objects)
    return service["spec"]["rayClusterConfig"]


def templates(cluster):
    return [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def check(each):
    """By the schema of its kind; pod templates by Kubernetes' own, within KubeRay's."""
    if each["apiVersion"] != "ray.io/v1":
        kubernetes_validate.validate(each, KUBERNETES, strict=True)
        return
    schema = json.loads((kuberay_schema.FOLDER / f"{each['kind']}.json").read_text())
    Draft202012Validator(schema).validate(each)
    cluster = each["spec"].get("rayClusterConfig", each["spec"])
    for template in templates(cluster):
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "template": template}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)
    if options := cluster.get("autoscalerOptions"):
        container = {
            "name": "autoscaler",
            **{name: options[name] for name in ("env", "securityContext", "volumeMounts")},
        }
        pod = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [container]}}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@pytest.mark.parametrize("case", CASES)
def test_kuberay_and_kubernetes_accept_every_manifest(case):
    objects = made(*CASES[case])
    assert {each["kind"] for each in objects} >= {"RayService", "RayCluster", "Service", "NetworkPolicy"}
    for each in objects:
        check(each)


def test_the_schemas_would_find_a_mistake():
    (service,) = of_kind("RayService", made())
    in_kuberay, in_kubernetes = copy.deepcopy(service), copy.deepcopy(service)
    in_kuberay["spec"]["rayClusterConfig"]["headGroupSpec"]["rayStartParam"] = {}
    with pytest.raises(ValidationError, match="rayStartParam"):
        check(in_kuberay)
    container = in_kubernetes["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    container["livenessProbe"]["httpGet"]["prot"] = 1
    with pytest.raises(kubernetes_validate.ValidationError, match="prot"):
        check(in_kubernetes)


@pytest.mark.skipif(not SHARED.exists(), reason="the published CRDs are not beside this checkout")
@pytest.mark.parametrize("kind", kuberay_schema.FILES)
def test_the_part_of_the_schema_is_that_of_the_published_crd(kind):
    crd = yaml.load((SHARED / kuberay_schema.FILES[kind]).read_text(), Loader=yaml.CSafeLoader)
    assert json.loads((kuberay_schema.FOLDER / f"{kind}.json").read_text()) == kuberay_schema.trimmed(crd)


def test_ray_serve_accepts_what_pods_are_told_to_serve():
    from ray.serve.schema import ServeDeploySchema

    (service,) = of_kind("RayService", made(values=ALL_SAID))
    told = yaml.safe_load(service["spec"]["serveConfigV2"])
    assert ServeDeploySchema.model_validate(told).http_options.host == "0.0.0.0"
    model, *_ = told["applications"]
    assert model["args"]["artifacts"] == ALL_SAID["artifacts"]["url"]


@pytest.mark.parametrize("case", CASES)
def test_pods_run_as_nobody_and_write_only_to_their_volumes(case):
    objects = made(*CASES[case])
    clusters = [spec_of(objects), of_kind("RayCluster", objects)[0]["spec"]]
    for template in [each for cluster in clusters for each in templates(cluster)]:
        (container,) = template["spec"]["containers"]
        assert container["securityContext"] == pods.security()
        assert container["securityContext"]["readOnlyRootFilesystem"] and container["securityContext"]["runAsNonRoot"]
        assert {each["name"] for each in container["volumeMounts"]} == {e["name"] for e in template["spec"]["volumes"]}
    (space,) = of_kind("Namespace", objects)
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_every_pod_is_probed_where_it_answers_without_a_key():
    cluster = spec_of(made(values={"namespace": "trimtab", "secrets": {"certificate": "tls"}}))
    head, worker = (template["spec"]["containers"][0] for template in templates(cluster))
    for container in (head, worker):
        for probe in ("startupProbe", "livenessProbe"):
            assert container[probe]["httpGet"] == {"path": "/api/local_raylet_healthz", "port": 52365}
    assert head["readinessProbe"]["httpGet"] == {"path": "/api/gcs_healthz", "port": 8265}
    assert worker["readinessProbe"]["httpGet"] == {"path": "/-/healthz", "port": 8000, "scheme": "HTTPS"}


def test_a_node_type_with_gpus_becomes_pods_with_that_limit():
    cluster = spec_of(made(WITH_GPUS))
    cpu, gpu = cluster["workerGroupSpecs"]
    assert gpu["groupName"] == "ray-worker-gpu"
    resources = gpu["template"]["spec"]["containers"][0]["resources"]
    assert resources["limits"] == {"cpu": "8", "memory": "8Gi", "nvidia.com/gpu": 2} == resources["requests"]
    assert gpu["template"]["spec"]["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert "nvidia.com/gpu" not in cpu["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert "tolerations" not in cpu["template"]["spec"]


def test_pods_are_scaled_between_what_the_node_types_allow():
    cluster = spec_of(made(WITH_GPUS))
    assert cluster["enableInTreeAutoscaling"] is True
    sizes = [(group["minReplicas"], group["replicas"], group["maxReplicas"]) for group in cluster["workerGroupSpecs"]]
    assert sizes == [(2, 2, 6), (0, 0, 2)]
    assert "enableInTreeAutoscaling" not in spec_of(made(ON_PREMISES))


def test_a_drain_takes_one_worker_at_a_time_and_is_never_blocked():
    (budget,) = of_kind("PodDisruptionBudget", made(ON_PREMISES))
    assert budget["spec"]["minAvailable"] == 1
    worker = spec_of(made(ON_PREMISES))["workerGroupSpecs"][0]["template"]["metadata"]["labels"]
    assert budget["spec"]["selector"]["matchLabels"].items() <= worker.items()
    assert of_kind("PodDisruptionBudget", made({**ON_PREMISES, "min_workers": 1, "max_workers": 1})) == []


def test_replicas_run_on_the_head_only_where_there_are_no_workers():
    alone = spec_of(made(*CASES["one host"]))
    assert "num-cpus" not in alone["headGroupSpec"]["rayStartParams"]
    assert spec_of(made())["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_the_collector_has_a_volume_and_a_service_that_leads_to_it():
    objects = made()
    head = spec_of(objects)["headGroupSpec"]["template"]
    claims = [
        each["persistentVolumeClaim"]["claimName"]
        for each in head["spec"]["volumes"]
        if "persistentVolumeClaim" in each
    ]
    names = [each["metadata"]["name"] for each in of_kind("PersistentVolumeClaim", objects)]
    assert sorted(claims) == sorted(names) == ["trimtab-artifacts", "trimtab-state"]
    environment = {each["name"]: each["value"] for each in head["spec"]["containers"][0]["env"]}
    mounts = {each["name"]: each["mountPath"] for each in head["spec"]["containers"][0]["volumeMounts"]}
    assert environment["XDG_STATE_HOME"] == mounts["state"]
    collector = next(each for each in of_kind("Service", objects) if each["metadata"]["name"] == "trimtab-collector")
    assert collector["spec"]["selector"].items() <= head["metadata"]["labels"].items()
    assert environment["TRIMTAB_COLLECTOR"] == "http://trimtab-collector.trimtab.svc:4317"
    recipes = of_kind("RayCluster", objects)[0]["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert {each["name"]: each["value"] for each in recipes["env"]}["TRIMTAB_COLLECTOR"] == environment[
        "TRIMTAB_COLLECTOR"
    ]


def test_nobody_else_reaches_rays_own_ports():
    """Those of the cluster do; the operator the dashboard; clients the ingress."""
    (policy, _) = of_kind("NetworkPolicy", made(values=ALL_SAID))
    opened = {}
    for rule in policy["spec"]["ingress"]:
        for source in rule.get("from", [{"everyone": True}]):
            labels = source.get("namespaceSelector", source.get("podSelector", {})).get("matchLabels", {})
            name = next(iter(labels.values()), "everyone")
            opened.setdefault(name, set()).update(port["port"] for port in rule.get("ports", [{"port": "all"}]))
    assert opened == {
        "trimtab": {"all"},
        "trimtab-recipes": {4317, 4318},
        "kuberay-system": {6379, 8265, 52365, 8000, 8001},
        "shop": {8000, 8001, 4317, 4318},
        "monitoring": {8080},
    }


def test_secrets_are_named_and_their_content_is_nowhere(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["key", "add", "root", "--admin", "--file", "keys.yaml"]) == 0
    text = capsys.readouterr().out.strip()
    Path("serve_config.yaml").write_text(yaml.safe_dump(SERVED))
    Path("cluster.yaml").write_text(yaml.safe_dump(ON_PREMISES))
    assert main(["manifest", "serve_config.yaml", "cluster.yaml", "-o", "out"]) == 0
    written = {path: path.read_text() for path in Path("out").rglob("*.yaml")}
    assert of_kind("Secret", [each for content in written.values() for each in yaml.safe_load_all(content)]) == []
    for content in (*written.values(), capsys.readouterr().out):
        assert text not in content and keys.hash_of(text) not in content


@pytest.mark.parametrize(
    ("setting", "where"),
    [
        (
            {"forwarding": [{"name": "b", "endpoint": "https://b", "headers": {"x-key": "s3cret"}}]},
            "forwarding.0.headers.x-key",
        ),
        ({"notify": {"channels": [{"kind": "slack", "name": "s", "url": "https://hooks/s3cret"}]}}, "channels.0.url"),
        (
            {"notify": {"channels": [{"kind": "alertmanager", "name": "a", "url": "http://u:s3cret@a"}]}},
            "channels.0.url",
        ),
    ],
)
def test_a_secret_in_serve_config_is_refused_and_not_repeated(setting, where):
    config = copy.deepcopy(SERVED)
    config["applications"][-1]["args"] = setting
    with pytest.raises(SettingsError, match=where) as refused:
        files.manifests(config, ON_PREMISES, Values.model_validate({"namespace": "trimtab"}))
    assert "s3cret" not in str(refused.value)


def test_the_values_that_are_written_make_the_same_manifests_again(tmp_path):
    chosen = Values.model_validate(ALL_SAID)
    found = files.manifests(SERVED, WITH_GPUS, chosen)
    files.write(tmp_path, found, chosen)
    assert read(tmp_path / "values.yaml", "other") == chosen
    listed = yaml.safe_load((tmp_path / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted(name for name in found if "/" not in name)
    for name, objects in found.items():
        assert list(yaml.safe_load_all((tmp_path / name).read_text())) == objects


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cluster_name": "Big_Cluster"}, "cluster_name must have at most 40 lower-case"),
        ({"clustername": "x"}, "clustername"),
        ({"max_workers": "two"}, "max_workers"),
        ({"head_node_type": "none"}, "head_node_type must be one of head"),
        ({"available_node_types": {"head": {"resources": {"GPU": 0.5}, "node_config": {}}}}, "GPU"),
    ],
)
def test_a_wrong_cluster_yaml_is_one_clear_error(change, message):
    with pytest.raises(SettingsError, match=message):
        node_groups.hosts({**WITH_GPUS, **change})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image: {tga: x}", "values.image.tga: Extra inputs"),
        ("head: {memory: lots}", "values.head.memory"),
        ("redis: {address: nowhere}", "values.redis.address"),
        ("[]", "must hold a mapping"),
        ("a: [", "must be YAML"),
    ],
)
def test_wrong_values_are_one_clear_error(content, message, tmp_path):
    file = tmp_path / "values.yaml"
    file.write_text(content)
    with pytest.raises(SettingsError, match=message):
        read(file, "trimtab")
