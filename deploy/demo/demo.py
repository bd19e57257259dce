#!/usr/bin/env python3
"""edgefleet's main job, end to end, on Fashion-MNIST: publish, compile, sign, distribute, run, improve together, update by delta."""
import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

from local_cluster import ROOT, LocalCluster, Process, remove, wait_until

MODEL = "fashion"
INSTALL_SECONDS_MAX = 180
BIN = ROOT / "build/release/bin"


def parse_arguments():
    parser = argparse.ArgumentParser(prog="./run demo", description=__doc__)
    parser.add_argument("--cluster", action="store_true",
                        help="four server processes, a private PostgreSQL and a private Redis instead of one process")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    parser.add_argument("--devices", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--sharding", choices=["iid", "sorted"], default="iid")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--noise", type=float, default=NOISE_MULTIPLIER, help="noise multiplier of the Gaussian mechanism")
    parser.add_argument("--dir", help="keep all files in this (new) folder")
    parser.add_argument("--stay", action="store_true", help="keep everything running at the end, until Ctrl-C")
    return parser.parse_args()


# A round's cohort and what each device does in it.
COHORT = 20
OVER_PROVISION = 1.3
DROPOUT = 0.10
EPOCHS = 3
LEARNING_RATE = 0.05
CLIP_NORM = 3.0
NOISE_MULTIPLIER = 0.05
VALUE_BITS = 14  # of a clipped coordinate, before the cohort's size is added


class Progress:
    """A step's line, rewritten in place on a terminal."""

    def __init__(self, text):
        self.text = text
        self.last = ""
        self.started = time.monotonic()
        print(f"==> {text}", flush=True)

    def show(self, state):
        if state == self.last:
            return
        self.last = state
        end = "\r" if sys.stdout.isatty() else "\n"
        print(f"    {state:<70}", end=end, flush=True)

    def done(self, state):
        print(f"    {state:<70} ({time.monotonic() - self.started:.1f} s)", flush=True)


def run(command):
    subprocess.run([str(c) for c in command], check=True)


