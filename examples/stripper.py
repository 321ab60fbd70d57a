#!/usr/bin/env python3
"""Takes attachments out of messages, for gatepost; what it is asked and may answer is in docs/callout.md.

    stripper.py [PORT]

    callouts:
      - { name: stripper, type: http, url: "http://127.0.0.1:8081/", stages: message, content: whole }
"""
import json, sys
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BANNED = (".exe", ".js", ".scr", ".docm")

def banned(names):
    return any(name.lower().endswith(BANNED) for name in names)

def parts(request):
    """The parts of form data: a question, and the octets of the message it is about."""
    boundary = b"--" + request.headers.get_param("boundary").encode()
    body = request.rfile.read(int(request.headers["Content-Length"]))
    _, question, message, _ = body.split(boundary)
    content = lambda part: part.split(b"\r\n\r\n", 1)[1][:-2]
    return json.loads(content(question)), content(message)

def stripped(octets):
    message = message_from_bytes(octets, policy=policy.SMTP.clone(max_line_length=998))
    for part in message.walk():
        if part.get_filename() and banned([part.get_filename()]):
            part.set_content("An attachment was removed.\r\n")          # its name goes with its header
    return message.as_bytes()

class Stripper(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"                                       # keeps connections between questions
    disable_nagle_algorithm = True

    def do_POST(self):
        question, message = parts(self)
        if any(banned(part["names"]) for part in question["message"]["parts"]):
            self.answer("message/rfc822", stripped(message))            # goes on in the message's place
        else:
            self.answer("application/json", b"{}")                      # octet for octet as it came

    def answer(self, kind, octets):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(octets)))
        self.end_headers()
        self.wfile.write(octets)

    def log_message(self, *_):
        pass

if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8081), Stripper).serve_forever()
