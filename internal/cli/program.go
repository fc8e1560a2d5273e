package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Exit codes.
const (
	codeFailed      = 1
	codeUsage       = 2
	codeNotReady    = 3
	codeInterrupted = 130
)

// Program is the command line. The zero value with a Version works; it uses the process's streams.
type Program struct {
	// Version of the program.
	Version string
	// In, Out and Err are the streams. Nil: those of the process.
	In       io.Reader
	Out, Err io.Writer
	// Commands are added to those of this package: the ones that run the platform.
	Commands []*cobra.Command
	// NodeCommands are added below `escale node`.
	NodeCommands []*cobra.Command
}

// Main runs the command that args name, without the program's own name, and returns the exit code. An error of a command
// that has a method ExitCode() int ends with that code and nothing more is printed.
func (p Program) Main(ctx context.Context, args []string) int {
	if p.In == nil {
		p.In = os.Stdin
	}
	if p.Out == nil {
		p.Out = os.Stdout
	}
	if p.Err == nil {
		p.Err = os.Stderr
	}
	// Cobra gives every command the flags that any linked package has put here, such as Kubernetes' own --version.
	pflag.CommandLine = pflag.NewFlagSet("escale", pflag.ContinueOnError)
	e := &env{version: p.Version, in: p.In, out: p.Out, err: p.Err}
	root := p.root(e)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		return coded.ExitCode()
	}
	if ctx.Err() != nil {
		fmt.Fprintln(p.Err, "interrupted")
		return codeInterrupted
	}
	a := explain(err)
	paint := e.paint(p.Err)
	fmt.Fprintf(p.Err, "%s %s\n", paint.red("error:"), a.sentence)
	if a.next != "" {
		fmt.Fprintf(p.Err, "%s  %s\n", paint.bold("next:"), a.next)
	}
	return a.code
}

// env is what every command has: the streams, the version and the flags that all share.
type env struct {
	version  string
	in       io.Reader
	out, err io.Writer
	target   target
}

// exit ends a command whose output has said everything.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// ExitCode is the code to end with.
func (e exit) ExitCode() int { return int(e) }
