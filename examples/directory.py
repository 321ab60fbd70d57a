#!/usr/bin/env python3
"""A recipient directory for gatepost; what it is asked and may answer is in docs/callout.md.

    directory.py [PORT [TABLE.json]]

    callouts:
      - { name: directory, type: http, url: "http://127.0.0.1:8080/", stages: [mail, rcpt, rcpt-reply] }
"""
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TABLE = {
    "banned": ["joe@lab.example.com"],                                  # senders
    "known": {"jones@example.com": "jones@mail.example.com"},           # recipients, and how the hop knows them
    "moved": {"jones@example.com": [{"recipient": "jones@old.example.com"}, {"upstream": "legacy"}]},
}

def verdict(question):
    if question["stage"] == "mail":
        banned = question["envelope"]["from"]["address"] in TABLE["banned"]
        return {"reply": "550 5.7.1 Use the submission service"} if banned else {}
    recipient = question["recipient"]["given"].lower()
    if question["stage"] == "rcpt":
        known = TABLE["known"].get(recipient)
        return {"rewrite": {"recipient": known}} if known else {"reply": "550 5.1.1 Not in the directory"}
    if question["response"]["code"] != 550:
        return {}
    if recipient in TABLE["moved"]:
        return {"retry": TABLE["moved"][recipient]}                     # the hop refuses: try there
    return {"substitute": "550 5.1.1 No such mailbox here"}

class Directory(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"                                       # keeps connections between questions
    disable_nagle_algorithm = True

    def do_POST(self):
        answer = json.dumps(verdict(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass

if __name__ == "__main__":
    if len(sys.argv) > 2:
        TABLE = json.load(open(sys.argv[2]))
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8080), Directory).serve_forever()
