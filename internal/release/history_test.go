package release_test

import (
	"testing"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/release"
	"k8s.io/utils/ptr"
)

func TestRollback(t *testing.T) {
	history := []release.Entry{
		{Revision: "cccc0000", Number: 3, Spec: v1alpha1.AppSpec{Image: "i:3", Port: 80}},
		{Revision: "bbbb0000", Number: 2, Spec: v1alpha1.AppSpec{Image: "i:2", Port: 80, Replicas: ptr.To[int32](1)}},
		{Revision: "bbaa0000", Number: 1, Spec: v1alpha1.AppSpec{Image: "i:1"}},
	}
	present := app(v1alpha1.AppSpec{Image: "i:3", Port: 80, Replicas: ptr.To[int32](5), Route: &v1alpha1.Route{Host: "h"}})
	for name, tt := range map[string]struct {
		history []release.Entry
		to      string
		image   string
		err     string
	}{
		"to the one before":           {history, "", "i:2", ""},
		"to one by its first digits":  {history, "bba", "i:1", ""},
		"to one that is not there":    {history, "ff", "", `rolling back App "web": no revision "ff": there are cccc0000, bbbb0000, bbaa0000`},
		"to two at once":              {history, "bb", "", `rolling back App "web": revision "bb" is not one: there are bbbb0000, bbaa0000`},
		"before anything was changed": {history[:1], "", "", `rolling back App "web": there is no revision before the present one`},
		"without a history":           {nil, "ff", "", `rolling back App "web": no revision "ff": there are none`},
	} {
		t.Run(name, func(t *testing.T) {
			back, _, err := release.Rollback(present, tt.history, tt.to)
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Errorf("got %v, want %v", err, tt.err)
				}
				return
			}
			if err != nil || back.Spec.Image != tt.image {
				t.Fatalf("got %q, %v; want %q", back.Spec.Image, err, tt.image)
			}
			if *back.Spec.Replicas != 5 {
				t.Errorf("replicas went back to %d", *back.Spec.Replicas)
			}
			if (back.Spec.Route != nil) != (back.Spec.Port != 0) {
				t.Errorf("a route to %d", back.Spec.Port)
			}
		})
	}
}