class Demo:
    def __init__(self, arguments, folder):
        self.arguments = arguments
        self.folder = folder
        self.cluster = LocalCluster(folder / "server", arguments.cluster)
        self.fleet = None
        self.figures = {"mode": "cluster" if arguments.cluster else "all", "devices": arguments.devices}

    def run(self):
        started = time.monotonic()
        self.prepare_data()
        with self.cluster:
            try:
                self.publish()
                self.start_fleet()
                self.train()
                self.await_update()
                self.evaluate()
                self.verify()
                self.figures["seconds"] = round(time.monotonic() - started, 1)
                print_table(self.figures)
                self.print_next_steps()
                if self.arguments.stay:
                    print("running until Ctrl-C ...", flush=True)
                    signal.sigwait([signal.SIGINT, signal.SIGTERM])
            finally:
                if self.fleet:
                    self.fleet.stop()
        if self.arguments.json:
            pathlib.Path(self.arguments.json).write_text(json.dumps(self.figures, indent=2) + "\n")
        return check(self.figures)

    def prepare_data(self):
        step = Progress("Fashion-MNIST: a small CNN with random weights, calibration, holdout and test data")
        run([BIN / "edgefleet-fashion", "--out", self.folder / "data", "--seed", self.arguments.seed])
        step.done("ready")

    def publish(self):
        step = Progress("publish, compile to fp32 and int8, validate, sign, distribute")
        data = self.folder / "data"
        run(self.cluster.cli("model", "publish", MODEL, data / "fashion_cnn.onnx", "--calibration", data / "calibration.npz",
                             "--evaluation", data / "holdout.npz", "--alias", "stable"))
        step.done("version 1 is what alias 'stable' names")

    def start_fleet(self):
        step = Progress(f"{self.arguments.devices} devices of three classes in three regions fetch, verify and run it")
        self.status_file = self.folder / "fleet.json"
        self.fleet = Process("fleetsim", [
            BIN / "edgefleet-fleetsim", "--devices", self.arguments.devices, "--state-dir", self.folder / "devices",
            "--origin", self.cluster.origin_url, "--fleet", self.cluster.address("selector"),
            "--trust-key", self.cluster.trust_key, "--model", MODEL, "--sharding", self.arguments.sharding,
            "--dropout", DROPOUT, "--enrolment-authority", self.cluster.authority_key, "--seed", self.arguments.seed, "--status-file", self.status_file], self.folder / "fleet.log")
        self.fleet.start()
        totals = self.await_version(1, step)
        self.figures["first_install"] = totals
        step.done(f"all on version 1, {totals['inferences']} inferences, {megabytes(totals['bytes_in_full'])} moved in full")

    def fleet_totals(self):
        if not self.fleet.alive():
            raise RuntimeError(f"the simulated fleet has ended:\n{self.fleet.log_tail()}")
        return json.loads(self.status_file.read_text()) if self.status_file.exists() else None

    def await_version(self, version, step):
        def all_there():
            totals = self.fleet_totals()
            if not totals:
                return None
            there = totals["devices_by_version"].get(str(version), 0)
            step.show(f"{there} of {self.arguments.devices} devices")
            return totals if there == self.arguments.devices else None
        return wait_until(all_there, INSTALL_SECONDS_MAX, f"version {version} on every device", poll_seconds=0.5)

    def train(self):
        step = Progress(f"{self.arguments.rounds} federated rounds of about {COHORT} enrolled devices, {DROPOUT:.0%} dropping out "
                        "after sharing keys, secure aggregation against an active adversary, noise")
        task = self.cluster.cli_json(
            "task", "create", "--model", MODEL, "--rounds", self.arguments.rounds, "--move-alias", "--cohort", COHORT,
            "--over-provision", OVER_PROVISION, "--min-participants", 13, "--stratify-by", "class,region", "--epochs", EPOCHS,
            "--batch-size", 10, "--learning-rate", LEARNING_RATE, "--clip-norm", CLIP_NORM, "--noise", self.arguments.noise,
            "--delta", 1e-5, "--seed", self.arguments.seed, "--pool-min", int(self.arguments.devices * 0.6),
            "--training-timeout", 60, "--collecting-timeout", 30, "--adversary", "active", "--value-bits", VALUE_BITS)
        self.task_id = task["task_id"]
        run(self.cluster.cli("task", "watch", self.task_id))
        self.figures["task"] = self.cluster.cli_json("task", "show", self.task_id)
        self.figures["rounds"] = self.cluster.cli_json("task", "rounds", self.task_id)["rounds"]
        self.figures["fp32_update_bytes"] = 4 * int(self.cluster.cli_json("model", "show", f"{MODEL}@1")["parameter_count"])
        step.done("done")

    def await_update(self):
        version = self.figures["task"]["current_version"]
        step = Progress(f"version {version} travels to every device as a signed delta")
        before = self.figures["first_install"]
        self.await_version(version, step)
        self.fleet.stop()
        totals = json.loads(self.fleet.log_file.read_text().splitlines()[-1])
        self.figures["fleet"] = totals
        step.done(f"{totals['installs_by_delta']} of {totals['installs'] - before['installs']} installs by delta")

    def evaluate(self):
        step = Progress("accuracy on the 10,000 test images, measured on what devices run")
        final = self.figures["task"]["current_version"]
        for version in (1, final):
            for variant in ("fp32", "int8"):
                file = self.folder / f"v{version}.{variant}.efm"
                fetch = self.cluster.cli("model", "fetch", f"{MODEL}@{version}", "--variant", variant, "-o", file, "--trust-key",
                                         self.cluster.trust_key)
                subprocess.run(fetch, check=True, stdout=subprocess.DEVNULL)
                result = self.cluster.cli_json("model", "eval", file, self.folder / "data/test.npz")
                self.figures[f"v{version}_{variant}"] = {"accuracy": result["accuracy"], "bytes": file.stat().st_size}
        step.done("measured")

    def verify(self):
        step = Progress("the last round's transcript, replayed: did the server follow the protocol?")
        committed = [r for r in self.figures["rounds"] if r["phase"] == "COMMITTED"]
        transcript = self.folder / "round.jsonl"
        subprocess.run(self.cluster.cli("task", "transcript", committed[-1]["round_id"], "--out", transcript), check=True,
                       stdout=subprocess.DEVNULL)
        done = subprocess.run(self.cluster.cli("secagg", "verify", transcript, "--key", self.cluster.transcript_key,
                                               "--enrolment-key", f"{self.cluster.authority_key}.pub"),
                              capture_output=True, text=True, check=False)
        self.figures["transcript"] = {"bytes": transcript.stat().st_size, "verified": done.returncode == 0}
        if done.returncode != 0:
            print(done.stdout + done.stderr, file=sys.stderr)
        step.done("verified" if done.returncode == 0 else "REFUSED")

    def print_next_steps(self):
        metrics = self.cluster.address("aggregator", "metrics")
        with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=10) as answer:
            samples = sum(1 for line in answer.read().decode().splitlines() if not line.startswith("#"))
        edgefleet = "./run exec " + " ".join(["edgefleet"] + self.cluster.cli()[1:])
        alive = "" if self.arguments.stay else "   (while it runs: ./run demo --stay)"
        print(f"\nWhere to look next{alive}\n"
              f"  metrics ({samples} samples)   curl http://{metrics}/metrics\n"
              f"  rounds                  {edgefleet} task rounds {self.task_id}\n"
              f"  the model's lineage     {edgefleet} model show {MODEL}:stable\n"
              f"  compiler report         {edgefleet} model report {MODEL}:stable\n"
              f"  devices                 {edgefleet} device list", flush=True)


def megabytes(count):
    return f"{count / 1e6:.2f} MB"


def final_figures(figures):
    final = figures["task"]["current_version"]
    return figures[f"v{final}_fp32"], figures[f"v{final}_int8"]


