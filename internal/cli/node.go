package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/internal/engine/control"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// nodesSchema names the form of what `escale node list -o json` prints.
const nodesSchema = "escale.dev/nodes/v1"

func nodeCommand(e *env, extra []*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use:   "node",
		Short: "List, add, remove, cordon and drain nodes",
		Long: `List, add, remove, cordon and drain nodes. Nodes are added to and removed from the platform of this machine; the other
commands work on any cluster.`,
		Example: `  # One more node, in zone b
  escale node add --zone b

  # Move everything away from a node
  escale node drain node-b`,
	}
	c.AddCommand(nodeListCommand(e), nodeAddCommand(e), nodeRemoveCommand(e), nodeCordonCommand(e, true), nodeCordonCommand(e, false), nodeDrainCommand(e))
	c.AddCommand(extra...)
	return c
}

func nodeListCommand(e *env) *cobra.Command {
	var f format
	c := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the nodes",
		Example: `  escale node list -o wide`,
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := e.connect(c.Context())
			if err != nil {
				return err
			}
			nodes, err := e.gatherNodes(c.Context(), cl)
			if err != nil {
				return err
			}
			answer := struct {
				Schema string       `json:"schema"`
				Nodes  []nodeStatus `json:"nodes"`
			}{nodesSchema, nodes}
			return f.write(e.out, answer, func(wide bool) { nodeTable(nodes, e.paint(e.out), wide).write(e.out) })
		},
	}
	f.bind(c, "json", "yaml", "wide")
	return c
}

func nodeAddCommand(e *env) *cobra.Command {
	var zone, cpu, memory string
	c := &cobra.Command{
		Use:   "add [NAME]",
		Short: "Add a node to the platform of this machine",
		Long: `Add a node to the platform of this machine and wait until it is ready. It is there again after a restart, until it is
removed. What is not said is chosen: the next name and zone in order, an equal share of the machine.`,
		Example: `  # One more
  escale node add

  # A small one, in a zone of its own
  escale node add tiny --zone d --cpu 250m --memory 512Mi`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			want, err := wantedNode(append(args, "")[0], zone, cpu, memory)
			if err != nil {
				return usageError(c, err)
			}
			b := e.newBoard()
			defer b.close()
			name := strings.TrimSpace("node " + want.Name)
			b.set(name, "starting", working)
			got, err := control.NewClient(e.target.dir()).AddNode(c.Context(), want)
			if err != nil {
				b.set(name, "not added", broken)
				return askedPlatform(e.target.dir(), err)
			}
			b.set(name, "ready", done)
			_, err = fmt.Fprintln(e.out, got.Name)
			return err
		},
	}
	c.Flags().StringVar(&zone, "zone", "", "zone of the node (default: the next in turn)")
	c.Flags().StringVar(&cpu, "cpu", "", "CPU that pods may reserve, such as 500m or 2 (default: an equal share)")
	c.Flags().StringVar(&memory, "memory", "", "memory that pods may reserve, such as 1Gi (default: an equal share)")
	return c
}

// wantedNode reads the arguments of `escale node add`.
func wantedNode(name, zone, cpu, memory string) (control.Node, error) {
	n := control.Node{Name: name, Zone: zone}
	if cpu != "" {
		q, err := resource.ParseQuantity(cpu)
		if err != nil || q.Sign() <= 0 {
			return n, fmt.Errorf("--cpu %q: want a quantity such as 500m or 2", cpu)
		}
		n.CPUMillis = q.MilliValue()
	}
	if memory != "" {
		q, err := resource.ParseQuantity(memory)
		if err != nil || q.Sign() <= 0 {
			return n, fmt.Errorf("--memory %q: want a quantity such as 512Mi or 2Gi", memory)
		}
		n.MemoryBytes = q.Value()
	}
	return n, n.Check()
}

// askedPlatform says what helps where the platform did not do what it was asked.
func askedPlatform(dir engine.Dir, err error) error {
	if errors.Is(err, control.ErrNotRunning) {
		if state := checkRunning(dir); state != nil {
			return state
		}
		return err
	}
	return withNext(err, "`escale node list` shows the nodes")
}

