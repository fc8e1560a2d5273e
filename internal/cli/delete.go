package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/release"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// deleteOptions are the flags of `escale delete`.
type deleteOptions struct {
	file    string
	wait    bool
	timeout time.Duration
}

func deleteCommand(e *env) *cobra.Command {
	var o deleteOptions
	c := &cobra.Command{
		Use:   "delete APP ... | -f FILE",
		Short: "Remove applications",
		Long: `Remove applications with everything that was made for them, and wait until their pods have ended. With -f, everything
in an application file is removed.`,
		Example: `  # One application
  escale delete web

  # Everything a file holds
  escale delete -f shop/escale.yaml`,
		ValidArgsFunction: e.completeApps,
		Args: func(c *cobra.Command, args []string) error {
			if (len(args) == 0) == (o.file == "") {
				return errors.New("name the Apps to delete, or a file with -f")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			cl, err := e.connect(ctx)
			if err != nil {
				return err
			}
			keys, objects, err := e.toDelete(ctx, cl, args, o.file)
			if err != nil {
				return err
			}
			return e.delete(ctx, cl, keys, objects, o)
		},
	}
	c.Flags().StringVarP(&o.file, "file", "f", "", "remove what this application file holds; a folder stands for the escale.yaml in it")
	c.Flags().BoolVar(&o.wait, "wait", true, "wait until the pods have ended")
	c.Flags().DurationVar(&o.timeout, "timeout", 2*time.Minute, "how long --wait waits")
	return c
}

// toDelete lists the Apps and other objects to remove. All Apps named as arguments have to exist, so that a mistyped
// name removes nothing.
func (e *env) toDelete(ctx context.Context, c *cluster, names []string, path string) ([]client.ObjectKey, []*unstructured.Unstructured, error) {
	var keys []client.ObjectKey
	if path == "" {
		for _, name := range names {
			if _, err := c.app(ctx, name); err != nil {
				return nil, nil, err
			}
			keys = append(keys, client.ObjectKey{Namespace: c.namespace, Name: name})
		}
		return keys, nil, nil
	}
	file, err := e.load(path)
	if err != nil {
		return nil, nil, err
	}
	for _, app := range file.Apps {
		key := client.ObjectKeyFromObject(&app)
		if key.Namespace == "" {
			key.Namespace = c.namespace
		}
		keys = append(keys, key)
	}
	return keys, file.Objects, nil
}

func (e *env) delete(ctx context.Context, c *cluster, keys []client.ObjectKey, objects []*unstructured.Unstructured, o deleteOptions) error {
	b := e.newBoard()
	defer b.close()
	fromFile := o.file != ""
	var going []client.ObjectKey
	for _, key := range keys {
		err := release.Delete(ctx, c.client, key.Namespace, key.Name)
		if fromFile && errors.Is(err, release.ErrNoApp) {
			b.set(key.Name, "was not there", done)
			continue
		}
		if err != nil {
			return err
		}
		b.set(key.Name, "deleted", doneUnless(o.wait))
		going = append(going, key)
	}
	if err := c.deleteObjects(ctx, b, objects); err != nil || !o.wait {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	for _, key := range going {
		b.set(key.Name, "deleted, its pods are ending", working)
		if err := c.waitGone(limited, key); err != nil {
			b.set(key.Name, "its pods have not ended", broken)
			return withNext(fmt.Errorf("waiting for the pods of App %q to end: %w", key.Name, err),
				"it is deleted; `kubectl get pods -n %s` shows what is left", key.Namespace)
		}
		b.set(key.Name, "deleted", done)
	}
	return nil
}

func doneUnless(wait bool) mark {
	if wait {
		return working
	}
	return done
}

// deleteObjects removes the file's other objects in the reverse of its order.
func (c *cluster) deleteObjects(ctx context.Context, b *board, objects []*unstructured.Unstructured) error {
	for _, o := range slices.Backward(objects) {
		o = o.DeepCopy()
		row := o.GetKind() + " " + o.GetName()
		namespaced, err := c.client.IsObjectNamespaced(o)
		if err == nil && namespaced && o.GetNamespace() == "" {
			o.SetNamespace(c.namespace)
		}
		if err == nil {
			err = c.client.Delete(ctx, o, client.PropagationPolicy("Background"))
		}
		switch {
		case apierrors.IsNotFound(err):
			b.set(row, "was not there", done)
		case err != nil:
			return fmt.Errorf("deleting %s %q: %w", o.GetKind(), o.GetName(), err)
		default:
			b.set(row, "deleted", done)
		}
	}
	return nil
}

// waitGone returns when no pod of the App is left.
func (c *cluster) waitGone(ctx context.Context, key client.ObjectKey) error {
	opts := []client.ListOption{client.InNamespace(key.Namespace), client.MatchingLabels{v1alpha1.LabelApp: key.Name}}
	for {
		var pods corev1.PodList
		// The watch begins before the list, so that no end is missed between them.
		w, err := c.client.Watch(ctx, &pods, opts...)
		if err != nil {
			return err
		}
		for {
			if err := c.client.List(ctx, &pods, opts...); err != nil || len(pods.Items) == 0 {
				w.Stop()
				return err
			}
			if !changed(ctx, w.ResultChan()) {
				break
			}
		}
		w.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// changed waits for a change and takes those that came with it; false means that the channel or ctx has ended.
func changed[T any](ctx context.Context, events <-chan T) bool {
	select {
	case _, open := <-events:
		if !open {
			return false
		}
	case <-ctx.Done():
		return false
	}
	for {
		select {
		case _, open := <-events:
			if !open {
				return true
			}
		default:
			return true
		}
	}
}
