package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// The groups of the help text.
const (
	groupApps     = "apps"
	groupPlatform = "platform"
	groupOther    = "other"
)

func (p Program) root(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:   "escale",
		Short: "The production platform a team docks its applications at",
		Long: `Escale runs, releases and observes applications on a real Kubernetes: one that it starts on this machine, or any
other. Without --kubeconfig and $KUBECONFIG, commands speak to the platform of this machine.`,
		Example: `  # Start the platform on this machine, with the application of a folder
  escale up examples/shop

  # Deploy the application described in ./escale.yaml, and look at it
  escale deploy
  escale status
  escale logs -f web`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       p.Version,
	}
	// A group runs only to refuse unknown commands; its usage is that of the commands below it.
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), "{{if .Runnable}}", "{{if and .Runnable (not .HasAvailableSubCommands)}}", 1))
	root.SetVersionTemplate("escale {{.Version}}\n")
	root.SetIn(p.In)
	root.SetOut(p.Out)
	root.SetErr(p.Err)
	root.SetHelpCommandGroupID(groupOther)
	root.SetCompletionCommandGroupID(groupOther)
	root.AddGroup(
		&cobra.Group{ID: groupApps, Title: "Applications:"},
		&cobra.Group{ID: groupPlatform, Title: "Platform:"},
		&cobra.Group{ID: groupOther, Title: "Other:"},
	)
	e.target.bind(root.PersistentFlags())
	must(root.RegisterFlagCompletionFunc("namespace", e.completeNamespaces))
	must(root.RegisterFlagCompletionFunc("context", e.completeContexts))
	addGroup(root, groupApps, deployCommand(e), renderCommand(e), statusCommand(e), logsCommand(e), openCommand(e),
		scaleCommand(e), rollbackCommand(e), deleteCommand(e))
	addGroup(root, groupPlatform, nodeCommand(e, p.NodeCommands), kubeconfigCommand(e), doctorCommand(e))
	addGroup(root, groupPlatform, p.Commands...)
	addGroup(root, groupOther, versionCommand(e), referenceCommand())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	strict(root)
	return root
}

func addGroup(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		root.AddCommand(c)
	}
}

// strict makes every mistake in the way a command is called a usage error with a suggestion, for the whole tree: cobra
// alone prints the help of a group, with success, when the command below it does not exist.
func strict(c *cobra.Command) {
	c.SetFlagErrorFunc(flagError)
	if c.HasSubCommands() && !c.Runnable() {
		c.Args = cobra.ArbitraryArgs
		c.RunE = func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			return unknownCommand(c, args[0])
		}
	}
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usageError(c, err)
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		strict(sub)
	}
}

func unknownCommand(c *cobra.Command, name string) error {
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	err := &failure{err: fmt.Errorf("%q is not a command of %q", name, c.CommandPath()), code: codeUsage}
	if near := nearest(name, names); near != "" {
		err.next = fmt.Sprintf("did you mean `%s %s`?", c.CommandPath(), near)
	} else {
		err.next = fmt.Sprintf("`%s --help` lists the commands", c.CommandPath())
	}
	return err
}

// noArgs refuses arguments, in words that say so.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("`%s` takes no arguments, but got %q", c.CommandPath(), strings.Join(args, " "))
	}
	return nil
}

// oneArg asks for exactly one argument, which is called what.
func oneArg(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return fmt.Errorf("`%s` needs %s", c.CommandPath(), what)
		case len(args) > 1:
			return fmt.Errorf("`%s` takes one argument, but got %d", c.CommandPath(), len(args))
		}
		return nil
	}
}

// nearest is the name closest to what was typed; empty where none is close.
func nearest(typed string, names []string) string {
	best, distance := "", max(2, len(typed)/3)+1
	for _, n := range slices.Sorted(slices.Values(names)) {
		d := editDistance(strings.ToLower(typed), strings.ToLower(n))
		if len(typed) > 1 && strings.HasPrefix(n, typed) {
			d = 0
		}
		if d < distance && d < len(n) {
			best, distance = n, d
		}
	}
	return best
}

// editDistance is Levenshtein's: how many letters to insert, delete or replace.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// must is for errors that only a mistake in this package can make.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
