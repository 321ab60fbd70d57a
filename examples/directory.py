#!/usr/bin/env python3
"""A recipient directory for gatepost: asked at rcpt and rcpt-reply, see docs/callout.md.

    callouts:
      - name: directory
        type: http
        url: "http://127.0.0.1:8080/"
        stages: [rcpt, rcpt-reply]
        when: { recipient: "*@example.com" }
"""
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KNOWN = {  # what was given: what the hop knows it by
    "jones@example.com": "jones@mail.example.com",
    "smith@example.com": "smith@example.com",
}
MOVED = {  # where to try somebody the hop refuses with 550
    "smith@example.com": [{"recipient": "smith@old.example.com"}, {"upstream": "legacy"}],
}

def verdict(question):
    given = question["recipient"]["given"].lower()
    if question["stage"] == "rcpt":
        if given not in KNOWN:
            return {"reply": "550 5.1.1 Not in the directory"}
        return {"rewrite": {"recipient": KNOWN[given]}}
    if question["response"]["code"] == 550 and given in MOVED:
        return {"retry": MOVED[given]}
    return {}

class Directory(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open between questions

    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = json.dumps(verdict(question)).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
        self.wfile.write(head.encode() + answer)

    def log_message(self, *_):
        pass

if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080
    ThreadingHTTPServer(("127.0.0.1", port), Directory).serve_forever()
