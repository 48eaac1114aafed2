"""Prometheus from the configuration that Ray generates, as docs/ray-dashboard.md has it."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from ray.dashboard.modules.metrics.templates import PROMETHEUS_YML_TEMPLATE

PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(PROMTOOL is None, reason="Prometheus is not installed")
def test_prometheus_takes_rays_configuration_with_ours_added(tmp_path):
    """Ray's own template, filled in as Ray does, with the lines of the page."""
    discovery = tmp_path / "prom_metrics_service_discovery.json"
    discovery.write_text('[{"labels": {"job": "ray"}, "targets": ["127.0.0.1:1"]}]')
    config = yaml.safe_load(PROMETHEUS_YML_TEMPLATE.format(prom_metrics_service_discovery_file_path=discovery))
    (added,) = (block.partition("```")[0] for block in Path("docs/ray-dashboard.md").read_text().split("```yaml\n")[1:])
    ours = yaml.safe_load("scrape_configs:\n" + added.replace("<checkout>", str(Path.cwd())))
    (tmp_path / "admin.key").write_text("key")
    config["scrape_configs"] += ours.pop("scrape_configs")
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config | ours))
    checked = subprocess.run([PROMTOOL, "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
