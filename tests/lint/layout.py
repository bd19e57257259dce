#!/usr/bin/env python3
"""Checks what style and layout a machine can check: dependency directions, vendor headers, file sizes, headers.

The rules are those of docs/architecture.md. Prints every violation as `file:line: rule` and exits 1 if there is any.
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINES_MAX = 600

# Which of our own folders a folder may include from. The longest matching prefix decides; a folder may always include itself.
ALLOWED = {
    "base": [],
    "base/crypto": ["base"],
    "base/adapters": ["base"],
    "proto/rpc": ["base"],
    "secagg": ["base"],
    "cdn_origin": ["base"],
    "cdn_origin/delta": ["base", "cdn_origin/blobs"],
    "cdn_origin/http": ["base", "cdn_origin"],
    "cdn_origin/manifest": ["base"],
    "aggregator": ["base", "secagg"],
    "registry": ["base", "device_client/runtime"],
    "device_client/runtime": ["base"],
    "device_client/training": ["base", "device_client/runtime"],
    "device_client/update": ["base", "cdn_origin/delta/decoder.h", "cdn_origin/manifest"],
    "device_client": ["base", "secagg", "proto", "cdn_origin/delta/decoder.h", "cdn_origin/manifest"],
    "services/runtime": ["base", "proto"],
    # The command evaluates and fetches models the way a device does.
    "services/cli": ["base", "proto", "services/runtime", "registry/compiler", "device_client", "cdn_origin/manifest",
                     "secagg", "aggregator/privacy/accounting", "aggregator/privacy/ledger"],
    "services/edgefleetd": ["base", "services"],
    "services/registry": ["base", "proto", "services/runtime", "registry", "cdn_origin/manifest", "device_client/runtime"],
    "services/origin": ["base", "proto", "services/runtime", "cdn_origin"],
    "services/selector": ["base", "proto", "services/runtime", "aggregator/selection"],
    "services/aggregator": ["base", "proto", "services/runtime", "aggregator", "secagg"],
}
FREE = ("tests", "load_tests", "deploy")  # may include anything

# Vendor headers and the only places that may include them.
VENDORS = {
    r"(grpc|grpcpp|google/protobuf)/|edgefleet/\w+/v1/": ["proto", "services", "device_client/federated"],
    r"pqxx": ["base/adapters/postgres", "registry/store", "aggregator/rounds/store"],
    r"sqlite3\.h": ["base/adapters/sqlite"],
    r"hiredis": ["aggregator/selection/redis_"],
    r"kissfft/": ["aggregator/privacy/accounting/fft"],
    r"boost/": ["cdn_origin/http", "services/origin"],
    r"prometheus/": ["services/runtime"],
    r"spdlog/": ["services/runtime"],
    r"yaml-cpp/": ["services/runtime"],
    r"CLI/": ["services/edgefleetd", "services/cli", "device_client/agent"],
    r"nlohmann/": ["services", "cdn_origin/manifest", "registry", "device_client", "aggregator/rounds/store",
                   "aggregator/privacy/ledger", "secagg/transcript"],
    r"onnx/": ["registry/compiler"],
    r"zip\.h": ["base/arrays/npz"],
    r"zstd\.h": ["cdn_origin/delta"],
    r"xxhash\.h": ["device_client/runtime/cache"],
    r"curl/": ["device_client/update", "services/cli"],
    r"dnnl|oneapi/": ["device_client/runtime", "device_client/training"],
    r"flatbuffers/|.*_generated\.h": ["device_client/runtime/format"],
    r"openssl/": ["base/crypto", "secagg"],
    r"sodium\.h": ["base/crypto", "secagg"],
}
# Headers never show a vendor, so that linking stays PRIVATE; these are the seams made of one, and headers inside one library.
VENDOR_HEADERS_OK = ("proto/", "services/", "registry/compiler/onnx_", "registry/compiler/onnx/", "device_client/runtime/onednn/",
                     "device_client/training/step", "device_client/federated/convert.h")
OUR_TOPS = ("base", "proto", "registry", "cdn_origin", "aggregator", "secagg", "device_client", "services")
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')


def rule_for(path: str) -> list[str] | None:
    best = max((p for p in ALLOWED if path == p or path.startswith(p + "/")), key=len, default=None)
    return None if best is None else ALLOWED[best] + [best]


def under(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix + "/") or (prefix.endswith("_") and path.startswith(prefix))


def check_include(name: str, include: str) -> str | None:
    """The violation that `include` is in file `name`, if it is one."""
    if name.startswith(tuple(t + "/" for t in FREE)):
        return None
    for pattern, places in VENDORS.items():
        if re.match(pattern, include):
            if not any(under(name, p) or name.startswith(p) for p in places):
                return f"vendor header {include} belongs to {', '.join(places)}"
            if name.endswith(".h") and not name.startswith(VENDOR_HEADERS_OK):
                return f"vendor header {include} shows in a header; keep it in a .cc file"
            return None
    if include.split("/")[0] in OUR_TOPS:
        allowed = rule_for(str(pathlib.PurePosixPath(name).parent))
        if allowed is not None and not any(under(include, a) for a in allowed):
            return f"{name.rsplit('/', 1)[0]} may not include {include}"
    return None


def check_file(name: str) -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8", errors="replace")
    lines = text.splitlines()
    found = []
    if len(lines) > LINES_MAX:
        found.append(f"{name}:{len(lines)}: more than {LINES_MAX} lines; split it by what its parts do")
    if name.endswith((".h", ".cc", ".c")):
        for number, line in enumerate(lines, 1):
            if match := INCLUDE.match(line):
                if problem := check_include(name, match[2]):
                    found.append(f"{name}:{number}: {problem}")
            if re.search(r"\busing namespace std;", line):
                found.append(f"{name}:{number}: using namespace std")
            if re.search(r"\b(sleep_for|usleep)\b", line) and name.startswith("tests/") and "poll" not in line:
                found.append(f"{name}:{number}: tests wait for events, not for time")
        if name.endswith(".h") and "#pragma once" not in text and "#ifndef EDGEFLEET_" not in text:
            found.append(f"{name}:1: header without #pragma once")
    if name.endswith("CMakeLists.txt"):
        for number, line in enumerate(lines, 1):
            if re.search(r"\bGLOB\b|FetchContent|ExternalProject|file\(DOWNLOAD", line):
                found.append(f"{name}:{number}: sources are explicit and nothing is fetched")
    return found


def main() -> int:
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True,
                            capture_output=True, text=True)
    names = [n for n in listed.stdout.splitlines()
             if n.endswith((".h", ".cc", ".c", ".py", ".sh", "CMakeLists.txt")) and (ROOT / n).is_file()]
    violations = [v for name in names for v in check_file(name)]
    print("\n".join(violations) if violations else f"layout: {len(names)} files, no violation")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
