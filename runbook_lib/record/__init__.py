"""The account of a run: journal, folder, seal, views and archive. See docs/record-format.md."""
