"""A firewall that answers as it likes, in the place of a login shell.

usage: hostile_firewall.py MODE PATTERN UNIT

Reads the script that kmsctl sends, takes its nonce, and answers every command in its framing. A command whose line in the
script matches PATTERN is answered in MODE by UNIT over and over (C escapes are understood); each other one by a plausible
short answer or by nothing.

  flood    31 MiB of it
  endless  without an end
  hang     1 MiB of it, and then nothing for ever
  cut      half of 1 MiB, and the connection ends
  once     UNIT once
  errors   31 MiB of it on the error stream
"""

import os
import re
import sys
import time

FLOOD = 31 << 20
SHORT = {"/bin/date": b"1772367694 +0000\n", "SSH_CONNECTION": b"127.0.0.1 50000 127.0.0.1 22\n"}

mode, pattern, unit = sys.argv[1:4]
unit = unit.encode("utf-8", "surrogateescape").decode("unicode_escape").encode("latin-1")
out, err = sys.stdout.buffer, sys.stderr.buffer


def mark(*words):
    line = ("\n%s %s\n" % (nonce, " ".join(map(str, words)))).encode()
    for stream in (out, err):
        stream.write(line)
        stream.flush()


def pour(stream, size):
    chunk = unit * max(1, (1 << 16) // max(1, len(unit)))
    while size is None or size > 0:
        part = chunk if size is None else chunk[:size]
        stream.write(part)
        if size is not None:
            size -= len(part)
    stream.flush()


def answer(line):
    if not re.search(pattern, line):
        for word, text in SHORT.items():
            if word in line:
                out.write(text)
        return
    if mode == "once":
        out.write(unit)
    elif mode == "cut":
        pour(out, 1 << 19)
        os._exit(0)
    elif mode == "hang":
        pour(out, 1 << 20)
        time.sleep(600)
    else:
        pour(err if mode == "errors" else out, None if mode == "endless" else FLOOD)


nonce, commands, body = "", {}, None
for line in iter(sys.stdin.readline, ""):
    line = line.rstrip("\n")
    if line.startswith("n=kmsctl") and not nonce:
        nonce = line[2:]
    # What stands between a command and the nonce alone on a line is its input.
    elif body is not None:
        body = None if line == nonce else body
    elif found := re.match(r"w (\d+) && \{ b \d+; (.*)", line):
        commands[int(found[1])] = found[2]
        body = 1 if "<<'" + nonce in line else None
    elif line == "t" or re.fullmatch(r"t( \d+)+", line):
        for index in [int(word) for word in line.split()[1:]] or sorted(commands):
            mark("b", index)
            answer(commands[index])
            mark("e", index, 0)
        mark("d")
