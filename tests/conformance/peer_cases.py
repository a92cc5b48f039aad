# SPDX-License-Identifier: Apache-2.0
"""The everyday operations. A case drives an engine; what it shows is compared between runtimes, `must` steps have to work."""
import dataclasses
import json
import re
import typing

from peer_engines import IMAGE, Unusable

BOTH = ("podman", "docker")
NAME = "smoke"


@dataclasses.dataclass
class Case:
    name: str
    engines: tuple
    body: typing.Callable


ALL = []


def case(*engines):
    def add(function):
        ALL.append(Case(function.__name__.replace("_", "-"), engines or BOTH, function))
        return function
    return add


def one_run(name, flags, script, engines=BOTH, **options):
    """A case of one `run`: the flags under test, and a shell script whose output shows their effect."""
    flags = flags.split()
    network = [] if any(flag.startswith("--network") for flag in flags) else ["--network", "none"]

    def body(engine):
        for flag in flags:
            if flag.startswith("SCRATCH/"):
                (engine.scratch / flag.partition(":")[0].removeprefix("SCRATCH/")).mkdir(exist_ok=True)
        placed = [flag.replace("SCRATCH", str(engine.scratch)) for flag in flags]
        engine.show("run", "--rm", *engine.run_flags(), *network, *placed, IMAGE, "sh", "-c", script, **options)
    ALL.append(Case(name, engines, body))


CGROUP = "cat /sys/fs/cgroup/{0} 2>/dev/null || cat /sys/fs/cgroup/{1}"

one_run("run", "", "echo hello; echo error >&2; exit 7")
one_run("env", "--env A=1 --env B=", "env | sort", only="^(A|B|PATH|container)=")
one_run("workdir", "--workdir /usr/bin", "pwd")
one_run("workdir-made", "--workdir /new/folder", "pwd; ls -ld /new/folder | cut -d' ' -f1")
one_run("hostname", "--hostname h1", "hostname; cat /proc/sys/kernel/hostname")
one_run("user", "--user 1000:1001", "id; grep -E '^(Cap|Groups|NoNew)' /proc/self/status")
one_run("user-name", "--user daemon", "id")
one_run("group-add", "--user 1000 --group-add 7 --group-add users", "id")
one_run("capabilities", "", "grep Cap /proc/self/status")
one_run("cap-drop", "--cap-drop ALL --cap-add CHOWN", "grep Cap /proc/self/status; chown 1 /tmp; chroot / true; echo $?")
one_run("privileged", "--privileged", "grep -E 'Cap|Seccomp:' /proc/self/status; mount -t tmpfs x /tmp && echo mounted")
one_run("no-new-privileges", "--security-opt no-new-privileges", "grep NoNewPrivs /proc/self/status")
one_run("seccomp-default", "", "grep Seccomp: /proc/self/status; unshare -U true; echo $?")
one_run("seccomp-unconfined", "--security-opt seccomp=unconfined", "grep Seccomp: /proc/self/status; unshare -U true; echo $?")
one_run("masked-paths", "", "for f in kcore keys timer_list sysrq-trigger; do wc -c < /proc/$f; done; ls /proc/acpi /sys/firmware;"
        "echo 1 > /proc/sys/kernel/panic; echo $?")
one_run("mounts", "", "cut -d' ' -f2,3,4 /proc/mounts | sed -E '/cgroup/s/ [^ ]*$//'", sort=True,
        only="^/(proc|sys|dev)(/(pts|shm|mqueue|console|fs/cgroup))? |exit")
one_run("devices", "", "cd /dev; for f in *; do stat -c '%n %F %a %t %T' $f; done", sort=True)
one_run("open-files", "", "ls /proc/self/fd; ls -l /proc/self/fd/0 | sed 's/.* //'")
one_run("read-only", "--read-only", "touch /x; echo $?; touch /dev/shm/x; echo $?")
one_run("tmpfs", "--tmpfs /scratch:size=1m,mode=1770,noexec",
        "stat -c %a /scratch; grep /scratch /proc/mounts; df -k /scratch | tail -1")
