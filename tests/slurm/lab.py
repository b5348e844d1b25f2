"""A real Slurm on one host: munge, accounting on MariaDB, slurmctld, two GPU nodes and a CPU node, all on loopback.

It runs as root without systemd and cgroups, from Debian's packages. GPUs are character devices (Slurm refuses plain
files). The plugin's job steps drop SLURM_CONF, so the configuration has to lie in /etc/slurm while the lab is up.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ETC = Path("/etc/slurm")
OURS = ("slurm.conf", "gres.conf", "slurmdbd.conf")
PACKAGES = ["munge", "slurmctld", "slurmd", "slurm-client", "slurmdbd", "mariadb-server"]
PROGRAMS = ["munged", "slurmctld", "slurmd", "squeue", "sacct", "slurmdbd", "mariadbd", "mariadb-install-db"]
ACCOUNT = "my-account"  # the one that stands in the committed profile
NODES = ("n1", "n2", "n3")
CPUS = 4  # of each node, as Slurm counts them
# Every process of the lab and of its jobs carries this variable: what bears it may be ended, nothing else.
MARK = "FORMSAFE_SLURM_LAB"

LEFTOVER = "# Of a test lab that is gone unless a process still bears its mark: "

SLURM_CONF = """\
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
# How long a requeued job waits before it starts again (120 s by default).
AuthInfo=socket={root}/run/munge.socket,cred_expire=5
SlurmctldPort=16817
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/run/slurmctld.pid
SlurmdPidFile={root}/run/slurmd-%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=bf_interval=2,sched_min_interval=0,sched_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
ReturnToService=2
MpiDefault=none
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
MinJobAge=300
KillWait=2
SlurmdTimeout=10
SlurmctldTimeout=10
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=16819
AccountingStorageUser=root
AccountingStoragePass={root}/run/munge.socket
AccountingStoreFlags=job_comment
AccountingStorageTRES=gres/gpu
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port=17001 CPUs={cpus} RealMemory=16000 Gres=gpu:h200:2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port=17002 CPUs={cpus} RealMemory=16000 Gres=gpu:h200:2
NodeName=n3 NodeHostname={host} NodeAddr=127.0.0.1 Port=17003 CPUs={cpus} RealMemory=16000
PartitionName=gpu Nodes=n[1-2] Default=YES MaxTime=2-0 DefaultTime=10 PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent Nodes=n[1-2] MaxTime=2-0 DefaultTime=10 PriorityTier=10 PreemptMode=OFF
PartitionName=cpu Nodes=n3 MaxTime=2-0 DefaultTime=10
"""
GRES_CONF = "".join(f"NodeName=n[1-2] Name=gpu Type=h200 File=/dev/{name}\n" for name in ("null", "zero"))
SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={root}/run/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=16819
SlurmUser=root
LogFile={root}/log/slurmdbd.log
PidFile={root}/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
"""
MARIADB = [
    "--skip-networking",
    "--innodb-buffer-pool-size=64M",
    "--innodb-lock-wait-timeout=900",
    "--innodb-log-file-size=16M",
    "--innodb-flush-log-at-trx-commit=0",
]


class CannotRun(Exception):
    """This host cannot run the lab; the message says why."""


def prepare() -> None:
    """Make sure that the lab can run here, installing what is missing; raises CannotRun with the reason."""
    if os.geteuid() != 0:
        raise CannotRun("a Slurm lab needs root")
    _remove_leftovers()
    if any((ETC / name).exists() for name in OURS):
        raise CannotRun("this host has a Slurm configuration in /etc/slurm, which the lab would replace")
    if all(shutil.which(program) for program in PROGRAMS):
        return
    if not shutil.which("apt-get"):
        raise CannotRun("a Slurm lab needs Debian's packages: " + " ".join(PACKAGES))
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(["apt-get", "-q", *command], env=quiet, capture_output=True, text=True)
        if done.returncode:
            raise CannotRun(f"apt-get {command[0]} failed: {done.stderr.strip()[-200:]}")


def _remove_leftovers() -> None:
    """Remove the configuration of an earlier lab whose test was killed, once nothing of it runs."""
    for name in OURS:
        first = (ETC / name).read_text().partition("\n")[0] if (ETC / name).exists() else ""
        if first.startswith(LEFTOVER) and not _marked(first.removeprefix(LEFTOVER)):
            (ETC / name).unlink()


