"""A real Kubernetes control plane on loopback, without containers: found or built, started as processes of the lab."""
