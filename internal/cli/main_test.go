package cli_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/escale-dev/escale/internal/cli"
	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/internal/engine/control"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"escale": func() {
		ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
		defer stop()
		up := &cobra.Command{Use: "up", Short: "Start the platform", RunE: func(*cobra.Command, []string) error { return coded(7) }}
		run := &cobra.Command{Use: "run", Hidden: true, RunE: func(*cobra.Command, []string) error { return nil }}
		p := cli.Program{Version: "1.2.3", Commands: []*cobra.Command{up}, NodeCommands: []*cobra.Command{run}}
		os.Exit(p.Main(ctx, os.Args[1:]))
	}})
}

// coded is an error that has said everything and names its exit code.
type coded int

func (coded) Error() string   { return "not to be printed" }
func (c coded) ExitCode() int { return int(c) }

// commands are what the scripts have beside testscript's own.
var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	// code N COMMAND...: the command ends with exit code N.
	"code": func(ts *testscript.TestScript, _ bool, args []string) {
		err := ts.Exec(args[1], args[2:]...)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || strconv.Itoa(exit.ExitCode()) != args[0] {
			ts.Fatalf("got %v, want exit code %s", err, args[0])
		}
	},
	// doctor COMMAND...: the command ends with 0 or 1, as the machine is.
	"doctor": func(ts *testscript.TestScript, _ bool, args []string) {
		err := ts.Exec(args[0], args[1:]...)
		var exit *exec.ExitError
		if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
			ts.Fatalf("%v", err)
		}
	},
	// silent FILE: a kubeconfig of a server that accepts connections and never answers.
	"silent": func(ts *testscript.TestScript, _ bool, args []string) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		ts.Defer(func() { _ = l.Close() })
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), fmt.Appendf(nil, kubeconfig, l.Addr()), 0o600))
	},
	// platform DIR: a platform that answers on the control socket of DIR.
	"platform": func(ts *testscript.TestScript, _ bool, args []string) {
		l, err := control.Listen(engine.Dir(ts.MkAbs(args[0])))
		ts.Check(err)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- control.Serve(ctx, l, fleet{}) }()
		ts.Defer(func() {
			cancel()
			ts.Check(<-done)
		})
	},
}

const kubeconfig = `
apiVersion: v1
kind: Config
current-context: one
contexts: [{name: one, context: {cluster: a, user: a}}]
clusters: [{name: a, cluster: {server: "http://%s"}}]
users: [{name: a, user: {}}]
`

// fleet is a platform whose nodes are always ready.
type fleet struct{}

func (fleet) AddNode(_ context.Context, want engine.NodeConfig) (engine.NodeConfig, error) {
	if want.Name == "taken" {
		return want, errors.New(`node "taken" exists: choose another name`)
	}
	if want.Zone != "d" || want.CPUMillis != 500 || want.MemoryBytes != 1<<30 {
		return want, fmt.Errorf("asked for %+v", want)
	}
	want.Name = "node-4"
	return want, nil
}

func (fleet) RemoveNode(context.Context, string) error { return nil }

func (fleet) LoginURL() string { return "http://127.0.0.1:7080/login?token=fresh" }

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", Cmds: commands, RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			env.Setenv("HOME", home)
			for _, name := range []string{"KUBECONFIG", "NO_COLOR", "BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "XDG_DATA_HOME"} {
				env.Setenv(name, "")
			}
			env.Setenv("TERM", "xterm")
			return os.Mkdir(home, 0o700)
		},
	})
}
