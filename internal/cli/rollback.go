package cli

import (
	"fmt"
	"time"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/release"
	"github.com/spf13/cobra"
)

// historySchema names the form of what `escale rollback --list -o json` prints.
const historySchema = "escale.dev/history/v1"

func rollbackCommand(e *env) *cobra.Command {
	var o deployOptions
	var to string
	var list bool
	c := &cobra.Command{
		Use:   "rollback APP",
		Short: "Go back to an earlier revision of an application",
		Long: `Go back to the revision before the present one, or to the one named with --to, and wait until it answers. The number
of pods, the route and secrets stay as they are now.`,
		Example: `  # Undo the last deployment
  escale rollback web

  # See the revisions, then choose one by its first digits
  escale rollback web --list
  escale rollback web --to 3f9a`,
		Args:              oneArg("the name of an App"),
		ValidArgsFunction: e.completeApps,
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			cl, err := e.connect(ctx)
			if err != nil {
				return err
			}
			facts, err := cl.app(ctx, args[0])
			if err != nil {
				return err
			}
			history, err := release.History(ctx, cl.client, cl.namespace, args[0])
			if err != nil {
				return err
			}
			if list {
				return e.printHistory(history, o.format)
			}
			back, entry, err := release.Rollback(facts.App, history, to)
			if err != nil {
				return withNext(err, "`escale rollback %s --list` shows the revisions", args[0])
			}
			fmt.Fprintf(e.err, "going back to revision %s of %s\n", entry.Revision, entry.Released.Local().Format(time.DateTime))
			return e.deploy(ctx, cl, release.File{Path: "escale.yaml", Apps: []v1alpha1.App{asWritten(back)}}, o)
		},
	}
	o.format.bind(c, "json", "yaml")
	c.Flags().StringVar(&to, "to", "", "revision to go back to, or its first digits (default: the one before the present)")
	c.Flags().BoolVar(&list, "list", false, "list the revisions and change nothing")
	c.Flags().DurationVar(&o.timeout, "timeout", release.DefaultTimeout, "how long it may take to answer")
	return c
}

// asWritten is the App without what the API server added.
func asWritten(app v1alpha1.App) v1alpha1.App {
	out := v1alpha1.App{TypeMeta: app.TypeMeta, Spec: app.Spec}
	out.Name, out.Namespace, out.Labels = app.Name, app.Namespace, app.Labels
	return out
}

// history is the answer of `escale rollback --list -o json`.
type history struct {
	Schema    string         `json:"schema"`
	Revisions []historyEntry `json:"revisions"`
}

type historyEntry struct {
	Revision string    `json:"revision"`
	Number   int64     `json:"number"`
	Present  bool      `json:"present"`
	Released time.Time `json:"released"`
	Image    string    `json:"image"`
}

func (e *env) printHistory(entries []release.Entry, f format) error {
	h := history{Schema: historySchema, Revisions: []historyEntry{}}
	for i, entry := range entries {
		h.Revisions = append(h.Revisions, historyEntry{
			Revision: entry.Revision, Number: entry.Number, Present: i == 0, Released: entry.Released, Image: entry.Spec.Image,
		})
	}
	return f.write(e.out, h, func(bool) {
		t := &table{header: []string{"REVISION", "NUMBER", "RELEASED", "IMAGE"}}
		for _, r := range h.Revisions {
			name := r.Revision
			if r.Present {
				name += " (present)"
			}
			t.add(name, fmt.Sprint(r.Number), r.Released.Local().Format(time.DateTime), r.Image)
		}
		t.write(e.out)
	})
}
