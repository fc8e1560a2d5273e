package release

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/escale-dev/escale/api/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// keepRevisions is how many revisions of an App can be gone back to, the present one included.
const keepRevisions = 10

// annotationReleased is when a revision was last released, on its ControllerRevision: the object's own creation time is
// that of the first release.
const annotationReleased = "escale.dev/released"

// Entry is one revision of an App.
type Entry struct {
	// Revision is its eight hexadecimal digits.
	Revision string
	// Number counts releases: the present revision has the highest.
	Number int64
	// Released is when it was last released.
	Released time.Time
	// Spec of the App when it was first released.
	Spec v1alpha1.AppSpec
}

// History lists the revisions of an App, the newest release first.
func History(ctx context.Context, r client.Reader, namespace, name string) ([]Entry, error) {
	var list appsv1.ControllerRevisionList
	if err := r.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{v1alpha1.LabelApp: name}); err != nil {
		return nil, fmt.Errorf("listing the revisions of App %q: %w", name, err)
	}
	return entries(list.Items)
}

func entries(revisions []appsv1.ControllerRevision) ([]Entry, error) {
	out := make([]Entry, 0, len(revisions))
	for _, r := range revisions {
		e := Entry{Revision: r.Labels[v1alpha1.LabelRevision], Number: r.Revision, Released: r.CreationTimestamp.Time}
		if t, err := time.Parse(time.RFC3339Nano, r.Annotations[annotationReleased]); err == nil {
			e.Released = t
		}
		if err := json.Unmarshal(r.Data.Raw, &e.Spec); err != nil {
			return nil, fmt.Errorf("reading revision %q: %w", r.Name, err)
		}
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b Entry) int { return cmp.Compare(b.Number, a.Number) })
	return out, nil
}

// Rollback is the App as it was in the revision to, which may be given by its first digits; empty means the one before
// the present. What does not belong to a revision stays as it is: replicas, scale, route and suspend. The history has the
// newest release first, as History returns it.
func Rollback(app v1alpha1.App, history []Entry, to string) (v1alpha1.App, Entry, error) {
	e, err := choose(history, to)
	if err != nil {
		return app, Entry{}, fmt.Errorf("rolling back App %q: %w", app.Name, err)
	}
	back := *app.DeepCopy()
	e.Spec.DeepCopyInto(&back.Spec)
	back.Spec.Replicas, back.Spec.Route, back.Spec.Suspend = app.Spec.Replicas, app.Spec.Route, app.Spec.Suspend
	back.Spec.Scale = app.Spec.Scale.DeepCopy()
	if back.Spec.Port == 0 {
		back.Spec.Route = nil // nothing listens
	}
	if back.Spec.Schedule != "" {
		back.Spec.Replicas, back.Spec.Scale = nil, nil
	}
	return back, e, nil
}

func choose(history []Entry, to string) (Entry, error) {
	if to == "" {
		if len(history) < 2 {
			return Entry{}, fmt.Errorf("there is no revision before the present one")
		}
		return history[1], nil
	}
	var found []Entry
	for _, e := range history {
		if strings.HasPrefix(e.Revision, to) {
			found = append(found, e)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return Entry{}, fmt.Errorf("no revision %q: there are %s", to, names(history))
	}
	return Entry{}, fmt.Errorf("revision %q is not one: there are %s", to, names(found))
}

func names(history []Entry) string {
	var out []string
	for _, e := range history {
		out = append(out, e.Revision)
	}
	return cmp.Or(strings.Join(out, ", "), "none")
}

// Applied says what Apply released.
type Applied struct {
	// Revision that the cluster now has.
	Revision string
	// Previous is the revision released before it; empty where this is the first, the same where nothing changed.
	Previous string
	// Back is true when Revision had been released before Previous.
	Back bool
	// Released is when Revision was released.
	Released time.Time
}

// release is the place of a revision in the history: what to record, and how it got there.
func release(history []Entry, revision string, now time.Time) (Applied, int64) {
	a := Applied{Revision: revision, Released: now}
	if len(history) == 0 {
		return a, 1
	}
	newest := history[0]
	a.Previous = newest.Revision
	if newest.Revision == revision {
		a.Released = newest.Released
		return a, newest.Number
	}
	a.Back = slices.ContainsFunc(history, func(e Entry) bool { return e.Revision == revision })
	return a, newest.Number + 1
}

// recordRevision writes the App's revision into its history and forgets the oldest.
func recordRevision(ctx context.Context, c client.Client, app v1alpha1.App, revision string, now time.Time) (Applied, error) {
	history, err := History(ctx, c, app.Namespace, app.Name)
	if err != nil {
		return Applied{}, err
	}
	applied, number := release(history, revision, now)
	if applied.Previous == revision {
		return applied, nil
	}
	if err := writeRevision(ctx, c, app, applied, number); err != nil {
		return Applied{}, fmt.Errorf("recording revision %q of App %q: %w", revision, app.Name, err)
	}
	return applied, forgetRevisions(ctx, c, app, history, revision)
}

func writeRevision(ctx context.Context, c client.Client, app v1alpha1.App, applied Applied, number int64) error {
	spec, err := json.Marshal(app.Spec)
	if err != nil {
		return fmt.Errorf("encoding spec: %w", err)
	}
	r := &appsv1.ControllerRevision{ObjectMeta: objectMeta(app), Revision: number, Data: runtime.RawExtension{Raw: spec}}
	r.Name = revisionName(app.Name, applied.Revision)
	r.Labels[v1alpha1.LabelRevision] = applied.Revision
	r.Annotations = map[string]string{annotationReleased: applied.Released.UTC().Format(time.RFC3339Nano)}
	r.OwnerReferences = owners(app)
	err = c.Create(ctx, r, client.FieldOwner(fieldOwner))
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	// The data of a ControllerRevision cannot change, and need not: the same name is the same pods.
	var have appsv1.ControllerRevision
	if err := c.Get(ctx, client.ObjectKeyFromObject(r), &have); err != nil {
		return err
	}
	patch := client.MergeFrom(have.DeepCopy())
	have.Revision, have.Annotations = number, r.Annotations
	return c.Patch(ctx, &have, patch, client.FieldOwner(fieldOwner))
}

func revisionName(app, revision string) string { return app + "-" + revision }

func forgetRevisions(ctx context.Context, c client.Client, app v1alpha1.App, history []Entry, present string) error {
	older := slices.DeleteFunc(slices.Clone(history), func(e Entry) bool { return e.Revision == present })
	if len(older) < keepRevisions {
		return nil
	}
	for _, e := range older[keepRevisions-1:] {
		r := &appsv1.ControllerRevision{}
		r.Namespace, r.Name = app.Namespace, revisionName(app.Name, e.Revision)
		if err := client.IgnoreNotFound(c.Delete(ctx, r)); err != nil {
			return fmt.Errorf("forgetting revision %q of App %q: %w", e.Revision, app.Name, err)
		}
	}
	return nil
}