class Lab:
    """The daemons of one lab; use as a context manager."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.made_etc = not ETC.exists()

    def __enter__(self) -> "Lab":
        try:
            self._configure()
            self._start("munged", ["munged", "-F", "--force", *self._munge_files()])
            self._until("munge", lambda: _works("munge", "-n", "-S", f"{self.root}/run/munge.socket"))
            self._start_accounting_store()
            self.start_accounting()
            self._until("slurmdbd", lambda: _works("sacctmgr", "-n", "show", "cluster"))
            _call("sacctmgr", "-i", "add", "cluster", "lab")
            _call("sacctmgr", "-i", "add", "account", ACCOUNT)
            _call("sacctmgr", "-i", "add", "user", "root", f"account={ACCOUNT}")
            self.start_controller()
            for node in NODES:
                self.start_node(node)
            self._until("nodes", lambda: _call("sinfo", "-hNo", "%n %T").count("idle") >= len(NODES))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if "slurmctld" in self.daemons and self.daemons["slurmctld"].poll() is None:
            subprocess.run(["scancel", "--user=root"], capture_output=True, timeout=30)
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline and _output("squeue", "-h", "-t", "R,CG"):
                time.sleep(0.2)
        for name in reversed(self.daemons):
            self.daemons[name].terminate()
        for daemon in self.daemons.values():
            try:
                daemon.wait(5)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        left = self.processes()
        for pid in [*_step_daemons(left), *left]:
            _end(pid)
        for name in OURS:
            (ETC / name).unlink(missing_ok=True)
        if self.made_etc and ETC.exists() and not any(ETC.iterdir()):
            ETC.rmdir()

    def _configure(self) -> None:
        for folder in ("state", "log", "run", "db", *(f"spool/{node}" for node in NODES)):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        for parent in (self.root, self.root / "run"):
            parent.chmod(0o755)
        key = self.root / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        ETC.mkdir(exist_ok=True)
        values = {"root": self.root, "host": socket.gethostname().split(".")[0], "cpus": CPUS}
        for name, text in zip(OURS, (SLURM_CONF, GRES_CONF, SLURMDBD_CONF), strict=True):
            (ETC / name).write_text(f"{LEFTOVER}{self.root}\n{text.format(**values)}")
        (ETC / "slurmdbd.conf").chmod(0o600)

    def _munge_files(self) -> list[str]:
        names = {"key-file": "munge.key", "socket": "run/munge.socket", "pid-file": "run/munged.pid"}
        names |= {"seed-file": "run/munge.seed", "log-file": "log/munged.log"}
        return [f"--{option}={self.root / name}" for option, name in names.items()]

    def _start(self, name: str, command: list[str], **environment: str) -> None:
        with open(self.root / "log" / f"{name}.out", "ab") as log:
            self.daemons[name] = subprocess.Popen(
                command,
                cwd=self.root,  # one that crashes leaves its core there
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, MARK: str(self.root), **environment},
            )

    def _start_accounting_store(self) -> None:
        data, temporary = f"--datadir={self.root}/db", f"--tmpdir={self.root}/run"
        _call("mariadb-install-db", "--no-defaults", "--user=root", "--skip-test-db", data, temporary)
        files = [f"--socket={self.root}/run/mysql.socket", f"--pid-file={self.root}/run/mysql.pid"]
        self._start("mariadbd", ["mariadbd", "--no-defaults", "--user=root", data, temporary, *files, *MARIADB])
        self._until("MariaDB", lambda: _works("mariadb", "-S", f"{self.root}/run/mysql.socket", "-e", "select 1"))

    def start_accounting(self) -> None:
        """Start slurmdbd."""
        self._start("slurmdbd", ["slurmdbd", "-D"], MYSQL_UNIX_PORT=f"{self.root}/run/mysql.socket")

    def start_controller(self) -> None:
        """Start slurmctld."""
        self._start("slurmctld", ["slurmctld", "-D"])

    def start_node(self, node: str) -> None:
        """Start a node's slurmd."""
        self._start(node, ["slurmd", "-D", "-N", node])

    def stop(self, name: str) -> None:
        """End a daemon the way an administrator does."""
        self.daemons[name].terminate()
        self.daemons[name].wait(30)

    def kill_node(self, node: str) -> None:
        """A node loses its power: its slurmd and all that runs on it is gone at once."""
        self.daemons[node].kill()
        on_node = [pid for pid in self.processes() if f"SLURMD_NODENAME={node}" in _environment(pid)]
        for pid in [*_step_daemons(on_node), *on_node]:  # the step daemons first: they would report the deaths
            _end(pid)
        self.daemons[node].wait()

    def processes(self) -> list[int]:
        """The living processes of the lab and its jobs."""
        return _marked(str(self.root))

    def environment(self) -> dict[str, str]:
        """The environment for processes that submit jobs."""
        return {**os.environ, MARK: str(self.root)}

    def _until(self, what: str, ready: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                logs = "\n".join(_tails(self.root / "log"))
                raise CannotRun(f"the lab's {what} did not come up:\n{logs}")
            time.sleep(0.1)


def queue(*states: str) -> list[dict[str, str]]:
    """The jobs in the queue, as {id, state, comment, name, node}."""
    wanted = ["-t", ",".join(states)] if states else []
    lines = _call("squeue", "-h", "-o", "%i|%T|%k|%j|%N", *wanted).splitlines()
    return [dict(zip(("id", "state", "comment", "name", "node"), line.split("|"), strict=True)) for line in lines]


def records() -> list[dict[str, str]]:
    """What accounting holds of every start of every job, requeued ones included."""
    names = ["JobIDRaw", "State", "Comment", "AllocTRES", "NodeList", "Start", "End", "Timelimit", "JobName"]
    rows = _call("sacct", "-X", "-D", "-n", "-P", "-S", "now-1day", "-o", ",".join(names)).splitlines()
    return [dict(zip(names, row.split("|"), strict=True)) for row in rows]


def _marked(root: str) -> list[int]:
    numbers = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in numbers if pid != os.getpid() and f"{MARK}={root}" in _environment(pid)]


def _environment(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def _step_daemons(pids: list[int]) -> set[int]:
    """The slurmstepd above each process; it overwrites its own environment, so that no mark tells it."""
    found = set()
    for pid in pids:
        try:
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            if Path(f"/proc/{parent}/cmdline").read_bytes().startswith(b"slurmstepd"):
                found.add(parent)
        except OSError:
            continue
    return found


def _end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _tails(folder: Path) -> Iterator[str]:
    for log in sorted(folder.iterdir()):
        yield f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}"


def _call(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout


def _works(*command: str) -> bool:
    done = subprocess.run(command, capture_output=True, timeout=60)
    return done.returncode == 0
