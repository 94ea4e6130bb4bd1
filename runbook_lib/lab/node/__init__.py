"""A node without containers: runs pods as local processes, seen and steered through the Kubernetes API only."""
