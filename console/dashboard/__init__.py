"""The dashboard: a web page that reads only the log."""
