package platform

import (
	"context"
	"fmt"
	stdlog "log"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/internal/engine/controlplane"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// BareConfig is a control plane without nodes, network and capabilities.
type BareConfig struct {
	// Dir is the data directory.
	Dir engine.Dir
	// Network is the address plan's prefix.
	Network string
	// Port of the API server on 127.0.0.1; 0 takes a free one.
	Port int
	// Ready is called once, when the API server serves every definition, with the kubeconfig's path.
	Ready func(kubeconfig string)
}

// RunBare runs a control plane alone until ctx ends: what tests and clients that bring their own controllers need.
func RunBare(ctx context.Context, cfg BareConfig) error {
	network, err := engine.NewNetwork(cfg.Network)
	if err != nil {
		return err
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	log, closeLog, err := openLog(cfg.Dir)
	if err != nil {
		return err
	}
	defer closeLog()
	listener, err := listen("127.0.0.1", cfg.Port, "--api-port")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cp, err := controlplane.Start(ctx, controlplane.Config{
		Dir: cfg.Dir, Network: network, Listener: listener, LogFile: logFile(cfg.Dir), Log: log,
		Stage: func(string, time.Duration) {},
	})
	if err != nil {
		return err
	}
	c, err := client.NewWithWatch(cp.Admin(), client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	if err := applyDefinitions(ctx, c); err != nil {
		return err
	}
	cfg.Ready(cfg.Dir.Kubeconfig())
	return cp.Wait()
}

func logFile(dir engine.Dir) string { return filepath.Join(string(dir), "platform.log") }

// maxLog is the size at which the log of the last run is moved aside before a new one starts.
const maxLog = 16 << 20

// openLog opens the platform's log and sends what Kubernetes' own packages have to say there as well: the terminal is
// the user's.
func openLog(dir engine.Dir) (*slog.Logger, func(), error) {
	path := logFile(dir)
	if fi, err := os.Stat(path); err == nil && fi.Size() > maxLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, nil, fmt.Errorf("moving the log aside: %w", err)
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the log: %w", err)
	}
	log := slog.New(slog.NewTextHandler(f, nil))
	stdlog.SetOutput(f)
	klog.SetSlogLogger(slog.New(slog.NewTextHandler(f, &slog.HandlerOptions{Level: slog.LevelWarn})))
	return log, func() { _ = f.Close() }, nil
}

// mute sends what is written to standard error to the file at path, until unmute is called.
func mute(path string) (unmute func(), err error) {
	nothing := func() {}
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nothing, err
	}
	defer log.Close()
	saved, err := unix.FcntlInt(uintptr(unix.Stderr), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nothing, err
	}
	if err := unix.Dup3(int(log.Fd()), unix.Stderr, 0); err != nil {
		_ = unix.Close(saved)
		return nothing, err
	}
	return func() {
		_ = unix.Dup3(saved, unix.Stderr, 0)
		_ = unix.Close(saved)
	}, nil
}

// listen opens a TCP listener; flag is the option that chooses another port.
func listen(host string, port int, flag string) (net.Listener, error) {
	addr := net.JoinHostPort(host, fmt.Sprint(port))
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w: stop the program that uses the port, or choose another with %s", addr, err, flag)
	}
	return l, nil
}
