// Command escale is the whole platform and its command line. This file only wires them.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/escale-dev/escale/internal/platform"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// version is set by the linker.
var version = "0.0.0-dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	root := &cobra.Command{Use: "escale", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(platform.Commands(version)...)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
