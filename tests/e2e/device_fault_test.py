#!/usr/bin/env python3
"""kill -9 of a device's program inside rounds against an active adversary: the others finish the round, the device that comes back
says nothing more in it, and it contributes to a later one."""
import array
import hashlib
import json
import signal
import struct
import subprocess
import sys
import unittest

from harness import BIN, MODEL, EndToEnd
from local_cluster import Process

AGENTS = [f"agent-{i}" for i in range(1, 8)]
VICTIM, SLOW, *HELD = AGENTS[:5]
EPOCHS = 50
FEW = 20
MANY = 20_000  # examples that take minutes
ADVERT, SURVIVORS = 1, 2  # statements, as secagg/guard.h numbers them
ENTRY, MAGIC = 64, b"edgefleet said 1"


def write_npy(path, dtype, shape, data):
    """`data` shorter than the shape says leaves a hole of zeros."""
    size = 4
    for dimension in shape:
        size *= dimension
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data)
        file.truncate(10 + len(header) + size)


class DeviceKilledInsideARound(EndToEnd):
    config = {**EndToEnd.config, "log": {"level": "debug"}}

    def state_dir(self, agent):
        return self.folder / "devices" / agent

    def command(self, agent, *arguments):
        return [BIN / "edgefleet-device", "--state-dir", self.state_dir(agent), "--device-id", agent, "--device-class", "phone",
                "--region", "eu", "--model", MODEL, "--origin", self.cluster.origin_url, "--fleet",
                self.cluster.address("selector"), "--trust-key", self.cluster.trust_key, "--enrolment-key",
                f"{self.cluster.authority_key}.pub", *arguments]

    def enroll(self, agent):
        """The device's identity key, certified."""
        command = [str(c) for c in self.command(agent, "--json", "identity")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        identity = json.loads(done.stdout)["identity"]
        enroll = self.cluster.cli("device", "enroll", "--authority", self.cluster.authority_key, "--identity", identity,
                                  "--out", self.state_dir(agent) / "identity.cert")
        subprocess.run(enroll, check=True, stdout=subprocess.DEVNULL)
        return identity

    def start_agent(self, agent, examples=FEW):
        images, labels = self.folder / f"images-{examples}.npy", self.folder / f"labels-{examples}.npy"
        if not images.exists():
            write_npy(images, "<f4", (examples, 28, 28), array.array("f", [i % 251 / 251 for i in range(FEW * 28 * 28)]).tobytes())
            write_npy(labels, "<i4", (examples,), array.array("i", [i % 10 for i in range(examples)]).tobytes())
        process = Process(agent, self.command(agent, "run", "--update-interval-ms", 500, "--examples", images, "--labels", labels),
                          self.folder / f"{agent}.log")
        self.agents[agent] = process
        process.start()
        self.addCleanup(process.stop, signal.SIGKILL)

    def said(self, agent, round_id, statement):
        """What the device is bound to have said, from its state folder."""
        text = (self.state_dir(agent) / "said").read_bytes()
        self.assertTrue(text.startswith(MAGIC))
        subject = hashlib.sha256(bytes([statement]) + round_id.encode()).digest()
        entries = [text[at:at + ENTRY] for at in range(len(MAGIC), len(text) - ENTRY, ENTRY)]
        return next((entry[32:] for entry in entries if entry[:32] == subject), None)

    def told(self, process, text):
        """The JSON lines with `text` that it has written so far."""
        self.assertTrue(process.alive(), process.log_tail())
        lines = process.log_file.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if text in line and line.endswith("\n")]

    def await_round(self, number, condition, what):
        """Round `number`, as it was last announced, once it meets the condition."""
        def meets():
            told = [event["round"] for event in self.told(self.watch, '"round"') if event["round"]["number"] == number]
            return told[-1] if told and condition(told[-1]) else None
        return self.eventually(meets, what)

    def steps_of(self, agent, round_id):
        """What the transcript, which is verified, has from the agent."""
        file = self.folder / f"{round_id}.jsonl"
        subprocess.run(self.cluster.cli("task", "transcript", round_id, "--out", file), check=True, stdout=subprocess.DEVNULL)
        verify = self.cluster.cli("secagg", "verify", file, "--key", self.cluster.transcript_key, "--enrolment-key",
                                  f"{self.cluster.authority_key}.pub")
        done = subprocess.run(verify, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        records = {record["type"]: record for record in map(json.loads, file.read_text().splitlines())}
        identities = [advert["identity"] for advert in records["roster"]["adverts"]]
        self.assertEqual(identities.count(self.identities[agent]), 1)
        index = identities.index(self.identities[agent]) + 1
        lists = {"shared": "shares", "uploads": "signatures", "confirmations": "signatures", "answers": "answers"}
        return [step for step, name in lists.items() if index in [entry["member"] for entry in records[step][name]]]

    def has_left(self, agent, round_id):
        """Whether the aggregator heard that the device has been in this round and says nothing more in it."""
        left = {"round_id": round_id, "device_id": agent, "reason": "ALREADY_SAID"}
        return left in [line["fields"] for line in self.told(self.cluster.processes["all"], '"device left"')]

    def signal(self, agents, number):
        for agent in agents:
            self.agents[agent].popen.send_signal(number)

    def test_killed_and_restarted(self):
        self.publish()
        self.agents, self.identities = {}, {}
        for agent in AGENTS:
            self.identities[agent] = self.enroll(agent)
            self.start_agent(agent, MANY if agent == SLOW else FEW)
        self.task_id = self.cluster.cli_json(
            "task", "create", "--model", MODEL, "--rounds", 3, "--cohort", len(AGENTS), "--over-provision", 1, "--min-participants",
            5, "--epochs", EPOCHS, "--batch-size", 10, "--learning-rate", 0.01, "--clip-norm", 3, "--adversary", "active",
            "--dropout", 0.3, "--failed-rounds-max", 1, "--max-accuracy-drop", 1, "--unmasking-timeout", 60)["task_id"]
        self.watch = Process("watch", self.cluster.cli("--json", "task", "watch", self.task_id), self.folder / "watch.log")
        self.watch.start()
        self.addCleanup(self.watch.stop, signal.SIGKILL)
        unmasking = self.kill_while_unmasking()
        collecting = self.kill_while_collecting()
        task = self.await_end(self.task_id)
        self.assertEqual((task["state"], task["rounds_committed"], task["rounds_failed"]), ("DONE", 3, 0), task["detail"])
        rounds = self.rounds(self.task_id)
        self.assertEqual([(r["phase"], r["uploaded"], r["dropouts_recovered"]) for r in rounds],
                         [("COMMITTED", 6, 1), ("COMMITTED", 6, 1), ("COMMITTED", 7, 0)])
        self.assertEqual(rounds[0]["unmasked"], 5)
        steps = self.steps_of(VICTIM, unmasking)
        self.assertEqual(steps[:2], ["shared", "uploads"])
        self.assertNotIn("answers", steps)
        self.assertEqual(self.steps_of(VICTIM, collecting), ["shared"])
        self.assertEqual(self.steps_of(VICTIM, rounds[2]["round_id"])[:2], ["shared", "uploads"])

    def find(self, round_id):
        return next(r for r in self.rounds(self.task_id) if r["round_id"] == round_id)

    def restart_victim(self, round_id, examples):
        """Its round is committed without it, and it is bound to nothing that it had not said before."""
        before = [self.said(VICTIM, round_id, statement) for statement in (ADVERT, SURVIVORS)]
        self.start_agent(VICTIM, examples)
        self.eventually(lambda: self.find(round_id)["phase"] == "COMMITTED", f"the end of round {round_id}")
        self.assertEqual([self.said(VICTIM, round_id, statement) for statement in (ADVERT, SURVIVORS)], before)

    def kill_while_unmasking(self):
        """Round 1 waits for the slow device's update, then for confirmations of those that are held: 4 of the 6 in the committee are
        needed. Meanwhile the victim is stopped, so that UNMASKING waits for its answer."""
        r = self.await_round(1, lambda r: r["uploaded"] == len(AGENTS) - 1, "all updates but the slow device's")
        self.assertEqual(r["phase"], "COLLECTING")
        self.signal(HELD, signal.SIGSTOP)
        self.assertEqual(self.agents[SLOW].stop(), 0)
        self.await_round(1, lambda r: r["confirmed"] >= 2, "confirmations of those that are not held")
        self.signal([VICTIM], signal.SIGSTOP)
        self.signal(HELD, signal.SIGCONT)
        hit = self.await_round(1, lambda r: r["phase"] not in ("COLLECTING", "CONFIRMING"), "unmasking")
        self.assertEqual(hit["phase"], "UNMASKING")
        self.agents[VICTIM].kill9()
        self.start_agent(SLOW)
        self.restart_victim(r["round_id"], MANY)
        return r["round_id"]

    def kill_while_collecting(self):
        """Round 2 waits for the victim's update until the victim is back and leaves."""
        r = self.await_round(2, lambda r: r["uploaded"] == len(AGENTS) - 1, "all updates but the victim's")
        self.assertEqual(r["phase"], "COLLECTING")
        self.assertIsNotNone(self.said(VICTIM, r["round_id"], ADVERT))
        self.agents[VICTIM].kill9()
        self.restart_victim(r["round_id"], FEW)
        self.assertTrue(self.has_left(VICTIM, r["round_id"]))
        return r["round_id"]


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
