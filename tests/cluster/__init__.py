"""The contract with a real API server: ``make test-cluster KUBECONFIG=FILE``."""
