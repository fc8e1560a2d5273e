package cli

import (
	"context"

	"github.com/escale-dev/escale/internal/release"
	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"

	corev1 "k8s.io/api/core/v1"
)

// app finds one App in the command's namespace. The error names the App that may have been meant.
func (c *cluster) app(ctx context.Context, name string) (release.Facts, error) {
	facts, err := release.List(ctx, c.client, c.namespace)
	if err != nil {
		return release.Facts{}, err
	}
	for _, f := range facts {
		if f.App.Name == name {
			return f, nil
		}
	}
	return release.Facts{}, noApp(name, c.namespace, facts)
}

// completeApps completes the names of Apps. Where no cluster answers there is nothing to complete.
func (e *env) completeApps(c *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	cl, err := e.connect(c.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	facts, err := release.List(c.Context(), cl.client, e.target.namespace)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []cobra.Completion
	for _, f := range facts {
		names = append(names, f.App.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeNamespaces completes the value of -n.
func (e *env) completeNamespaces(c *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	cl, err := e.connect(c.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var list corev1.NamespaceList
	if err := cl.client.List(c.Context(), &list); err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []cobra.Completion
	for _, n := range list.Items {
		names = append(names, n.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeContexts completes the value of --context.
func (e *env) completeContexts(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	rules := &clientcmd.ClientConfigLoadingRules{Precedence: e.target.place().files}
	raw, err := rules.Load()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []cobra.Completion
	for name := range raw.Contexts {
		names = append(names, name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
