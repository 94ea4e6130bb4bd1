"""Evidence as pictures: plotly for zooming, PNG for static viewers, one sentence with the numbers for the rest."""

from runbook_lib.charts.bars import connections, top
from runbook_lib.charts.chart import Chart
from runbook_lib.charts.plot import Limit, Mark
from runbook_lib.charts.sparkline import sparkline
from runbook_lib.charts.timeline import timeline

__all__ = ["Chart", "Limit", "Mark", "connections", "sparkline", "timeline", "top"]
