// Command escale is the whole platform and its command line. This file only wires them.
package main

import (
	"context"
	"os"
	"os/signal"

	"github.com/escale-dev/escale/internal/cli"
	"github.com/escale-dev/escale/internal/platform"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// version is set by the linker.
var version = "0.0.0-dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	program := cli.Program{
		Version:      version,
		Commands:     platform.Commands(version),
		NodeCommands: []*cobra.Command{platform.NodeRunCommand()},
	}
	code := program.Main(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