one_run("volume", "-v SCRATCH/shared:/v", "touch /v/a; ls /v; grep ' /v ' /proc/mounts | cut -d' ' -f4 | cut -c1-2")
one_run("volume-read-only", "-v SCRATCH/shared:/v:ro", "touch /v/b; echo $?; ls /v")
one_run("volume-named", "-v things:/v", "echo x > /v/a; cat /v/a")
one_run("init", "--init", "(sleep 0.1 &); sleep 0.3; ps -o stat | grep -c Z; readlink /proc/1/exe | grep -c sh")
one_run("terminal", "-t", "tty; test -t 0 && test -t 1 && echo terminal; stty -a | head -1 | cut -d';' -f1; ls /dev/console")
one_run("pids-limit", "--pids-limit 20", CGROUP.format("pids/pids.max", "pids.max"))
one_run("pids-limit-enforced", "--pids-limit 5", "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done 2>/dev/null; echo end")
one_run("memory", "-m 64m --memory-reservation 32m", CGROUP.format("memory/memory.limit_in_bytes", "memory.max") + ";" +
        CGROUP.format("memory/memory.soft_limit_in_bytes", "memory.low"))
one_run("memory-exceeded", "-m 16m", "x=$(dd if=/dev/zero bs=1M count=64 2>/dev/null | tr '\\0' x); echo ${#x}")
one_run("cpus", "--cpus 0.5 --cpu-shares 512 --cpuset-cpus 0",
        "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.shares "
        "/sys/fs/cgroup/cpuset/cpuset.cpus; grep Cpus_allowed_list /proc/self/status")
one_run("ulimit", "--ulimit nofile=512:1024 --ulimit core=0", "ulimit -n; ulimit -Hn; ulimit -c")
one_run("sysctl", "--sysctl kernel.msgmax=4096 --sysctl net.ipv4.ip_forward=1",
        "cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_forward")
one_run("device", "--device /dev/full:/dev/filled:rw", "stat -c '%F %a %t %T' /dev/filled; echo x > /dev/filled; echo $?")
one_run("device-rule", "--device /dev/kmsg:/dev/kk:r",
        "(echo x > /dev/kk) 2>/dev/null; echo $?; mknod /tmp/sda b 8 0 && head -c1 /tmp/sda; echo $?")
one_run("network-none", "--network none", "ls /sys/class/net; ip -o addr | grep -c 127.0.0.1")
one_run("network-host", "--network host", "ls /sys/class/net | wc -l; readlink /proc/self/ns/net")
one_run("pid-host", "--pid host", "readlink /proc/self/ns/pid; test $$ -ne 1 && echo other")
one_run("ipc-host", "--ipc host", "readlink /proc/self/ns/ipc")
one_run("uts-host", "--uts host", "readlink /proc/self/ns/uts")
one_run("cgroupns-private", "--cgroupns private", "head -1 /proc/self/cgroup")
one_run("cgroup-parent", "--cgroup-parent /peers", "grep -c /peers/ /proc/self/cgroup", engines=BOTH)
one_run("shm-size", "--shm-size 3m", "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2")
one_run("oom-score-adj", "--oom-score-adj 300", "cat /proc/self/oom_score_adj")
one_run("id-mapping", "--uidmap 0:100000:2000 --gidmap 0:200000:2000",
        "cat /proc/self/uid_map /proc/self/gid_map; id;"
        "ls -ldn /root | tr -s ' ' | cut -d' ' -f3,4;"
        "touch /x && echo written", engines=("podman",))
one_run("no-cgroups", "--cgroups disabled", "grep -c libpod /proc/self/cgroup", engines=("podman",))
one_run("unmask", "--security-opt unmask=ALL",
        "wc -c < /proc/timer_list | head -c1; grep -c /proc/ /proc/mounts", engines=("podman",))
one_run("annotation", "--annotation run.oci.keep_original_groups=0 --annotation a=b", "echo ran", engines=("podman",))
one_run("umask", "--umask 077", "umask", engines=("podman",))


def create(engine, *flags, command=("sleep", "1000"), name=NAME):
    network = [] if "--network" in flags else ["--network", "none"]
    engine.must("run", "-d", "--name", name, *engine.run_flags(), *network, *flags, IMAGE, *command)


def inspect(engine, template, name=NAME):
    engine.show("inspect", "--format", template, name)


@case()
def command_not_found(engine):
    engine.show("run", "--rm", *engine.run_flags(), "--network", "none", IMAGE, "no-such-program")
    if not re.search("no such file|not found", engine.last_error, re.I):
        engine.note("message", engine.last_error)


@case()
def command_not_executable(engine):
    engine.show("run", "--rm", *engine.run_flags(), "--network", "none", IMAGE, "/etc/passwd")
    if not re.search("permission denied", engine.last_error, re.I):
        engine.note("message", engine.last_error)


@case()
def killed_by_signal(engine):
    engine.show("run", "--rm", *engine.run_flags(), "--network", "none", IMAGE, "sh", "-c", "kill -TERM $$; sleep 5", )
    engine.show("run", "--rm", "--init", *engine.run_flags(), "--network", "none", IMAGE, "sh", "-c", "kill -KILL $$")


