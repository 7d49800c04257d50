#!/usr/bin/env python3
"""A consumer of relay.to = "unix:PATH": answers every SIP request with 200 OK. Usage: unix_consumer.py PATH"""
import os, re, socket, sys

path = sys.argv[1]
if os.path.exists(path):
    os.unlink(path)
consumer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
consumer.bind(path)
while True:
    message, worker = consumer.recvfrom(65_792)
    # PROXY protocol v2: 16 bytes, the last two of which say how many of addresses and ports follow.
    length = 16 + int.from_bytes(message[14:16], "big")
    header, (start, *lines) = message[:length], message[length:].split(b"\r\n\r\n")[0].split(b"\r\n")
    if start.startswith((b"SIP/", b"ACK ")) or not start.endswith(b" SIP/2.0"):
        continue
    copied = [line for line in lines if re.match(rb"(via|from|to|call-id|cseq|[vfti])\s*:", line, re.I)]
    tagged = [line + b";tag=1" if re.match(rb"t(o)?\s*:(?!.*;tag=)", line, re.I) else line for line in copied]
    answer = b"\r\n".join([b"SIP/2.0 200 OK", *tagged, b"Content-Length: 0", b"", b""])
    try:  # The same header: it names both ends of the wire.
        consumer.sendto(header + answer, socket.MSG_DONTWAIT, worker)
    except OSError as error:
        print(f"{worker}: {error}", file=sys.stderr)
