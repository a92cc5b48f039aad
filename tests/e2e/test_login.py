#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""login and logout: against a real registry with passwords, a token server, and with a credential helper."""
import base64
import http.server
import json
import os
import stat
import threading
import urllib.parse

from harness import DrayTestCase, Registry, Terminal, main

HELPER = """#!/bin/sh
# docker-credential-*: keeps one entry in a file beside the configuration.
case $1 in
  store) cat > "$DOCKER_CONFIG/kept" ;;
  get) read server; [ -f "$DOCKER_CONFIG/kept" ] || { echo credentials not found in native keychain; exit 1; }; cat "$DOCKER_CONFIG/kept" ;;
  erase) rm -f "$DOCKER_CONFIG/kept" ;;
esac
"""


class TokenRegistry:
    """A registry that wants a token of its own server, which knows one user and gives out identity tokens."""

    def __init__(self):
        asked = self.asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self, status, document, *headers):
                body = json.dumps(document).encode()
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                asked.append(self.path)
                given = self.headers.get("Authorization", "")
                if self.path.startswith("/token?"):
                    if given != "Basic " + base64.b64encode(b"user:secret").decode():
                        return self.answer(401, {"details": "incorrect username or password"})
                    query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
                    identity = {"refresh_token": "identity"} if query.get("offline_token") == ["true"] else {}
                    return self.answer(200, {"token": "good", **identity})
                if given == "Bearer good":
                    return self.answer(200, {})
                realm = f'Bearer realm="http://{self.headers["Host"]}/token",service="test"'
                return self.answer(401, {"errors": [{"code": "UNAUTHORIZED"}]}, ("WWW-Authenticate", realm))

            def do_POST(self):
                form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                asked.append(form["grant_type"][0])
                good = form.get("refresh_token") == ["identity"]
                self.answer(200 if good else 401, {"access_token": "good"} if good else {})

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Login(DrayTestCase):
    needs_base = False

    def setUp(self):
        super().setUp()
        self.folder = self.context({})
        self.config = self.folder / "config.json"
        self.env = {"DOCKER_CONFIG": str(self.folder)}

    def password_registry(self):
        registry = Registry(self.scratch, has_password=True)
        self.addCleanup(registry.stop)
        return registry.address

    def token_registry(self):
        registry = TokenRegistry()
        self.addCleanup(registry.stop)
        return registry

    def log_in(self, address, password="secret"):
        return self.dray("login", "-u", "user", "--password-stdin", address, input=password + "\n", env=self.env)

    def auths(self):
        return json.loads(self.config.read_text())["auths"]

    def test_password(self):
        address = self.password_registry()
        self.config.write_text(json.dumps({"auths": {"other.example": {"auth": "eDp5"}}, "psFormat": "kept"}))
        result = self.log_in(address)
        self.assertEqual((0, "Login Succeeded\n"), (result.code, result.out), result)
        self.assertIn("stored unencrypted", result.err)
        self.assertEqual({"auth": base64.b64encode(b"user:secret").decode()}, self.auths()[address])
        self.assertEqual({"auth": "eDp5"}, self.auths()["other.example"])
        self.assertEqual("kept", json.loads(self.config.read_text())["psFormat"])
        self.assertEqual(0o600, stat.S_IMODE(self.config.stat().st_mode))
        again = self.ok("login", address, env=self.env)
        self.assertEqual("Authenticated with existing credentials.\nLogin Succeeded\n", again)
        self.assertEqual(f"Removing login credentials for {address}\n", self.ok("logout", address, env=self.env))
        self.assertEqual(["other.example"], list(self.auths()))
        self.assertEqual(f"Not logged in to {address}\n", self.ok("logout", address, env=self.env))

    def test_wrong_password_is_not_kept(self):
        address = self.password_registry()
        result = self.log_in(address, "wrong")
        self.assertEqual(1, result.code)
        self.assertIn("unauthorized: incorrect username or password", result.err)
        self.assertFalse(self.config.exists())

    def test_bad_words(self):
        self.fails(1, "mutually exclusive", "login", "-u", "x", "-p", "y", "--password-stdin")
        self.fails(1, "must provide --username", "login", "--password-stdin")
        self.fails(1, "non-terminal", "login", "-u", "x", "127.0.0.1:1", env=self.env)
        self.fails(1, "not the name of a registry", "login", "-u", "x", "-p", "y", "a b", env=self.env)
        self.fails(1, "not reachable", "login", "-u", "x", "-p", "y", "127.0.0.1:1", env=self.env)
        self.config.write_text("{broken")
        self.fails(1, "config.json", "logout", "127.0.0.1:1", env=self.env)
        self.assertEqual("{broken", self.config.read_text())

    def test_identity_token(self):
        registry = self.token_registry()
        result = self.log_in(registry.address)
        self.assertEqual(0, result.code, result)
        entry = self.auths()[registry.address]
        self.assertEqual("identity", entry["identitytoken"])
        self.assertNotIn(b"secret", base64.b64decode(entry["auth"]))
        self.ok("login", registry.address, env=self.env)
        self.assertIn("refresh_token", registry.asked)
        self.assertEqual(1, self.log_in(registry.address, "wrong").code)
        self.assertFalse([path for path in registry.asked if "secret" in path or "wrong" in path], "a password in a URL")

    def test_helper(self):
        programs = self.context({"docker-credential-file": HELPER})
        (programs / "docker-credential-file").chmod(0o755)
        address = self.token_registry().address
        self.config.write_text(json.dumps({"credsStore": "file"}))
        self.env["PATH"] = f"{programs}:{os.environ['PATH']}"
        result = self.log_in(address)
        self.assertEqual(0, result.code, result)
        self.assertNotIn("unencrypted", result.err)
        self.assertEqual({"credsStore": "file"}, json.loads(self.config.read_text()))
        kept = json.loads((self.folder / "kept").read_text())
        self.assertEqual({"ServerURL": address, "Username": "<token>", "Secret": "identity"}, kept)
        self.ok("login", address, env=self.env)
        self.assertIn("Removing", self.ok("logout", address, env=self.env))
        self.assertFalse((self.folder / "kept").exists())

    def test_terminal(self):
        address = self.password_registry()
        terminal = Terminal(["/usr/bin/env", f"DOCKER_CONFIG={self.folder}", *self.command("login", address)])
        terminal.expect("Username: ")
        terminal.send("user\n")
        terminal.expect("Password: ")
        terminal.send("secret\n")
        terminal.expect("Login Succeeded")
        self.assertEqual(0, terminal.wait())
        self.assertNotIn(b"secret", terminal.output)

    def test_two_at_once(self):
        address, other = self.password_registry(), self.token_registry().address
        threads = [threading.Thread(target=self.log_in, args=(name,)) for name in (address, other) * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual({address, other}, set(self.auths()))


if __name__ == "__main__":
    main()
