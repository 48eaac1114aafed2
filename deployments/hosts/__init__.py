"""The hosts of a cluster: what `ray up cluster.yaml` installs, starts and stops on each of them."""