@case()
def standard_input(engine):
    engine.show("run", "-i", "--rm", *engine.run_flags(), "--network", "none", IMAGE, "sha256sum", stdin="line\n" * 50000)


@case()
def much_output(engine):
    engine.show("run", "--rm", *engine.run_flags(), "--network", "none", IMAGE,
                "sh", "-c", "seq 1 50000 | tee /proc/self/fd/2 | tail -1")


@case()
def detached_and_wait(engine):
    create(engine, command=("sh", "-c", "sleep 0.3; exit 5"))
    engine.show("wait", NAME)
    inspect(engine, "{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}")


@case()
def logs(engine):
    create(engine, command=("sh", "-c", "echo one; echo two; echo three >&2"))
    engine.show("wait", NAME)
    engine.show("logs", NAME)
    engine.show("logs", "--tail", "1", NAME)


@case()
def create_start(engine):
    engine.must("create", "--name", NAME, *engine.run_flags(), "--network", "none", IMAGE, "echo", "started")
    inspect(engine, "{{.State.Status}}")
    engine.show("start", "-a", NAME)
    engine.show("start", "-a", NAME)


@case()
def restart(engine):
    create(engine, command=("sh", "-c", "echo up; exec sleep 1000"))
    engine.eventually("it is up", lambda: engine.call("logs", NAME).out == "up\n")
    engine.must("restart", "-t", "0", NAME)
    engine.eventually("it is up again", lambda: engine.call("logs", NAME).out == "up\nup\n")
    inspect(engine, "{{.State.Status}}")


@case()
def execute(engine):
    create(engine, "--env", "A=1")
    engine.show("exec", NAME, "sh", "-c", "echo out; echo err >&2; exit 9")
    engine.show("exec", "--env", "B=2", "--workdir", "/etc", "--user", "1000:100", NAME, "sh", "-c", "echo $A $B; pwd; id")
    engine.show("exec", NAME, "grep", "-E", "Cap|NoNew|Seccomp:", "/proc/self/status")
    engine.show("exec", "--user", "1000", NAME, "grep", "Cap", "/proc/self/status")
    engine.show("exec", "--privileged", NAME, "grep", "Cap", "/proc/self/status")
    engine.show("exec", NAME, "ls", "/proc/self/fd")
    engine.show("exec", NAME, "sh", "-c",
                "for n in cgroup ipc mnt net pid uts; do [ $(readlink /proc/self/ns/$n) = $(readlink /proc/1/ns/$n) ] || echo $n; done")
    engine.show("exec", NAME, "sh", "-c",
                "cat /proc/1/cgroup > /tmp/1; cat /proc/self/cgroup > /tmp/2; cmp /tmp/1 /tmp/2 && echo same")


@case()
def execute_fails(engine):
    create(engine)
    engine.show("exec", NAME, "no-such-program")
    engine.show("exec", NAME, "/etc/passwd")
    engine.show("exec", "--workdir", "/none", NAME, "true")
    engine.show("exec", NAME, "sh", "-c", "kill -9 $$")
    engine.must("stop", "-t", "0", NAME)
    engine.show("exec", NAME, "true")


@case()
def execute_input(engine):
    create(engine)
    engine.show("exec", "-i", NAME, "sha256sum", stdin="line\n" * 50000)


@case()
def execute_terminal(engine):
    create(engine)
    engine.show("exec", *(["-t"]), NAME, "sh", "-c", "tty; test -t 1 && echo terminal; exit 3")


@case()
def execute_detached(engine):
    create(engine)
    engine.must("exec", "-d", NAME, "sh", "-c", "echo done > /tmp/file")
    engine.eventually("the file is there", lambda: engine.call("exec", NAME, "cat", "/tmp/file").out == "done\n")


@case()
def execute_many(engine):
    create(engine)
    for number in range(10):
        engine.show("exec", NAME, "sh", "-c", f"exit {number}")


@case()
def pause(engine):
    create(engine)
    engine.must("pause", NAME)
    inspect(engine, "{{.State.Status}}")
    engine.show("exec", NAME, "true")
    engine.show("pause", NAME)
    engine.must("unpause", NAME)
    inspect(engine, "{{.State.Status}}")
    engine.show("exec", NAME, "echo", "goes")
    engine.show("unpause", NAME)


@case()
def remove_paused(engine):
    create(engine)
    engine.must("pause", NAME)
    engine.show("rm", "-f", NAME)
    engine.show("ps", "-aq")


