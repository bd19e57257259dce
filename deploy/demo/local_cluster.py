"""A private edgefleet on this machine, of built programs: one process, or four with a PostgreSQL and a Redis of their own.

Used by `./run demo` and by the end-to-end tests. Everything lives below one folder and ends with the object.
"""
import ctypes
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROLES = ("registry", "origin", "selector", "aggregator")
READY_SECONDS_MAX = 60
STOP_SECONDS_MAX = 20


def wait_until(condition, seconds, what, poll_seconds=0.05):
    """Polls until `condition()` is true and returns its value; raises TimeoutError naming `what`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(poll_seconds)
    raise TimeoutError(f"{what} did not happen within {seconds} s")


def free_ports(count):
    """Ports that the kernel says are free, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Process:
    """A program with its output in a log file; killed when this interpreter ends."""

    def __init__(self, name, command, log_file):
        self.name = name
        self.command = [str(c) for c in command]
        self.log_file = pathlib.Path(log_file)
        self.popen = None

    def start(self):
        with open(self.log_file, "ab") as log:
            self.popen = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                          preexec_fn=_die_with_parent)

    def alive(self):
        return self.popen is not None and self.popen.poll() is None

    def kill9(self):
        self.popen.kill()
        self.popen.wait()

    def stop(self, sig=signal.SIGTERM):
        """Ends it politely and returns the exit code, or kills it when it takes too long."""
        if self.popen is None:
            return None
        if self.alive():
            self.popen.send_signal(sig)
            try:
                self.popen.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self.kill9()
        return self.popen.returncode

    def log_tail(self, lines=15):
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])


class Postgres:
    """A private PostgreSQL on a unix socket. PostgreSQL refuses to run as root, so root runs it as the user postgres."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder) / "postgres"
        self.bin = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
        self.as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        self.process = Process("postgres", self.as_user + [
            self.bin / "postgres", "-D", self.folder / "data", "-k", self.folder, "-c", "listen_addresses=",
            "-c", "max_connections=100"], self.folder / "log")
        self.url = f"postgresql://postgres@/postgres?host={self.folder}"

    def start(self):
        self.folder.mkdir(parents=True)
        if self.as_user:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        subprocess.run([str(c) for c in self.as_user + [self.bin / "initdb", "-D", self.folder / "data", "-U", "postgres",
                                                        "--auth=trust", "--no-sync"]],
                       check=True, stdout=subprocess.DEVNULL, cwd="/")
        self.process.start()
        ready = [str(self.bin / "pg_isready"), "-h", str(self.folder), "-q"]
        wait_until(lambda: subprocess.run(ready, check=False).returncode == 0, READY_SECONDS_MAX, "PostgreSQL's start")


class Redis:
    """A private Redis on a unix socket."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder) / "redis"
        self.socket = self.folder / "socket"
        self.process = Process("redis", ["redis-server", "--port", "0", "--unixsocket", self.socket, "--dir", self.folder,
                                         "--save", "", "--appendonly", "yes"], self.folder / "log")
        self.url = f"redis+unix://{self.socket}"

    def start(self):
        self.folder.mkdir(parents=True)
        self.process.start()

        def answers():
            with socket.socket(socket.AF_UNIX) as client:
                try:
                    client.connect(str(self.socket))
                    client.sendall(b"PING\r\n")
                    return client.recv(16).startswith(b"+PONG")
                except OSError:
                    return False
        wait_until(answers, READY_SECONDS_MAX, "Redis's start")


