package hours

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Row is one workload that office hours are kept for.
type Row struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Down says that it was taken down.
	Down bool `json:"down"`
	// Replicas is how many it asks for; Original how many it comes back to, 0 while it is up.
	Replicas int32 `json:"replicas"`
	Original int32 `json:"original,omitempty"`
	// Why is the annotation that decides, in words.
	Why string `json:"why"`
	// Until is when that will change; nil: not foreseen.
	Until *time.Time `json:"until"`
	// LeftTo names the object that decides in its place; empty: none.
	LeftTo string `json:"leftTo,omitempty"`
	// Error says which annotation cannot be read, and how to write it.
	Error string `json:"error,omitempty"`
	// Since is when counting what was saved began; nil: nothing was.
	Since *time.Time `json:"since"`
	Saved
}

// workload is one object and all that the decision about it needs.
type workload struct {
	object client.Object
	kind   string
	family family
	ledger Ledger
	facts  Facts
	// err says which annotations cannot be read.
	err error
	// governed says that office hours act, or have acted, on it.
	governed bool
}

// systemNamespaces are never touched.
var systemNamespaces = []string{"kube-system", "kube-public", "kube-node-lease"}

// gather reads what has a say in an object.
func gather(ctx context.Context, c client.Reader, kind string, o client.Object, now time.Time) (workload, error) {
	w := workload{object: o, kind: kind, ledger: readLedger(o.GetAnnotations())}
	n, ok := replicas(o)
	if !ok || slices.Contains(systemNamespaces, o.GetNamespace()) {
		return w, nil
	}
	original, err := original(o)
	w.family, w.err = family{}, err
	if w.family, err = gatherFamily(ctx, c, o); err != nil {
		return w, err
	}
	settings, err := ParseSettings(w.family.layers...)
	if w.err == nil {
		w.err = err
	}
	if kind == "HorizontalPodAutoscaler" && settings.Replicas == 0 {
		// minReplicas cannot be 0: the Deployment goes there itself.
		w.governed = original != nil
		settings = Settings{Replicas: n}
	}
	w.facts = Facts{Now: now, Settings: settings, Created: o.GetCreationTimestamp().Time, Replicas: n, Original: original}
	w.governed = w.governed || settings.Said || original != nil
	return w, nil
}

// original is the number a workload comes back to; nil: it was not taken down.
func original(o client.Object) (*int32, error) {
	value, ok := o.GetAnnotations()[annotationOriginal]
	if !ok {
		return nil, nil
	}
	n, err := strconv.ParseInt(value, 10, 32)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("annotation %q, value %q: want the number of replicas to come back to, or no annotation", annotationOriginal, cut(value))
	}
	out := int32(n)
	return &out, nil
}

// List returns every workload that office hours are kept for, in order; namespace "": of all.
func List(ctx context.Context, c client.Reader, namespace string, now time.Time) ([]Row, error) {
	rows := []Row{}
	for _, k := range kinds {
		list := k.list()
		err := c.List(ctx, list, client.InNamespace(namespace))
		if noKind(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("listing %ss: %w", k.name, err)
		}
		objects, err := meta.ExtractList(list)
		if err != nil {
			return nil, fmt.Errorf("listing %ss: %w", k.name, err)
		}
		if rows, err = appendRows(ctx, c, k.name, objects, now, rows); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind))
	})
	return rows, nil
}

func appendRows(ctx context.Context, c client.Reader, kind string, objects []runtime.Object, now time.Time, rows []Row) ([]Row, error) {
	for _, o := range objects {
		w, err := gather(ctx, c, kind, o.(client.Object), now)
		if err != nil {
			return nil, err
		}
		if w.governed {
			rows = append(rows, w.row())
		}
	}
	return rows, nil
}

func (w workload) row() Row {
	r := Row{
		Kind: w.kind, Namespace: w.object.GetNamespace(), Name: w.object.GetName(), Replicas: w.facts.Replicas,
		Saved: w.ledger.Saved(w.facts.Now), LeftTo: w.family.left,
	}
	if r.Replicas == Unpaused {
		r.Replicas = w.family.pods
	}
	if w.facts.Original != nil {
		r.Down, r.Original = true, *w.facts.Original
	}
	if !w.ledger.Since.IsZero() {
		r.Since = &w.ledger.Since
	}
	if w.err != nil {
		r.Error = w.err.Error()
		return r
	}
	p := Decide(w.facts)
	r.Why = p.Why
	if !p.Until.IsZero() {
		r.Until = &p.Until
	}
	return r
}

// noKind says that a cluster does not serve a kind.
func noKind(err error) bool { return meta.IsNoMatchError(err) || runtime.IsNotRegisteredError(err) }
