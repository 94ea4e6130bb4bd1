"""The embedded incident lab: a small production that can really break."""
