#!/usr/bin/env python3
"""The device's programs load no server library. usage: link_line_test.py PROGRAM ..."""
import re
import subprocess
import sys

SERVER_LIBRARIES = re.compile(r"lib(pqxx|pq|hiredis|prometheus-cpp|sqlite3|onnx|yaml-cpp|spdlog|zip|civetweb)")


def main(programs):
    found = []
    for program in programs:
        loaded = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
        found += [f"{program}: {line.strip()}" for line in loaded.splitlines() if SERVER_LIBRARIES.search(line)]
    print("\n".join(found) if found else f"{len(programs)} programs, no server library")
    return 1 if found or not programs else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