@case()
def stats(engine):
    create(engine)
    engine.show("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", NAME)
    used = engine.must("stats", "--no-stream", "--format", "{{.MemUsage}}", NAME)
    engine.note("memory is counted", str(not used.startswith("0B")))


@case()
def top(engine):
    create(engine, "--init", command=("sh", "-c", "sleep 1000 & wait"))
    engine.must("exec", NAME, "true")
    found = engine.must("top", NAME).split("\n")[1:]
    engine.note("top", "\n".join(sorted(line.split(None, 7)[7] for line in found)))


@case()
def kill_handled(engine):
    create(engine, command=("sh", "-c", "trap 'echo usr1; exit 3' USR1; echo ready; while :; do sleep 0.05; done"))
    engine.eventually("ready", lambda: "ready" in engine.call("logs", NAME).out)
    engine.must("kill", "-s", "USR1", NAME)
    engine.show("wait", NAME)
    engine.show("logs", NAME)


@case()
def kill(engine):
    create(engine)
    engine.must("kill", NAME)
    engine.show("wait", NAME)
    engine.show("kill", NAME)


@case()
def stop(engine):
    create(engine, "--stop-signal", "INT", command=("sh", "-c", "trap 'exit 4' INT; echo ready; while :; do sleep 0.05; done"))
    engine.eventually("ready", lambda: "ready" in engine.call("logs", NAME).out)
    engine.show("stop", "-t", "5", NAME)
    inspect(engine, "{{.State.Status}} {{.State.ExitCode}}")


@case()
def stop_by_force(engine):
    create(engine)
    engine.show("stop", "-t", "1", NAME)
    inspect(engine, "{{.State.Status}} {{.State.ExitCode}}")


@case()
def remove(engine):
    create(engine)
    engine.show("rm", NAME)
    engine.show("rm", "-f", NAME)
    engine.show("ps", "-aq")