class LocalCluster:
    """`cluster=False`: one edgefleetd with every role. `cluster=True`: one process a role, PostgreSQL and Redis."""

    def __init__(self, folder, cluster, bin_dir=None, config=None):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cluster = cluster
        self.bin = pathlib.Path(bin_dir or ROOT / "build/release/bin")
        self.stores = []
        self.addresses = {}  # role -> {"grpc", "http", "metrics"}
        # An authority of its own enrols devices, for rounds that withstand an active adversary.
        self.authority_key = self.folder / "authority.key"
        config = dict(config or {})
        config["aggregator"] = {**config.get("aggregator", {}), "enrolment_keys": [f"{self.authority_key}.pub"]}
        self.config = self.folder / "edgefleetd.yaml"
        self.config.write_text(json.dumps(config) + "\n")  # JSON is YAML
        self.processes = {}

    def start(self):
        subprocess.run([str(self.bin / "edgefleet"), "device", "authority", "--out", str(self.authority_key)], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if self.cluster:
            self._start_stores()
        for role, process in self._make_processes().items():
            self.processes[role] = process
        for process in self.processes.values():
            process.start()
        for role in self.processes:
            self.wait_ready(role)

    def _start_stores(self):
        self.stores = [Postgres(self.folder), Redis(self.folder)]
        for store in self.stores:
            store.start()

    def _make_processes(self):
        roles = ROLES if self.cluster else ("all",)
        # Fixed for the life of the cluster, so that a role that is killed and restarted is found again.
        ports = free_ports(3 * len(roles))
        grpc = {role: f"127.0.0.1:{ports[3 * i]}" for i, role in enumerate(roles)}
        made = {}
        for i, role in enumerate(roles):
            command = [self.bin / "edgefleetd", "--role", role, "--config", self.config, "--data-dir", self.folder / role,
                       "--listen-grpc", grpc[role], "--listen-http", f"127.0.0.1:{ports[3 * i + 1]}",
                       "--listen-metrics", f"127.0.0.1:{ports[3 * i + 2]}", "--port-file", self.port_file(role)]
            if self.cluster:
                command += ["--postgres-url", self.stores[0].url, "--redis-url", self.stores[1].url]
                for peer in ROLES:
                    command += [f"--peer-{peer}", grpc[peer]]
            made[role] = Process(role, command, self.folder / f"{role}.log")
        return made

    def port_file(self, role):
        return self.folder / f"{role}.ports.json"

    def wait_ready(self, role):
        process = self.processes[role]

        def ready():
            if not process.alive():
                raise RuntimeError(f"edgefleetd {role} ended with {process.popen.returncode}:\n{process.log_tail()}")
            return self.port_file(role).exists()
        wait_until(ready, READY_SECONDS_MAX, f"the start of {role}")
        self.addresses[role] = json.loads(self.port_file(role).read_text())

    def kill9(self, role):
        self.port_file(role).unlink(missing_ok=True)
        self.processes[role].kill9()

    def restart(self, role):
        self.processes[role].start()
        self.wait_ready(role)

    def address(self, role, kind="grpc"):
        return self.addresses[role if self.cluster else "all"][kind]

    @property
    def origin_url(self):
        return f"http://{self.address('origin', 'http')}".replace("http://http://", "http://")

    @property
    def trust_key(self):
        return self.folder / ("registry" if self.cluster else "all") / "keys" / "manifest.pub"

    @property
    def transcript_key(self):
        return self.folder / ("aggregator" if self.cluster else "all") / "keys" / "transcript.pub"

    def cli(self, *arguments):
        """The command line of `edgefleet` with this cluster's addresses."""
        command = [str(self.bin / "edgefleet")]
        if self.cluster:
            for role in ROLES:
                command += [f"--{role}", self.address(role)]
        else:
            command += ["--server", self.address("all")]
        return command + [str(a) for a in arguments]

    def cli_json(self, *arguments):
        """Runs `edgefleet --json ...` and returns what it printed."""
        done = subprocess.run(self.cli("--json", *arguments), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"edgefleet {' '.join(map(str, arguments))} failed: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    def stop(self):
        """Ends everything; returns the exit codes of edgefleetd by role."""
        codes = {role: process.stop() for role, process in self.processes.items()}
        for store in reversed(self.stores):
            store.process.stop(signal.SIGINT)
        return codes

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()


def remove(folder):
    shutil.rmtree(folder, ignore_errors=True)
