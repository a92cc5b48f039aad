// SPDX-License-Identifier: Apache-2.0

// What BuildKit's Dockerfile frontend makes of files, one line of JSON each: for plans.py. It is built within BuildKit's source, see
// README.md. Every base image is the corpus' stub. A line "#ARG K=V" of a file is a build argument.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

type stub struct{}

func (stub) ResolveImageConfig(ctx context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	cfg := `{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"Cmd":["/bin/sh"],"WorkingDir":"/"},"rootfs":{"type":"layers","diff_ids":[]},"history":[]}`
	return ref, "", []byte(cfg), nil
}

func one(path string) map[string]any {
	out := map[string]any{"path": path}
	dt, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	if r, err := parser.Parse(bytes.NewReader(dt)); err == nil {
		out["ast"] = r.AST.Dump()
	} else {
		out["parse_error"] = err.Error()
	}
	args := map[string]string{}
	for _, l := range strings.Split(string(dt), "\n") {
		if rest, ok := strings.CutPrefix(l, "#ARG "); ok {
			k, v, _ := strings.Cut(rest, "=")
			args[k] = v
		}
	}
	caps := pb.Caps.CapSet(pb.Caps.All())
	plat := ocispecs.Platform{OS: "linux", Architecture: "amd64"}
	mc := llb.Local("context", llb.SharedKeyHint("context"))
	opt := dockerfile2llb.ConvertOpt{
		MainContext:  &mc,
		Warn:         func(rulename, description, url, fmtmsg string, location []parser.Range) {},
		MetaResolver: stub{}, LLBCaps: &caps, TargetPlatform: &plat,
		SourceMap: llb.NewSourceMap(nil, "Dockerfile", "", dt),
		Config:    dockerui.Config{BuildArgs: args, BuildPlatforms: []ocispecs.Platform{plat}},
	}
	ws := []any{}
	lo := opt
	lo.AllStages = true
	lo.Warn = func(rulename, description, url, fmtmsg string, location []parser.Range) {
		line := 0
		if len(location) > 0 {
			line = location[0].Start.Line
		}
		ws = append(ws, map[string]any{"rule": rulename, "detail": fmtmsg, "line": line})
	}
	if _, err := dockerfile2llb.Dockerfile2LLB(context.Background(), dt, lo); err != nil {
		out["lint_error"] = err.Error()
	}
	out["lint"] = ws
	res, err := dockerfile2llb.Dockerfile2LLB(context.Background(), dt, opt)
	if err != nil {
		out["error"] = err.Error()
		return out
	}
	out["config"] = res.Image.Config
	hs := []any{}
	for _, h := range res.Image.History {
		m := map[string]any{"created_by": h.CreatedBy}
		if h.EmptyLayer {
			m["empty_layer"] = true
		}
		hs = append(hs, m)
	}
	out["history"] = hs
	def, err := res.State.Marshal(context.Background(), llb.LinuxAmd64, llb.WithCaps(caps))
	if err != nil {
		out["error"] = "marshal: " + err.Error()
		return out
	}
	ops := []any{}
	for _, d := range def.Def {
		var op pb.Op
		if err := op.UnmarshalVT(d); err != nil {
			panic(err)
		}
		switch o := op.Op.(type) {
		case *pb.Op_Exec:
			m := map[string]any{"op": "exec", "args": o.Exec.Meta.Args, "env": o.Exec.Meta.Env, "cwd": o.Exec.Meta.Cwd, "user": o.Exec.Meta.User, "network": o.Exec.Network.String(), "security": o.Exec.Security.String(), "mounts": o.Exec.Mounts, "secretenv": o.Exec.Secretenv}
			ops = append(ops, m)
		case *pb.Op_File:
			ops = append(ops, map[string]any{"op": "file", "actions": o.File.Actions})
		case *pb.Op_Source:
			ops = append(ops, map[string]any{"op": "source", "identifier": o.Source.Identifier, "attrs": o.Source.Attrs})
		}
	}
	out["ops"] = ops
	return out
}

func main() {
	enc := json.NewEncoder(os.Stdout)
	enc.SetEscapeHTML(false)
	for _, p := range os.Args[1:] {
		func() {
			defer func() {
				if r := recover(); r != nil {
					enc.Encode(map[string]any{"path": p, "panic": fmt.Sprint(r)})
				}
			}()
			enc.Encode(one(p))
		}()
	}
}
