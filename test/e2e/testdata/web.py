# Answers every request with what the environment variable VERSION holds, and ends at once on SIGTERM.
import http.server, os, signal, sys


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = os.environ["VERSION"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
print("listening as", os.environ["VERSION"], flush=True)
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
