#!/usr/bin/env python3
"""Puts a line under the text of messages, for gatepost; what it is asked and may answer is in docs/callout.md.

    footer.py [PORT [TEXT]]

    callouts:
      - name: footer
        type: http
        url: "http://127.0.0.1:8082/"
        stages: message
        content: whole
        when: { sender: "*@example.com", not: { signed: [dkim, smime, pgp] } }     # a signature would break
"""
import sys
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TEXT = "Example Ltd, registered in Example"

def message_of(request):
    """The message in form data, of which the question is the part before."""
    boundary = b"--" + request.headers.get_param("boundary").encode()
    body = request.rfile.read(int(request.headers["Content-Length"]))
    return body.split(boundary)[2].split(b"\r\n\r\n", 1)[1][:-2]

def with_footer(octets):
    message = message_from_bytes(octets, policy=policy.SMTP.clone(max_line_length=998))
    part = message.get_body(("plain",))
    if part is None:
        return octets
    text = part.get_content().rstrip() + "\n\n-- \n" + TEXT + "\n"
    try:
        text.encode(part.get_content_charset("us-ascii"))
        charset = part.get_content_charset("us-ascii")
    except (LookupError, UnicodeError):
        charset = "utf-8"
    part.set_content(text, charset=charset)
    return message.as_bytes()

class Footer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"                                       # keeps connections between questions
    disable_nagle_algorithm = True

    def do_POST(self):
        octets = with_footer(message_of(self))
        self.send_response(200)
        self.send_header("Content-Type", "message/rfc822")
        self.send_header("Content-Length", str(len(octets)))
        self.end_headers()
        self.wfile.write(octets)

    def log_message(self, *_):
        pass

if __name__ == "__main__":
    TEXT = sys.argv[2] if len(sys.argv) > 2 else TEXT
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8082), Footer).serve_forever()
