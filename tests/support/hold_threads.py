#!/usr/bin/env python3
"""Holds every thread of a process but its first, as ptrace allows, until stdin ends: a program that stands still while
its first thread goes on.  hold_threads.py PID; prints `held N` once they stand."""
import ctypes
import os
import sys

PTRACE_SEIZE, PTRACE_INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request, thread):
    if libc.ptrace(request, thread, None, None) != 0:
        print("refused: %s" % os.strerror(ctypes.get_errno()), flush=True)
        sys.exit(1)


pid = int(sys.argv[1])
threads = [int(name) for name in os.listdir("/proc/%d/task" % pid) if int(name) != pid]
for thread in threads:
    ptrace(PTRACE_SEIZE, thread)
    ptrace(PTRACE_INTERRUPT, thread)
for thread in threads:
    os.waitpid(thread, WALL)
print("held %d" % len(threads), flush=True)
sys.stdin.read()  # Whoever traced is gone then, and the kernel lets them go on.
