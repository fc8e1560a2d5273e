package platform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/internal/engine/memory"
	"github.com/escale-dev/escale/internal/engine/network/private"
	"github.com/escale-dev/escale/internal/engine/node"
	"github.com/escale-dev/escale/internal/engine/priority"
	_ "github.com/escale-dev/escale/internal/engine/queues" // so that they do not wake the process up at rest
	"github.com/escale-dev/escale/internal/traffic/alone"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// Commands are the commands that run the platform or a part of it in the calling process.
func Commands(version string) []*cobra.Command {
	return []*cobra.Command{upCommand(version), controlPlaneCommand(), alone.Command()}
}

// upOptions are the flags of `escale up`.
type upOptions struct {
	dir, network, containerd string
	nodes                    int
	private                  bool
	ports                    Ports
	timeout                  time.Duration
}

func upCommand(version string) *cobra.Command {
	var o upOptions
	c := &cobra.Command{
		Use:   "up [FILE|FOLDER ...]",
		Short: "Start the platform on this machine, and deploy applications on it",
		Long: `Start the platform on this machine: a Kubernetes control plane, its nodes, a gateway, a registry and the portal.
Application files named as arguments are deployed once it is ready. It stays in the foreground; Ctrl-C stops
everything it started. What was deployed is kept in the data directory and is back after the next start.

As root, pods are on the machine's network. As another user, or with --private-network, the platform has a network of
its own: the gateway, the portal, the API and the registry are reachable from the machine, and pods reach each other.`,
		Example: `  # Start the platform
  escale up

  # Start it with an application
  escale up examples/shop

  # A second one beside it
  escale up --data-dir /tmp/two --private-network --api-port 0 --gateway-port 0 --portal-port 0 --registry-port 0`,
		RunE: func(c *cobra.Command, args []string) error {
			return up(c.Context(), o, version, args, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringVar(&o.dir, "data-dir", string(engine.DefaultDir()), "where everything the platform keeps is")
	f.StringVar(&o.network, "network", engine.DefaultNetwork, "addresses of pods (lower half) and Services (upper half): an IPv4 /15 nothing else uses")
	f.IntVar(&o.nodes, "nodes", 3, "nodes of a new platform, one zone each in turn")
	f.BoolVar(&o.private, "private-network", false, "give the platform a network of its own (always so without root)")
	f.StringVar(&o.containerd, "containerd-socket", "/run/containerd/containerd.sock", "where containerd listens; it runs pods that are not of RuntimeClass process")
	f.IntVar(&o.ports.API, "api-port", 6443, "port of the API server on 127.0.0.1; 0 takes a free one")
	f.IntVar(&o.ports.Gateway, "gateway-port", 8080, "port of the gateway on 127.0.0.1; 0 takes a free one")
	f.IntVar(&o.ports.Portal, "portal-port", 7080, "port of the portal on 127.0.0.1; 0 takes a free one")
	f.IntVar(&o.ports.Registry, "registry-port", 5050, "port of the registry on 127.0.0.1; 0 takes a free one")
	f.DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long an application named as an argument may take to answer")
	return c
}

// exitError ends the program with a code after the reason was already printed.
type exitError struct{ code int }

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// ExitCode is the code to end with.
func (e exitError) ExitCode() int { return e.code }

func up(ctx context.Context, o upOptions, version string, files []string, stdout, stderr io.Writer) error {
	if o.nodes < 1 || o.nodes > engine.MaxNodes {
		return fmt.Errorf("--nodes %d: want 1 to %d", o.nodes, engine.MaxNodes)
	}
	listeners, inside := private.Inherited()
	if !inside {
		// A platform that runs already has the ports too, but its directory says it better.
		lock, err := lockDir(engine.Dir(o.dir))
		if err != nil {
			return err
		}
		_ = lock.Close()
		if listeners, err = o.ports.Listen(); err != nil {
			return err
		}
		if o.private || os.Geteuid() != 0 {
			return upPrivate(listeners, o.dir)
		}
	}
	isolation := IsolationHost
	if inside {
		isolation = IsolationPrivate
	}
	out, err := ownCopy(stderr)
	if err != nil {
		return err
	}
	memory.Limit()
	priority.Set(priority.Platform)
	priority.Patient()
	progress := NewProgress(out)
	defer progress.Close()
	foreground := foreground{options: o, files: files, progress: progress, stdout: stdout}
	return Run(ctx, Config{
		Dir: engine.Dir(o.dir), Network: o.network, Nodes: o.nodes, Listeners: listeners, Isolation: isolation,
		ContainerdSocket: o.containerd, Version: version, Report: progress, Ready: foreground.ready,
	})
}

// upPrivate runs the same command again in a network of its own, handing it the sockets opened in this one.
// Inside, the user looks like root, whose default data directory is another.
func upPrivate(listeners map[string]net.Listener, dir string) error {
	memory.Limit()
	code, err := private.Exec(listeners, append(slices.Clone(os.Args[1:]), "--data-dir="+dir))
	if err != nil {
		return err
	}
	if code != 0 {
		return exitError{code}
	}
	return nil
}

// ownCopy is w with a descriptor of its own where it is standard error, which is muted while the platform stops.
func ownCopy(w io.Writer) (io.Writer, error) {
	if w != io.Writer(os.Stderr) {
		return w, nil
	}
	fd, err := unix.FcntlInt(os.Stderr.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("copying standard error: %w", err)
	}
	return os.NewFile(uintptr(fd), os.Stderr.Name()), nil
}

// NodeRunCommand runs one node. The platform starts it; people have no use for it, so the help does not list it.
func NodeRunCommand() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:    "run",
		Short:  "Run one node of the platform that wrote its configuration",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(c *cobra.Command, _ []string) error {
			if path == "" {
				return errors.New("--config: name the node's configuration, which `escale up` writes")
			}
			cfg, err := node.ReadConfig(path)
			if err != nil {
				return err
			}
			memory.Limit()
			priority.Set(priority.Node)
			priority.Patient()
			return node.Run(c.Context(), cfg)
		},
	}
	c.Flags().StringVar(&path, "config", "", "the node's configuration")
	return c
}

// controlPlaneCommand runs a control plane alone. It is for tests and for people who study the engine, so the help
// does not list it.
func controlPlaneCommand() *cobra.Command {
	var dir string
	cfg := BareConfig{Network: engine.DefaultNetwork}
	c := &cobra.Command{
		Use:    "controlplane",
		Short:  "Run a control plane without nodes; prints its kubeconfig's path when it is ready",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg.Dir = engine.Dir(dir)
			cfg.Ready = func(kubeconfig string) { fmt.Fprintln(c.OutOrStdout(), kubeconfig) }
			return RunBare(c.Context(), cfg)
		},
	}
	c.Flags().StringVar(&dir, "data-dir", string(engine.DefaultDir()), "where the cluster's data is kept")
	c.Flags().IntVar(&cfg.Port, "api-port", 6443, "port of the API server on 127.0.0.1; 0 takes a free one")
	return c
}
