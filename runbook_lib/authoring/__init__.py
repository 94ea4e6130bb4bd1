"""Authoring: markdown runbooks to notebooks, new notebooks, and the rules that every notebook keeps."""
