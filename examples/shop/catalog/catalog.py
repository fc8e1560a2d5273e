"""Catalog searches the shop's products. It needs nothing but Python's standard library and the file beside it."""

import difflib
import json
import os
import pathlib
import re
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

LINGER = 1.0  # seconds to go on taking requests after SIGTERM: those sent before everyone knew
WEIGHTS = {"name": 5, "category": 2, "tags": 3, "text": 1}
BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0]


def words(text):
    return re.findall(r"[a-z0-9]+", text.lower())


class Catalog:
    """The products, and for each word the products it stands in with the weight of the place."""

    def __init__(self, products):
        self.products = products
        self.by_id = {p["id"]: p for p in products}
        self.index = {}
        for p in products:
            for field, weight in WEIGHTS.items():
                for word in words(p[field]):
                    found = self.index.setdefault(word, {})
                    found[p["id"]] = max(weight, found.get(p["id"], 0))

    def correct(self, word):
        """The word itself if products have it or a word it begins, else the nearest one they have."""
        if any(w.startswith(word) for w in self.index):
            return word
        return next(iter(difflib.get_close_matches(word, self.index, n=1, cutoff=0.7)), word)

    def scores(self, word):
        """How well each product fits one word; a word that only begins like it counts half."""
        best = {}
        for w, found in self.index.items():
            if w.startswith(word):
                for id, weight in found.items():
                    best[id] = max(best.get(id, 0), weight if w == word else weight / 2)
        return best

    def search(self, query, category):
        """The products that fit every word, best first, and the query as it was understood."""
        understood = [self.correct(w) for w in words(query)[:8]]
        total = {p["id"]: 0 for p in self.products}
        for word in understood:
            scores = self.scores(word)
            total = {id: t + scores[id] for id, t in total.items() if id in scores}
        found = [self.by_id[id] for id in sorted(total, key=lambda id: -total[id])]
        categories = {}
        for p in self.products:
            categories.setdefault(p["category"], 0)
        for p in found:
            categories[p["category"]] += 1
        return {
            "query": query,
            "understood": " ".join(understood),
            "categories": [{"name": name, "count": n} for name, n in categories.items()],
            "products": [p for p in found if category in ("", p["category"])],
        }

    def pick(self, ids):
        return {"products": [self.by_id[id] for id in ids if id in self.by_id]}


class Metrics:
    """Counts and times by route and status, as Prometheus reads them."""

    def __init__(self):
        self.lock, self.seen = threading.Lock(), {}

    def observe(self, route, code, seconds):
        with self.lock:
            buckets, stats = self.seen.setdefault((route, code), ([0] * len(BUCKETS), [0, 0.0]))
            stats[0], stats[1] = stats[0] + 1, stats[1] + seconds
            for i, limit in enumerate(BUCKETS):
                buckets[i] += seconds <= limit

    def text(self):
        name = "http_request_duration_seconds"
        lines = [f"# HELP {name} Time to answer, by route and status.", f"# TYPE {name} histogram"]
        with self.lock:
            for (route, code), (buckets, (count, total)) in sorted(self.seen.items()):
                labels = f'route="{route}",code="{code}"'
                lines += [f'{name}_bucket{{{labels},le="{le}"}} {n}' for le, n in zip(BUCKETS, buckets)]
                lines += [f'{name}_bucket{{{labels},le="+Inf"}} {count}']
                lines += [f"{name}_sum{{{labels}}} {total:.6f}", f"{name}_count{{{labels}}} {count}"]
        return "\n".join(lines) + "\n"


def log(message, **fields):
    entry = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "level": "INFO", "msg": message}
    print(json.dumps({**entry, "service": "catalog", **fields}), flush=True)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body in one packet
    timeout = 120  # seconds a connection may be idle

    def do_GET(self):
        begun = time.monotonic()
        # A body is not read, so what comes after it on the connection could not be told from it.
        unread = self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers
        self.close_connection = self.close_connection or self.server.stopping or unread
        url = urlsplit(self.path)
        route, code, body = self.answer(url.path, parse_qs(url.query))
        payload = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain; charset=utf-8" if isinstance(body, str) else "application/json")
        self.send_header("Content-Length", str(len(payload)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(payload)
        self.wfile.flush()
        seconds = time.monotonic() - begun
        self.server.metrics.observe(route, code, seconds)
        if route not in ("/healthz", "/metrics"):
            log("request", method="GET", path=self.path, status=code, ms=round(seconds * 1000, 1))

    def answer(self, path, query):
        """The route, the status and the body for a path."""
        catalog, prefix = self.server.catalog, "/api/catalog/"
        first = {name: values[0] for name, values in query.items()}
        if path in ("/healthz", prefix + "healthz"):
            return "/healthz", *((503, "stopping\n") if self.server.stopping else (200, "ok\n"))
        if path == "/metrics" and not self.headers.get("X-Forwarded-For"):
            return path, 200, self.server.metrics.text()
        if path == "/api/catalog" and "ids" in first:
            return path, 200, catalog.pick(first["ids"].split(",")[:100])
        if path == "/api/catalog":
            return path, 200, catalog.search(first.get("q", "")[:200], first.get("category", ""))
        product = catalog.by_id.get(unquote(path.removeprefix(prefix)))
        if path.startswith(prefix) and product:
            return prefix + "{id}", 200, product
        return "", 404, {"error": f"nothing at {path}"}

    def log_message(self, *args):
        pass  # do_GET logs what was answered


class Server(ThreadingHTTPServer):
    daemon_threads = False  # the end waits for requests that run
    request_queue_size = 128
    stopping = False

    def __init__(self, address, catalog):
        super().__init__(address, Handler)
        self.catalog, self.metrics, self.open = catalog, Metrics(), set()

    def process_request(self, request, client_address):
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        self.open.discard(request)
        super().shutdown_request(request)

    def stop(self):
        """Answers what was sent, then ends: no further connection, no further request on the open ones."""
        self.stopping = True
        log("stopping")
        time.sleep(LINGER)
        self.shutdown()
        for connection in list(self.open):
            try:
                connection.shutdown(socket.SHUT_RD)
            except OSError:
                pass  # it ended meanwhile


def main():
    products = json.loads(pathlib.Path(__file__).with_name("products.json").read_text("utf-8"))
    with Server((os.environ.get("HOST", ""), int(os.environ.get("PORT", "8080"))), Catalog(products)) as server:
        stop = threading.Thread(target=server.stop)
        signal.signal(signal.SIGTERM, lambda *_: stop.ident or stop.start())
        signal.signal(signal.SIGINT, lambda *_: stop.ident or stop.start())
        log("serving", address="%s:%d" % server.server_address[:2])
        server.serve_forever(poll_interval=0.1)
        stop.join()
    log("stopped")


if __name__ == "__main__":
    main()
