#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bridge, published ports, DNS files."""
import os
import pathlib
import re
import signal
import socket

from harness import BASE_IMAGE, DrayTestCase, eventually, fetch, free_port, main

# An HTTP answer from nothing but perl, which debian:bookworm's minbase has.
SERVER = ("perl -MSocket -e 'socket(S,PF_INET,SOCK_STREAM,0);setsockopt(S,SOL_SOCKET,SO_REUSEADDR,1);bind(S,sockaddr_in(8000,INADDR_ANY))or die;listen(S,9);"
          "print \"up\\n\";while(accept(C,S)){sysread(C,$b,4096);syswrite(C,\"HTTP/1.0 200 OK\\r\\n\\r\\nserved\");close C}'")


def host_address():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return probe.getsockname()[0]


class Network(DrayTestCase):
    def serve(self, *flags):
        identifier = self.ok("run", "-d", *flags, BASE_IMAGE, "sh", "-c", SERVER).strip()
        return identifier, self.inspect(identifier, "NetworkSettings.IPAddress")

    def test_published_port(self):
        port = free_port()
        identifier, address = self.serve("-p", f"{port}:8000")
        self.assertIn("served", fetch("127.0.0.1", port))
        self.assertIn("served", fetch(host_address(), port))
        self.assertIn("served", fetch(address, 8000))
        self.assertIn(f"0.0.0.0:{port}->8000/tcp", self.ok("ps"))
        # from another container: directly and through the host's address
        client = ("perl -MSocket -e 'socket(S,PF_INET,SOCK_STREAM,0);connect(S,sockaddr_in($ARGV[1],inet_aton($ARGV[0])))or die $!;"
                  "syswrite(S,\"GET / HTTP/1.0\\r\\n\\r\\n\");print while <S>' ")
        for target, at in ((address, 8000), (host_address(), port)):
            self.assertIn("served", self.ok("run", "--rm", BASE_IMAGE, "sh", "-c", client + f"{target} {at}"))
        # and to itself through the host's address
        self.assertIn("served", self.ok("exec", identifier, "sh", "-c", client + f"{host_address()} {port}"))
        self.ok("rm", "-f", identifier)
        with self.assertRaises(OSError):
            socket.create_connection(("127.0.0.1", port), 2).close()

    def test_published_on_one_address_only(self):
        port = free_port()
        self.serve("-p", f"127.0.0.1:{port}:8000")
        self.assertIn("served", fetch("127.0.0.1", port))
        with self.assertRaises(OSError):
            socket.create_connection((host_address(), port), 2).close()

    def test_random_port(self):
        identifier, _ = self.serve("-p", "8000")
        port = int(re.search(r"0\.0\.0\.0:(\d+)->8000/tcp", self.ok("ps")).group(1))
        self.assertIn("served", fetch("127.0.0.1", port))

    def test_occupied_port(self):
        with socket.socket() as taken:
            taken.bind(("0.0.0.0", 0))
            taken.listen()
            port = taken.getsockname()[1]
            self.fails(125, "port is already allocated", "run", "--rm", "-p", f"{port}:80", BASE_IMAGE, "true")
        port = free_port()
        self.serve("-p", f"{port}:8000")
        self.fails(125, "port is already allocated", "run", "--rm", "-p", f"{port}:80", BASE_IMAGE, "true")

    def test_a_killed_monitor_does_not_keep_the_port(self):
        port = free_port()
        identifier, address = self.serve("-p", f"{port}:8000")
        process = self.inspect(identifier, "State.Pid")
        monitor = int(re.search(r"PPid:\s+(\d+)", pathlib.Path(f"/proc/{process}/status").read_text()).group(1))
        os.kill(monitor, signal.SIGKILL)
        os.kill(process, signal.SIGKILL)
        eventually(lambda: not os.path.exists(f"/proc/{process}"), what="the end of the container")
        # Nobody has cleaned up yet; the port is free, and leads to its new owner.
        _, other = self.serve("-p", f"{port}:8000")
        self.assertNotEqual(address, other)
        self.assertIn("served", fetch("127.0.0.1", port))
        self.ok("rm", "-f", identifier)
        self.assertIn("served", fetch("127.0.0.1", port))
        self.ok("system", "prune", "-f")
        self.assertIn("served", fetch("127.0.0.1", port))

    def test_addresses_are_given_back(self):
        two = [self.serve()[1] for _ in range(2)]
        self.assertEqual(2, len(set(two)))

    def test_outgoing(self):
        """Packets leave through NAT and answers come back: the host's name servers answer from inside."""
        out = self.ok("run", "--rm", BASE_IMAGE, "sh", "-c", "grep -m1 URIs /etc/apt/sources.list.d/* /etc/apt/sources.list 2>/dev/null | sed 's,.*//,,;s,/.*,,' | "
                      "xargs getent hosts >/dev/null && echo resolved")
        self.assertIn("resolved", out)

    def test_files(self):
        out = self.ok("run", "--rm", "-h", "box", "--add-host", "db:10.1.2.3", "--dns", "192.0.2.53", "--dns-search", "example.org", BASE_IMAGE, "cat", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname")
        self.assertRegex(out, r"127\.0\.0\.1\s+localhost")
        self.assertRegex(out, r"10\.1\.2\.3\s+db")
        self.assertRegex(out, r"(?m)^\d+\.\d+\.\d+\.\d+\s+box$")
        self.assertIn("nameserver 192.0.2.53", out)
        self.assertIn("search example.org", out)

    def test_host_and_none(self):
        ours = set(socket.if_nameindex()[i][1] for i in range(len(socket.if_nameindex())))
        self.assertEqual(ours, set(self.ok("run", "--rm", "--network", "host", BASE_IMAGE, "ls", "/sys/class/net").split()))
        self.assertEqual(["lo"], self.ok("run", "--rm", "--network", "none", BASE_IMAGE, "ls", "/sys/class/net").split())


if __name__ == "__main__":
    main()
