package portal

import (
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/timeline"
)

var timelineWonder = timeline.Record{Actor: "scale", Action: "wondered", Object: timeline.Object{Kind: "App", Namespace: "shop", Name: "search"}}

func appNamed(t *testing.T, w *world, name string) *v1alpha1.App {
	t.Helper()
	var app v1alpha1.App
	must(t, w.client.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: name}, &app))
	return &app
}
