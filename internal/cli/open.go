package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/escale-dev/escale/internal/engine/control"
	"github.com/escale-dev/escale/internal/release"
	"github.com/spf13/cobra"
)

func openCommand(e *env) *cobra.Command {
	var printOnly bool
	c := &cobra.Command{
		Use:   "open [APP]",
		Short: "Open an application, or the portal, in the browser",
		Long: `Print the URL of an application and open it in the browser; without an argument that of the portal, with a new token
that logs in once. Where there is no browser the URL is printed only.`,
		Example: `  # Log in to the portal
  escale open

  # The URL of an application
  escale open web --print`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: e.completeApps,
		RunE: func(c *cobra.Command, args []string) error {
			url, err := e.urlOf(c.Context(), args)
			if err != nil {
				return err
			}
			fmt.Fprintln(e.out, url)
			if printOnly {
				return nil
			}
			return browse(c.Context(), url)
		},
	}
	c.Flags().BoolVar(&printOnly, "print", false, "print the URL only")
	return c
}

// urlOf is the URL of the App in args, or a new login to the portal.
func (e *env) urlOf(ctx context.Context, args []string) (string, error) {
	if len(args) == 0 {
		return e.login(ctx)
	}
	c, err := e.connect(ctx)
	if err != nil {
		return "", err
	}
	facts, err := c.app(ctx, args[0])
	if err != nil {
		return "", err
	}
	url := release.Observe(facts).URL
	if url == "" {
		return "", withNext(fmt.Errorf("App %q has no URL: it has no route, or the address of its gateway is not known", args[0]),
			"give it a route in its file, or use `kubectl port-forward -n %s deployment/%s 8000:PORT`", c.namespace, args[0])
	}
	return url, nil
}

func (e *env) login(ctx context.Context) (string, error) {
	p := e.target.place()
	if p.dir == "" {
		return "", withNext(fmt.Errorf("the cluster of %q is not a platform of this machine, so it has no portal", p), "name an App to open")
	}
	url, err := control.NewClient(p.dir).LoginURL(ctx)
	if errors.Is(err, control.ErrNotRunning) {
		if state := checkRunning(p.dir); state != nil {
			return "", state
		}
	}
	return url, err
}

// browse opens a URL in the person's browser, if there is one.
func browse(ctx context.Context, url string) error {
	command := browser(os.Getenv, func(name string) bool {
		_, err := exec.LookPath(name)
		return err == nil
	})
	if len(command) == 0 {
		return nil
	}
	cmd := exec.CommandContext(ctx, command[0], append(command[1:], url)...)
	if err := cmd.Run(); err != nil {
		return withNext(fmt.Errorf("the browser could not be started with %q: %w", command[0], err), "open the URL above yourself")
	}
	return nil
}

// browser is the command that opens a URL: $BROWSER, or the desktop's where there is one.
func browser(getenv func(string) string, has func(string) bool) []string {
	if b := strings.Fields(getenv("BROWSER")); len(b) > 0 {
		return b
	}
	if (getenv("DISPLAY") != "" || getenv("WAYLAND_DISPLAY") != "") && has("xdg-open") {
		return []string{"xdg-open"}
	}
	return nil
}
