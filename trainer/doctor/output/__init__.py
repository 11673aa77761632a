"""Reports the findings as text, JSON and an HTML page. Start reading in `text`."""
