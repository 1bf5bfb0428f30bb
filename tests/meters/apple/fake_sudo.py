"""Stands in for sudo: runs what follows -n, or refuses; without -n it asks for a password that never comes."""

import os
import subprocess
import sys
import time

modes = os.environ.get("SIM_SUDO", "").split(",")
with open(os.environ["SIM_SUDO_LOG"], "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\n")
if sys.argv[1] != "-n" or "hangs" in modes:
    print("Password:", file=sys.stderr, flush=True)
    time.sleep(60)
if "password" in modes or ("lapses" in modes and sys.argv[-1] != "1"):
    print("sudo: a password is required", file=sys.stderr, flush=True)
    sys.exit(1)
if "forks" in modes:  # the real one stays as the parent
    sys.exit(subprocess.call(sys.argv[2:]))
os.execvp(sys.argv[2], sys.argv[2:])
