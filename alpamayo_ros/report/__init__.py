"""The replay of a drive as one HTML file that opens offline."""
