"""A one-node Kubernetes from Debian's source package: what `sandbox/parts/kubernetes.py` is made of."""