def print_table(figures):
    committed = [r for r in figures["rounds"] if r["phase"] == "COMMITTED"]
    fp32, int8 = final_figures(figures)
    fleet = figures["fleet"]
    last = committed[-1]
    update_bytes = last["update_bytes"] / last["uploaded"]
    per_delta = fleet["bytes_by_delta"] / max(1, fleet["installs_by_delta"])
    rows = [
        ("test accuracy, before", f"fp32 {figures['v1_fp32']['accuracy']:.2%}   int8 {figures['v1_int8']['accuracy']:.2%}"),
        ("test accuracy, after", f"fp32 {fp32['accuracy']:.2%}   int8 {int8['accuracy']:.2%}"),
        ("file size", f"fp32 {fp32['bytes']:,} B   int8 {int8['bytes']:,} B ({int8['bytes'] / fp32['bytes']:.1%})"),
        ("moved in full", f"{megabytes(fleet['bytes_in_full'])} by {fleet['installs'] - fleet['installs_by_delta']} installs"),
        ("moved by delta", f"{megabytes(fleet['bytes_by_delta'])} by {fleet['installs_by_delta']} installs, "
                           f"{per_delta / int8['bytes']:.1%} of the full file each"),
        ("rounds", f"{len(committed)} committed, {len(figures['rounds']) - len(committed)} failed"),
        ("updates in the sums", f"{sum(r['uploaded'] for r in committed)} by secure aggregation, "
                                f"{megabytes(sum(r['update_bytes'] for r in committed))}"),
        ("secure aggregation", f"{last['adversary'].lower().replace('_', '-')} adversary, degree k = {last['degree']}, "
                               f"threshold t = {last['threshold']}, {last['element_bits']} bits an element"),
        ("bytes of an update", f"{update_bytes:,.0f} masked, {update_bytes / figures['fp32_update_bytes']:.1%} of fp32's "
                               f"{figures['fp32_update_bytes']:,}"),
        ("transcript", f"{figures['transcript']['bytes']:,} B, " +
                       ("verified" if figures["transcript"]["verified"] else "REFUSED by edgefleet secagg verify")),
        ("dropouts recovered", f"{sum(r['dropouts_recovered'] for r in committed)} members had shared keys and were not in the sum: "
                               f"{fleet['dropouts_injected']} dropped out, the others came after the {COHORT} wanted"),
        ("privacy spent", f"epsilon {figures['task']['epsilon_spent']:.4g} at delta {figures['task']['spec']['privacy']['delta']:g} "
                          "per device"),
        ("time", f"{figures['seconds']} s"),
    ]
    print("\nround  version  updates  dropouts  holdout accuracy  epsilon")
    for r in figures["rounds"]:
        if r["phase"] == "COMMITTED":
            print(f"{r['number']:>5}  {r['new_version']:>7}  {r['uploaded']:>7}  {r['dropouts_recovered']:>8}  "
                  f"{r['accuracy']:>16.2%}  {r['epsilon_spent']:.4g}")
        else:
            print(f"{r['number']:>5}  failed: {r['failure_reason']} {r['failure_detail']}")
    print()
    for name, value in rows:
        print(f"  {name:<24}{value}")
    print("\n  With 20 devices a round and 100,000 parameters, noise that hides a device would also hide the model: the epsilon above\n"
          "  is what this run really spent. Cohorts of thousands allow a small one (docs/architecture.md, Privacy).", flush=True)


def check(figures):
    """0 if the run shows what it is there to show; otherwise says what is missing."""
    fp32, int8 = final_figures(figures)
    fleet = figures["fleet"]
    final = str(figures["task"]["current_version"])
    committed = sum(1 for r in figures["rounds"] if r["phase"] == "COMMITTED")
    wanted = {
        "at least 84 % accuracy": int8["accuracy"] >= 0.84 and fp32["accuracy"] >= 0.84,
        "int8 within 1.0 point of fp32": fp32["accuracy"] - int8["accuracy"] <= 0.010,
        "int8 file at most 27 % of fp32": int8["bytes"] <= 0.27 * fp32["bytes"],
        "at least ten committed rounds": committed >= 10,
        "every round against an active adversary": all(r["adversary"] == "ACTIVE" for r in figures["rounds"]
                                                       if r["phase"] == "COMMITTED"),
        "a transcript that verifies": figures["transcript"]["verified"],
        "every device on the new version": fleet["devices_by_version"] == {final: figures["devices"]},
        "the new version moved by delta": fleet["installs_by_delta"] >= figures["devices"],
    }
    missing = [name for name, met in wanted.items() if not met]
    for name in missing:
        print(f"NOT MET: {name}", file=sys.stderr)
    return 1 if missing else 0


def main():
    arguments = parse_arguments()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT, signal.SIGTERM])
    folder = pathlib.Path(arguments.dir or tempfile.mkdtemp(prefix="edgefleet-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    os.chmod(folder, 0o755)  # PostgreSQL's own user must get through
    try:
        return Demo(arguments, folder).run()
    except (subprocess.CalledProcessError, RuntimeError, TimeoutError) as error:
        print(f"error: {error}\nlogs: {folder}", file=sys.stderr)
        arguments.dir = folder  # keep them
        return 1
    finally:
        if not arguments.dir:
            remove(folder)


if __name__ == "__main__":
    sys.exit(main())
