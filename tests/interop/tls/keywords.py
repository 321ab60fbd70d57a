# One session that looks at EHLO before and under TLS, and tries what it shows.
import smtplib
import ssl
import sys

roots, host, port, leg = sys.argv[1:]
context = ssl.create_default_context(cafile=roots)
door = {"host": host, "port": int(port), "local_hostname": "client.example", "timeout": 15}
session = smtplib.SMTP_SSL(**door, context=context) if leg == "implicit" else smtplib.SMTP(**door)


def shown():
    session.ehlo()
    has = session.esmtp_features
    return " ".join(f"{word.upper()} {has[word].strip()}".strip() for word in ("starttls", "auth", "size") if word in has)


def code(pair):
    return pair[0]


AUTH = "AUTH PLAIN AGpvZUBhLmV4YW1wbGUAb3BlbiBzZXNhbWU="
if leg == "starttls":
    print(f"before: {shown()}; AUTH {code(session.docmd(AUTH))};", end=" under TLS: ")
    session.starttls(context=context)
print(f"{shown()};", end=" ")
print(f"AUTH {code(session.docmd(AUTH))}, 60 MB {code(session.docmd('MAIL FROM:<a@client.example> SIZE=60000000'))}")
session.quit()