@case()
def update(engine):
    create(engine, "-m", "64m", "--pids-limit", "50")
    # podman 4 wants the new limit of memory with swap, too; machines differ in whether they count swap.
    engine.must("update", "-m", "96m", "--cpu-shares", "300", *(["--memory-swap", "-1"] if engine.name == "podman" else []), NAME)
    engine.show("exec", NAME, "cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "/sys/fs/cgroup/cpu/cpu.shares", "/sys/fs/cgroup/pids/pids.max")


@case()
def health_check(engine):
    interval = "1s" if engine.name == "docker" else "disable"
    create(engine, "--health-cmd", "test -e /tmp/well", "--health-interval", interval, "--health-retries", "1")
    if engine.name == "podman":
        engine.show("healthcheck", "run", NAME)
        engine.must("exec", NAME, "touch", "/tmp/well")
        engine.show("healthcheck", "run", NAME)
    else:
        status = lambda: engine.call("inspect", "--format", "{{.State.Health.Status}}", NAME).out.strip()
        engine.eventually("it is unhealthy", lambda: status() == "unhealthy")
        engine.must("exec", NAME, "touch", "/tmp/well")
        engine.eventually("it is healthy", lambda: status() == "healthy")


@case()
def out_of_memory(engine):
    create(engine, "-m", "16m", command=("sh", "-c", "exec tail -c 200m /dev/zero"))
    engine.show("wait", NAME)
    inspect(engine, "{{.State.ExitCode}} {{.State.OOMKilled}}")


@case()
def join_namespaces(engine):
    create(engine)
    engine.show("run", "--rm", *engine.run_flags(), "--network", f"container:{NAME}", "--pid", f"container:{NAME}", IMAGE,
                "sh", "-c", "cat /proc/1/comm; [ $(readlink /proc/self/ns/net) = $(readlink /proc/1/ns/net) ] && echo same")


@case("podman")
def preserved_files(engine):
    create(engine)
    engine.show("exec", "--preserve-fds", "0", NAME, "ls", "/proc/self/fd")


@case("podman")
def hooks(engine):
    folder = engine.scratch / f"hooks-{engine.runtime.label}"
    folder.mkdir(exist_ok=True)
    program = folder / "hook"
    program.write_text(f"#!/bin/sh\ncat > {folder}/$1.json\n")
    program.chmod(0o755)
    for stage in ("prestart", "createRuntime", "poststart", "poststop"):
        (folder / f"{stage}-hook.json").write_text(
            '{"version": "1.0.0", "hook": {"path": "%s", "args": ["hook", "%s"]}, "when": {"always": true}, "stages": ["%s"]}'
            % (program, stage, stage))
    done = engine.call("--hooks-dir", folder, "run", "--rm", "--network", "none", IMAGE, "true")
    engine.note("hooks", f"exit code {done.code}")
    for stage in ("prestart", "createRuntime", "poststart", "poststop"):
        said = folder / f"{stage}.json"
        state = json.loads(said.read_text() or "{}") if said.exists() else {}
        engine.note(stage, f"status {state.get('status')}, pid {'pid' in state}, bundle {'bundle' in state}")


@case("podman")
def systemd_less_pod(engine):
    engine.must("pod", "create", "--infra=false", "--name", "smoke-pod")
    try:
        engine.show("run", "--rm", "--pod", "smoke-pod", "--network", "none", IMAGE, "echo", "in a pod")
    finally:
        engine.call("pod", "rm", "-f", "smoke-pod")


def ctr_run(engine, *flags, command=("sleep", "1000")):
    engine.must("run", "-d", *engine.run_flags(), *flags, IMAGE, NAME, *command)


def ctr_case(name, flags, script, **options):
    def body(engine):
        engine.show("run", "--rm", *engine.run_flags(), *flags.split(), IMAGE, NAME, "sh", "-c", script, **options)
    ALL.append(Case(name, ("ctr",), body))


ctr_case("ctr-run", "", "echo hello; exit 7")
ctr_case("ctr-env", "--env A=1", "env | sort", only="^(A|PATH)=|exit")
ctr_case("ctr-user", "--user 1000:100", "id")
ctr_case("ctr-workdir", "--cwd /etc", "pwd")
ctr_case("ctr-read-only", "--read-only", "touch /x; echo $?")
ctr_case("ctr-privileged", "--privileged", "grep Cap /proc/self/status")
ctr_case("ctr-capabilities", "", "grep -E 'Cap|NoNew|Seccomp:' /proc/self/status")
ctr_case("ctr-seccomp", "--seccomp", "grep Seccomp: /proc/self/status")
ctr_case("ctr-memory", "--memory-limit 67108864", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes")
ctr_case("ctr-cpus", "--cpus 0.5", "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us")
ctr_case("ctr-net-host", "--net-host", "readlink /proc/self/ns/net")
ctr_case("ctr-mount", "--mount type=bind,src=/tmp,dst=/v,options=rbind:ro", "touch /v/x; echo $?")
ctr_case("ctr-devices", "", "cd /dev; for f in *; do stat -c '%n %F %a %t %T' $f; done", sort=True)
ctr_case("ctr-mounts", "", "cut -d' ' -f2,3 /proc/mounts", sort=True)
ctr_case("ctr-device", "--device /dev/full", "stat -c '%F %a %t %T' /dev/full")


@case("ctr")
def ctr_execute(engine):
    ctr_run(engine)
    engine.show("task", "exec", "--exec-id", "e1", NAME, "sh", "-c", "echo out; exit 9")
    engine.show("task", "exec", "--exec-id", "e2", "--user", "1000:100", "--cwd", "/etc", NAME, "sh", "-c", "id; pwd")
    engine.show("task", "exec", "--exec-id", "e3", NAME, "no-such-program")


@case("ctr")
def ctr_pause(engine):
    ctr_run(engine)
    engine.must("task", "pause", NAME)
    engine.note("state", engine.must("task", "ls").split()[-1])
    engine.must("task", "resume", NAME)
    engine.note("state", engine.must("task", "ls").split()[-1])


@case("ctr")
def ctr_kill_and_delete(engine):
    ctr_run(engine)
    engine.must("task", "kill", "-s", "KILL", NAME)
    engine.eventually("it is stopped", lambda: "STOPPED" in engine.call("task", "ls").out)
    engine.show("task", "delete", NAME)
    engine.must("container", "delete", NAME)
    engine.show("task", "ls", "-q")


@case("ctr")
def ctr_metrics(engine):
    ctr_run(engine)
    found = engine.must("task", "metrics", NAME)
    engine.note("metrics", "\n".join(sorted({line.split()[0] for line in found.split("\n") if line.strip()})))


@case("ctr")
def ctr_processes(engine):
    ctr_run(engine)
    engine.note("processes", str(len(engine.must("task", "ps", NAME).split("\n")) - 1))


@case("ctr")
def ctr_pid_file(engine):
    ctr_run(engine, "--pid-file", engine.scratch / "ctr.pid")
    pid = (engine.scratch / "ctr.pid").read_text()
    if f" {pid} " not in engine.must("task", "ls") + " ":
        raise Unusable("the pid file has another pid than the task")
