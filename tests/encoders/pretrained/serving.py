"""A web server on this machine for tests of fetching: files, ranges, an index of packages, answers that break off."""

import contextlib
import functools
import http.server
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves ``files`` (bytes by path) and notes every request's path and range in ``seen``."""

    def __init__(self, files, seen, breaks, *arguments):
        self.files, self.seen, self.breaks = files, seen, breaks
        super().__init__(*arguments)

    def do_GET(self):
        asked = self.headers.get("Range")
        self.seen.append((self.path, asked))
        content = self.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
        self.end_headers()
        end = min(len(content), self.breaks.pop(self.path, len(content)))
        self.wfile.write(content[start:end])
        if end < len(content):
            self.close_connection = True

    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def serve(files, breaks=None):
    """Gives the server's address and the list of requests; ``breaks``: at which byte the next answer ends too soon."""
    seen = []
    handler = functools.partial(Handler, files, seen, {} if breaks is None else breaks)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
