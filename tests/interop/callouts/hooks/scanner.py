"""A scanner that speaks MTA Hooks (draft-degennaro-mta-hooks-01), and complains of what is not as the draft has it.

In:    a port, a token, how long registrations last, how it travels (json, cbor).
Out:   on standard output a line of JSON for each request; `complaints` in it are what gatepost did wrong.
Never: takes anything from gatepost on trust, or looks at gatepost's own words for the draft.

What it does: at connect, ehlo, mail, rcpt and data it refuses whoever names that stage: a client EHLO, a sender or a
recipient whose local part, or a Subject that, is `no-STAGE`. `moved@` goes to `ann@`; a message whose Subject is `edit` is
edited; a sender `busy@` hears 429 once, `forget@` makes it forget the registration.
"""

import base64
import datetime
import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cbor2

PORT, TOKEN, LIFE, ENCODING = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
STAGES = ["connect", "ehlo", "mail", "rcpt", "data"]
registrations = {}
bodies = {}
once = set()


def date(seconds):
    then = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return then.strftime("%Y-%m-%dT%H:%M:%SZ")


def discovery():
    return {
        "version": "1.0",
        "endpoints": {"registration": "/v1/register", "deregistration": "/v1/registrations/{registration_id}"},
        "serialization": [ENCODING],
        "capabilities": {
            "inbound": {
                "stages": STAGES,
                "actions": ["accept", "reject", "discard", "quarantine", "disconnect"],
                "fetchProperties": ["/stage", "/envelope", "/message", "/rawMessage"],
                "updateProperties": ["/action", "/response", "/envelope", "/message/headers", "/message/subject"],
            },
            "outbound": None,
        },
        "limits": {"maxMessageSize": 50000000, "maxRegistrations": None, "timeoutMs": 20000},
        "extensions": None,
    }


def reject(code, enhanced, message):
    return [
        {"path": "/action", "value": "reject"},
        {"path": "/response", "value": {"code": code, "enhancedCode": enhanced, "message": message}},
    ]


def local(address):
    return (address.get("address") or "").split("@")[0]


def decide(question):
    """The answer: what is set, added, deleted."""
    stage = question["stage"]
    named = {
        "ehlo": lambda: question["client"]["ehlo"],
        "mail": lambda: local(question["envelope"]["from"]),
        "rcpt": lambda: local(question["envelope"]["to"][-1]),
        "data": lambda: question["message"]["subject"],
    }.get(stage, lambda: "")()
    if named == "no-" + stage:
        return {"set": reject(550, "5.7.1", f"No {stage} by scanner")}
    if stage == "rcpt" and named == "moved":
        last = len(question["envelope"]["to"]) - 1
        return {"set": [{"path": f"/envelope/to/{last}/address", "value": "ann@a.example"}]}
    if stage == "data" and named == "edit":
        headers = question["message"]["headers"]
        gone = [place for place, field in enumerate(headers) if field["name"].lower() == "x-gone"]
        return {
            "set": [{"path": "/message/subject", "value": "edited, für alle"}],
            "add": [
                {"path": "/message/headers", "value": {"name": "X-Scanned", "value": "yes"}, "index": 0},
                {"path": "/envelope/to", "value": {"address": "bob@a.example", "parameters": {}}},
            ],
            "delete": [{"path": f"/message/headers/{place + 1}"} for place in reversed(gone)],
        }
    return None


def check(question, complain):
    """What the draft has of each question."""
    if question["stage"] not in STAGES:
        complain("an unknown stage")
    if question["action"] != "accept" or not re.fullmatch(r"[0-9T:-]{19}Z", question["timestamp"]):
        complain("action or timestamp")
    if question["protocol"] != {"version": "1.0"}:
        complain("protocol")
    if not isinstance(question["client"]["port"], int) or not question["client"]["ip"]:
        complain("client")
    if question["stage"] in ("mail", "rcpt", "data"):
        envelope = question["envelope"]
        for address in [envelope["from"], *envelope["to"]]:
            if not isinstance(address["parameters"], dict):
                complain("an address without parameters")
            if not all(isinstance(value, str) for value in address["parameters"].values()):
                complain("a parameter that is no text")
    if question["stage"] != "data":
        if question.get("rawMessage") is not None:
            complain("a message before there is one")
        return
    raw = question["rawMessage"]
    if ENCODING == "json":
        octets = base64.b64decode(raw, validate=True)
        if base64.b64encode(octets).decode() != raw:
            complain("Base64 that is not canonical")
    else:
        octets = raw
        if not isinstance(raw, bytes):
            complain("a message that is no octets")
    if len(octets) != question["message"]["size"]:
        complain(f"{len(octets)} octets instead of {question['message']['size']}")
    header = octets.split(b"\r\n\r\n")[0].decode("utf-8", "replace") + "\r\n"
    told = "".join(f"{field['name']}:{field['value']}\r\n" for field in question["message"]["headers"])
    if header != told:
        complain("a header that is not the message's")


