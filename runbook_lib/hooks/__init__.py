"""Hooks: an alert arrives, a run begins. Reading only; an alert never applies anything."""
