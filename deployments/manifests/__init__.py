"""Manifests for Kubernetes and KubeRay, made of `serve_config.yaml`, `cluster.yaml` and values in Helm's shape.

    serve_config.yaml ─▶ served ──────┐
    cluster.yaml ──────▶ node_groups ─┼▶ pods ─▶ ray_clusters ─┬▶ files in a folder, for `kubectl apply -k`
    values.yaml ───────▶ values ──────┘          around ───────┘

docs/kubernetes.md says what each file is for. Secrets are named, and never read.
"""
