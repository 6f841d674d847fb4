"""An HTTP server that prints a line of JSON for each request: its path and its query.

Usage: http_notes.py PORT
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit


class Notes(BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        print(json.dumps({"event": "request", "path": url.path, **query}), flush=True)
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        """Requests are printed as JSON, nothing else is."""


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Notes).serve_forever()
