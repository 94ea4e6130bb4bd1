"""One runbook over many targets: one process and one record each, one page over all of them."""