class Scanner(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def tell(self, **facts):
        print(json.dumps(facts), flush=True)

    def say(self, status, value=None, encoding="json", **headers):
        octets = b""
        if value is not None:
            octets = json.dumps(value).encode() if encoding == "json" else cbor2.dumps(value)
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        if value is not None:
            self.send_header("Content-Type", f"application/{encoding}")
        if status != 204:
            self.send_header("Content-Length", str(len(octets)))
        self.end_headers()
        self.wfile.write(octets)

    def is_known(self):
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self.say(401, {"error": {"code": "AUTHENTICATION_REQUIRED", "message": "who?"}})
        return False

    def do_GET(self):
        self.tell(what="discovery", complaints=[] if self.path == "/.well-known/mta-hooks" else [self.path])
        self.say(200, discovery())

    def do_DELETE(self):
        number = self.path.rsplit("/", 1)[1]
        known = registrations.pop(number, None) is not None
        self.tell(what="deregistration", complaints=[] if known and self.is_known() else ["an unknown one"])
        self.say(200, {"registrationId": number, "status": "deregistered", "deregisteredAt": date(0)})

    def do_POST(self):
        octets = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.is_known():
            self.tell(what="stranger", complaints=[])
        elif self.path == "/v1/register":
            self.register(json.loads(octets))
        else:
            self.asked(octets)

    def register(self, wish):
        complaints = []
        if wish["serialization"] != ENCODING or wish["filter"] is not None or wish["outbound"] is not None:
            complaints.append("what was not offered")
        if not wish["name"] or not isinstance(wish["timeoutMs"], int):
            complaints.append("name or timeout")
        number = f"r-{len(bodies)}-{len(registrations)}"
        registrations[number] = datetime.datetime.now().timestamp() + LIFE
        self.tell(what="registration", stages=wish["inbound"]["stages"], complaints=complaints)
        self.say(
            201,
            {
                "registrationId": number,
                "status": "active",
                "createdAt": date(0),
                "expiresAt": date(LIFE),
                "hookEndpoint": f"/v1/hooks/{number}",
                "negotiated": {
                    "serialization": ENCODING,
                    "inbound": {"stages": wish["inbound"]["stages"], "properties": None},
                    "outbound": None,
                },
                "endpoints": {
                    "deregistration": f"/v1/registrations/{number}",
                    "status": f"/v1/registrations/{number}",
                },
            },
        )

    def asked(self, octets):
        complaints = []
        number = self.headers["X-MTA-Hooks-Registration"]
        if self.path != f"/v1/hooks/{number}" or registrations.get(number, 0) < datetime.datetime.now().timestamp():
            self.tell(what="unregistered", complaints=complaints)
            return self.say(404, {"error": {"code": "REGISTRATION_NOT_FOUND", "message": "register again"}})
        if self.headers["Content-Type"] != f"application/{ENCODING}":
            complaints.append("the content type")
        request = self.headers["X-MTA-Hooks-Request-Id"]
        if not re.fullmatch(r"[A-Za-z0-9._~-]{1,128}", request or ""):
            complaints.append("the request's id")
        if bodies.setdefault(request, octets) != octets:
            complaints.append("another question under the same id")
        question = json.loads(octets) if ENCODING == "json" else cbor2.loads(octets)
        try:
            check(question, complaints.append)
        except (KeyError, TypeError, ValueError) as error:
            complaints.append(repr(error))
        sender = local(((question.get("envelope") or {}).get("from")) or {})
        self.tell(what=question["stage"], sender=sender, complaints=complaints)
        if question["stage"] == "rcpt" and sender in ("busy", "forget") and sender not in once:
            once.add(sender)
            if sender == "busy":
                return self.say(429, {"error": {"code": "RATE_LIMITED", "message": "later"}}, Retry_After="1")
            registrations.clear()
            return self.say(404, {"error": {"code": "REGISTRATION_NOT_FOUND", "message": "who?"}})
        answer = decide(question)
        self.say(204) if answer is None else self.say(200, answer, ENCODING)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


Server(("127.0.0.1", PORT), Scanner).serve_forever()
