"""A Kubernetes API server and its controllers in one small process.

Start it with ``python -m runbook_lib.lab.controlplane --port PORT --dir DIR``. It prints one line when it answers,
listens on loopback, and ends on SIGTERM or SIGINT. Objects live in memory.

The port speaks TLS with a certificate of its own and, to clients that start without it, plain HTTP. Go clients
(``kubectl``, Helm) send tokens over TLS only: give them a kubeconfig with ``certificate-authority-data``.

``DIR/tokens.csv`` (``token,user,uid,"group1,group2"``) holds the users; it is made with one administrator when it is
missing. ``DIR/admin.kubeconfig`` is written for the first user of the group ``system:masters``.
"""
