"""``make bench``: ratios against peers, each measured side by side in this run."""

from __future__ import annotations

from benchmarks import startup


def main() -> None:
    """Print the table."""
    rows = startup.main()
    print(f"{'what':34} {'ours':>8}  {'peer':24} {'ratio':>6}  goal")
    for what, ours, peer, ratio, goal in rows:
        print(f"{what:34} {ours:>8}  {peer:24} {ratio:6.2f}  {goal}")
    print("the diagnosis score takes hours: python -m benchmarks.diagnosis --help")


if __name__ == "__main__":
    main()
