package cli

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/escale-dev/escale/internal/engine"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

//go:generate sh -c "go run ../../cmd/escale reference >../../docs/cli.md.new && mv ../../docs/cli.md.new ../../docs/cli.md"

// referenceCommand prints docs/cli.md. `make generate` calls it, so the help does not list it.
func referenceCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "reference",
		Short:  "Print the reference of all commands as Markdown",
		Args:   noArgs,
		Hidden: true,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(c.OutOrStdout(), reference(c.Root()))
			return err
		},
	}
}

const referenceHead = `# The command line

<!-- Made by ` + "`make generate`" + ` from the commands themselves. -->

## Which cluster

A command speaks to the cluster of

1. the file named with --kubeconfig,
2. the platform whose data directory is named with --data-dir,
3. the file that $KUBECONFIG names,
4. the platform of this machine: /var/lib/escale for root, else $XDG_DATA_HOME/escale or ~/.local/share/escale.

It never reads ~/.kube/config by itself: a command meant for the platform must not reach another cluster because the
platform happens to be stopped. Commands about the platform of this machine itself (up, kubeconfig, doctor, node add,
node remove, open without an argument) need one; all others work on any cluster. A server that does not answer within
five seconds is an error.

## Exit codes

| Code | Meaning |
| --- | --- |
| 0 | done |
| 1 | it failed; standard error has the reason and, after "next:", what to do |
| 2 | called wrongly: an unknown command or flag, a missing argument |
| 3 | ` + "`escale status`" + `: something is not ready |
| 130 | interrupted |

## Output

The answer goes to standard output and everything else to standard error. -o json and -o yaml print an object whose
field "schema" names its form; a form keeps its fields as long as its name. Colour and moving lines appear on a terminal
only, and NO_COLOR turns colour off.

## Completion

` + "`escale completion bash`" + ` (zsh, fish, powershell) prints a script that completes commands, flags, Apps, nodes and
namespaces: ` + "`source <(escale completion bash)`" + `.
`

// reference is the page of all commands below root that people use.
func reference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString(referenceHead)
	b.WriteString("\n## Flags of all commands\n\n")
	writeFlags(&b, root.PersistentFlags())
	for _, c := range root.Commands() {
		writeCommand(&b, c)
	}
	return b.String()
}

func writeCommand(b *strings.Builder, c *cobra.Command) {
	if !c.IsAvailableCommand() || c.Name() == "completion" {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n%s\n", c.CommandPath(), strings.TrimSpace(cmp.Or(c.Long, c.Short+".")))
	if c.Runnable() && !c.HasSubCommands() {
		fmt.Fprintf(b, "\n```\n%s\n```\n", c.UseLine())
	}
	if c.Example != "" {
		fmt.Fprintf(b, "\n```bash\n%s\n```\n", outdent(c.Example))
	}
	if flags := c.LocalNonPersistentFlags(); flags.HasAvailableFlags() {
		b.WriteString("\n")
		writeFlags(b, flags)
	}
	for _, sub := range c.Commands() {
		writeCommand(b, sub)
	}
}

func outdent(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimPrefix(l, "  ")
	}
	return strings.Join(lines, "\n")
}

func writeFlags(b *strings.Builder, flags *pflag.FlagSet) {
	b.WriteString("| Flag | Default | Meaning |\n| --- | --- | --- |\n")
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		name := "`--" + f.Name + "`"
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", name, defaultOf(f), strings.ReplaceAll(f.Usage, "|", "\\|"))
	})
}

// defaultOf is a flag's default where it says something. The data directory's depends on who asks, so the page says how.
func defaultOf(f *pflag.Flag) string {
	switch f.DefValue {
	case "", "false", "[]", "0s":
		return ""
	case string(engine.DefaultDir()):
		return "see above"
	}
	return "`" + f.DefValue + "`"
}
