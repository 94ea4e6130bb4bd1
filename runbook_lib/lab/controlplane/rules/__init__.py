"""Validation by kind; every function answers the broken rules of one object as causes."""