func nodeRemoveCommand(e *env) *cobra.Command {
	var o drainOptions
	var noDrain bool
	c := &cobra.Command{
		Use:     "remove NODE",
		Aliases: []string{"rm"},
		Short:   "Drain a node and remove it from the platform of this machine",
		Example: `  # Move its pods, then stop it for good
  escale node remove node-d

  # At once: its pods end and start elsewhere
  escale node remove node-d --no-drain`,
		Args:              oneArg("the name of a node"),
		ValidArgsFunction: e.completeNodes,
		RunE: func(c *cobra.Command, args []string) error {
			ctx, name, dir := c.Context(), args[0], e.target.dir()
			b := e.newBoard()
			defer b.close()
			row := "node " + name
			if !noDrain {
				if err := e.drainNode(ctx, b, name, o); err != nil {
					return err
				}
			}
			b.set(row, "stopping", working)
			if err := control.NewClient(dir).RemoveNode(ctx, name); err != nil {
				b.set(row, "not removed", broken)
				return askedPlatform(dir, err)
			}
			b.set(row, "removed", done)
			return nil
		},
	}
	o.bind(c)
	c.Flags().BoolVar(&noDrain, "no-drain", false, "do not move its pods first")
	return c
}

func nodeCordonCommand(e *env, cordon bool) *cobra.Command {
	c := &cobra.Command{
		Use: "cordon NODE", Short: "Keep new pods from a node", Example: "  escale node cordon node-b",
		Args: oneArg("the name of a node"), ValidArgsFunction: e.completeNodes,
	}
	if !cordon {
		c.Use, c.Short, c.Example = "uncordon NODE", "Let new pods come to a node again", "  escale node uncordon node-b"
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		cl, err := e.connect(c.Context())
		if err != nil {
			return err
		}
		return e.cordon(c.Context(), cl, args[0], cordon)
	}
	return c
}

// cordon sets whether a node takes new pods and says what it did.
func (e *env) cordon(ctx context.Context, c *cluster, name string, cordon bool) error {
	node, err := c.node(ctx, name)
	if err != nil {
		return err
	}
	word := "cordoned"
	if !cordon {
		word = "uncordoned"
	}
	if node.Spec.Unschedulable == cordon {
		fmt.Fprintf(e.err, "node %s was %s already\n", name, word)
		return nil
	}
	if err := c.setCordon(ctx, node, cordon); err != nil {
		return err
	}
	fmt.Fprintf(e.err, "node %s is %s\n", name, word)
	return nil
}

// node reads a node. The error names the node that may have been meant.
func (c *cluster) node(ctx context.Context, name string) (*corev1.Node, error) {
	node, err := c.clientset.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		if err != nil {
			return nil, fmt.Errorf("reading node %q: %w", name, err)
		}
		return node, nil
	}
	next := "`escale node list` shows the nodes"
	if near := nearest(name, c.nodeNames(ctx)); near != "" {
		next = fmt.Sprintf("did you mean %q?", near)
	}
	return nil, withNext(fmt.Errorf("there is no node %q", name), "%s", next)
}

func (c *cluster) nodeNames(ctx context.Context) []string {
	list, err := c.clientset.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil // there is nothing to suggest
	}
	var names []string
	for _, n := range list.Items {
		names = append(names, n.Name)
	}
	return names
}

func (e *env) completeNodes(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	cl, err := e.connect(c.Context())
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return cl.nodeNames(c.Context()), cobra.ShellCompDirectiveNoFileComp
}

// drainOptions are the flags of `escale node drain` and `escale node remove`.
type drainOptions struct {
	timeout time.Duration
	force   bool
}

func (o *drainOptions) bind(c *cobra.Command) {
	c.Flags().DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long its pods may take to move")
	c.Flags().BoolVar(&o.force, "force", false, "also end pods that no controller starts again elsewhere")
}

func nodeDrainCommand(e *env) *cobra.Command {
	var o drainOptions
	c := &cobra.Command{
		Use:   "drain NODE",
		Short: "Cordon a node and move its pods to others",
		Long: `Cordon a node and move its pods to others, as fast as their disruption budgets allow. Pods of DaemonSets stay.
Files that pods keep on the node only are lost.`,
		Example:           "  escale node drain node-b",
		Args:              oneArg("the name of a node"),
		ValidArgsFunction: e.completeNodes,
		RunE: func(c *cobra.Command, args []string) error {
			b := e.newBoard()
			defer b.close()
			if err := e.drainNode(c.Context(), b, args[0], o); err != nil {
				return err
			}
			b.set("node "+args[0], "drained", done)
			return nil
		},
	}
	o.bind(c)
	return c
}
