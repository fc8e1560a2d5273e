package release_test

import (
	"testing"
	"time"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/release"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestAScaledAppBeginsWithItsFewestPods: the first start of an App is no scale-up, and what its scaler decided later is
// not undone by the next release.
func TestAScaledAppBeginsWithItsFewestPods(t *testing.T) {
	c, ns := start(t)
	for _, tc := range []struct {
		name string
		min  *int32
		want int32
	}{{"three", ptr.To[int32](3), 3}, {"unset", nil, 1}, {"zero", ptr.To[int32](0), 1}} {
		t.Run(tc.name, func(t *testing.T) {
			a := routed(ns, tc.name, "i:1")
			a.Spec.Replicas, a.Spec.Scale = nil, &v1alpha1.Scale{Min: tc.min}
			applied := func(at time.Time) *int32 {
				t.Helper()
				if _, err := release.Apply(t.Context(), c.client, a, at); err != nil {
					t.Fatal(err)
				}
				var d appsv1.Deployment
				if err := c.client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: tc.name}, &d); err != nil {
					t.Fatal(err)
				}
				return d.Spec.Replicas
			}
			if got := applied(epoch); *got != tc.want {
				t.Errorf("the App begins with %d pods, want %d", *got, tc.want)
			}
			scaled := &appsv1.Deployment{}
			scaled.Namespace, scaled.Name = ns, tc.name
			patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":7}}`))
			err := c.client.SubResource("scale").Patch(t.Context(), scaled, patch, client.WithSubResourceBody(&autoscalingv1.Scale{}))
			if err != nil {
				t.Fatal(err)
			}
			a.Spec.Image = "i:2"
			for i := range 2 {
				if got := applied(epoch.Add(time.Duration(i+1) * time.Second)); *got != 7 {
					t.Errorf("release %d left %d pods, want the scaler's 7", i+2, *got)
				}
			}
		})
	}
}
